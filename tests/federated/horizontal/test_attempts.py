"""A training over secure sums as an attempt of four parties: it ends whole at all of them and every
side replays, or nothing is left.
"""

from __future__ import annotations

import asyncio
import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federated.attempt import Attempt, replay
from federated.channel import Channel, Field
from federated.errors import QiaolianError
from federated.gate import FolderGate
from federated.horizontal.budget import Budget
from federated.job import Job, Party
from federated.local import QueueWire, wire_pair
from federated.party import ListenAddress, PartyConfig, PartySource

MEMBERS = ("tax", "health", "housing")
PARAMETERS: dict[str, Any] = {
    "label": "bad",
    "features": {"x": [-1, 1]},
    "rounds": 2,
    "batch": 16,
    "fraction": 16,
    "privacy": {"clip": 1.0, "noise": 3.0},
}
JOB = Job(
    "flu",
    "aggregation",
    "research",
    {"centre": Party("aggregator")}
    | {name: Party("member", "rows", ("x", "bad")) for name in MEMBERS},
    PARAMETERS,
)


@pytest.fixture
def homes(tmp_path: Path) -> dict[str, PartyConfig]:
    """Three members with rows, a ledger and their officer's yes, and an aggregator with nothing."""
    made, numbers = {}, np.random.default_rng(3)
    for name in ("centre", *MEMBERS):
        home = tmp_path / name
        home.mkdir()
        made[name] = PartyConfig(
            name=name,
            listen=ListenAddress(port=1),
            sources={"rows": PartySource(path=Path("rows.csv"), key="id")},
            home=home,
        )
    for name in MEMBERS:
        home = made[name].home
        with (home / "rows.csv").open("w", newline="") as file:
            rows = [
                [f"{index}", float(x), int(x > 0)]
                for index, x in enumerate(numbers.uniform(-1, 1, 40))
            ]
            csv.writer(file).writerows([["id", "x", "bad"], *rows])
        Budget.create(home / "budget.json", 10**9)
        FolderGate(home / "approvals").approve(JOB, uses=5, not_after=2**40, by="officer")
    return made


def silent(_stage: str, _share: float) -> None: ...


def run_all(homes: dict[str, PartyConfig]) -> dict[str, Any]:
    """All parties in this process; for each its receipt and folder, or the error."""
    wires: dict[str, dict[str, QueueWire]] = {name: {} for name in homes}
    names = list(homes)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            wires[first][second], wires[second][first] = wire_pair()

    async def one(name: str) -> dict[str, Any]:
        config = homes[name]
        attempt = Attempt(
            config,
            JOB,
            FolderGate(config.home / "approvals"),
            wires[name],
            config.home / "jobs" / "flu" / "1",
            silent,
        )
        try:
            return {**await attempt.run(), "folder": attempt.folder}
        except QiaolianError as error:
            return {"error": error, "folder": attempt.folder}
        finally:
            for wire in wires[name].values():
                await wire.close()

    async def everyone() -> list[dict[str, Any]]:
        async with asyncio.timeout(120):
            return await asyncio.gather(*(one(name) for name in homes))

    return dict(zip(homes, asyncio.run(everyone()), strict=True))


def test_a_training_ends_with_one_model_and_every_side_replays(
    homes: dict[str, PartyConfig],
) -> None:
    ends = run_all(homes)
    assert {name: str(end.get("error")) for name, end in ends.items()} == dict.fromkeys(
        homes,
        "None",
    )
    assert len({end["files"]["model.json"] for end in ends.values()}) == 1
    spent = {name: Budget(homes[name].home / "budget.json").balance().spent for name in MEMBERS}
    for name, end in ends.items():
        assert asyncio.run(replay(homes[name], end["folder"], silent))["equal"] is True
    assert {
        name: Budget(homes[name].home / "budget.json").balance().spent for name in MEMBERS
    } == spent


def test_a_last_model_given_to_one_member_alone_leaves_no_result_anywhere(
    homes: dict[str, PartyConfig],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send, sent = Channel.send, list[str]()

    async def changed(channel: Channel, kind: str, **fields: Field) -> None:
        if kind == "aggregation/model" and channel.peer == "tax":
            sent.append(kind)
            if len(sent) == PARAMETERS["rounds"]:
                fields["parameters"] = np.asarray(fields["parameters"]) + 5.0
        await send(channel, kind, **fields)

    monkeypatch.setattr(Channel, "send", changed)
    ends = run_all(homes)
    assert {ends[name]["error"].code for name in MEMBERS} == {"models_differ"}
    assert not any((end["folder"] / "output").exists() for end in ends.values())
