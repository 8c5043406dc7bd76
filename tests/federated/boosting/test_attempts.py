"""Attempts at a joint forest end whole or leave nothing, and each party's side repeats in a replay
although ciphertexts never do.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import csv

from federated.attempt import Attempt, replay
from federated.boosting.he import generated
from federated.channel import Buffer, decode
from federated.errors import PeerFault, QiaolianError
from federated.gate import FolderGate
from federated.job import Job, Table
from federated.local import QueueWire, wire_pair
from federated.party import ListenAddress, PartyConfig, PartySource
from scripts.federated_demo.parties import KEY, Parties
from tests.federated.boosting.conftest import MakeJob, MakeTables

Ends = dict[str, dict[str, Any]]
NAMES = ("bank", "tax")


def silent(_stage: str, _share: float) -> None: ...


def arrow(table: Table) -> pa.Table:
    ids = pa.array([identifier.decode() for identifier in table.ids.tolist()])
    return pa.table(
        {KEY: ids}
        | {name: pa.array(values, from_pandas=True) for name, values in table.columns.items()}
    )


@pytest.fixture
def homes(tmp_path: Path, tables: MakeTables) -> dict[str, PartyConfig]:
    """A folder and a source each."""
    made = {}
    for name, table in tables(NAMES).items():
        (tmp_path / name).mkdir()
        csv.write_csv(arrow(table), tmp_path / name / "rows.csv")
        entry = PartySource(path=Path("rows.csv"), key=KEY)
        made[name] = PartyConfig(
            name=name, listen=ListenAddress(port=1), sources={"rows": entry}, home=tmp_path / name
        )
    return made


def run_both(homes: dict[str, PartyConfig], job: Job, wires: tuple[Any, Any] | None = None) -> Ends:
    """Both sides in this process; for each its receipt or ``{"error": ...}``, with its folder."""
    ends = dict(zip(NAMES, wires or wire_pair(), strict=True))
    peer = dict(zip(NAMES, reversed(NAMES), strict=True))

    async def one(name: str) -> dict[str, Any]:
        config = homes[name]
        gate = FolderGate(config.home / "approvals")
        gate.approve(job, uses=1000, not_after=2**40, by="officer")
        folder = config.home / "jobs" / f"attempt-{len(list(config.home.glob('jobs/*')))}"
        try:
            return {
                **await Attempt(config, job, gate, {peer[name]: ends[name]}, folder, silent).run(),
                "folder": folder,
            }
        except QiaolianError as error:
            return {"error": error, "folder": folder}
        finally:
            await ends[name].close()

    async def both() -> Ends:
        async with asyncio.timeout(300):
            return dict(zip(NAMES, await asyncio.gather(*map(one, NAMES)), strict=True))

    return asyncio.run(both())


def again(config: PartyConfig, folder: Path) -> dict[str, Any]:
    return asyncio.run(replay(config, folder, silent))


# --- Replay ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["ou", "paillier"])
def test_both_sides_repeat_and_one_flipped_byte_is_found(
    homes: dict[str, PartyConfig], make_job: MakeJob, scheme: str
) -> None:
    ends = run_both(
        homes, make_job(NAMES, trees=2, max_depth=2, scheme=scheme, first_trees_local=1)
    )
    for name, end in ends.items():
        found = again(homes[name], end["folder"])
        assert found["equal"]
        assert (
            found["messages"]
            == sum(direction["frames"] for direction in end["directions"].values())
            > 20
        )
    assert (ends["bank"]["folder"] / "persisted" / "key").stat().st_mode & 0o077 == 0
    assert not (ends["tax"]["folder"] / "persisted").exists()
    for name, end in ends.items():
        recorded = end["folder"] / "received"
        whole = recorded.read_bytes()
        for index in (40, len(whole) // 2, len(whole) - 1):
            recorded.write_bytes(whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :])
            with pytest.raises(
                QiaolianError,
                check=lambda error: error.code in ("recording_altered", "recording_missing"),
            ):
                again(homes[name], end["folder"])
        recorded.write_bytes(whole)
        assert again(homes[name], end["folder"])["equal"]


def test_what_cannot_be_compared_is_noted_and_a_changed_note_is_found(
    homes: dict[str, PartyConfig], make_job: MakeJob
) -> None:
    ends = run_both(homes, make_job(NAMES, trees=1, max_depth=2))
    names = {
        party: [
            json.loads(line)[0] for line in (end["folder"] / "records").read_text().splitlines()
        ]
        for party, end in ends.items()
    }
    assert names == {"bank": ["gradients", "sums of tax", "sums of tax"], "tax": ["sums", "sums"]}
    for party, end in ends.items():
        records = end["folder"] / "records"
        lines = records.read_text().splitlines()
        entry = json.loads(lines[-1])
        lines[-1] = json.dumps([entry[0], ("0" if entry[1][0] != "0" else "1") + entry[1][1:]])
        records.write_text("\n".join(lines) + "\n")
        with pytest.raises(QiaolianError, check=lambda error: error.code == "replay_mismatch"):
            again(homes[party], end["folder"])


def test_another_key_would_be_found_in_a_replay(
    homes: dict[str, PartyConfig], make_job: MakeJob
) -> None:
    end = run_both(homes, make_job(NAMES, trees=1, max_depth=1))["bank"]
    (end["folder"] / "persisted" / "key").write_bytes(generated("ou", 1024))
    with pytest.raises(QiaolianError, check=lambda error: error.code == "replay_mismatch"):
        again(homes["bank"], end["folder"])


def test_two_attempts_share_neither_key_message_nor_order(
    homes: dict[str, PartyConfig], make_job: MakeJob
) -> None:
    job = make_job(NAMES, trees=1, max_depth=1)
    first, second = run_both(homes, job), run_both(homes, job)
    assert first["bank"]["directions"] != second["bank"]["directions"]
    texts = [
        (receipts["bank"]["folder"] / "output" / "scores.csv").read_text().splitlines()[1:]
        for receipts in (first, second)
    ]
    ids = [[line.split(",")[0] for line in text] for text in texts]
    assert sorted(ids[0]) == sorted(ids[1])
    assert ids[0] != ids[1]


# --- A peer that dies, a byte that changes --------------------------------------------------------


class Line:
    """One end of a line that does something to the frame of this number, and keeps the kinds that
    passed.
    """

    def __init__(
        self,
        wire: QueueWire,
        at: int = -1,
        act: Callable[[bytes], bytes | None] = lambda frame: frame,
    ) -> None:
        self._wire, self._at, self._act = wire, at, act
        self.kinds: list[str] = []

    async def send(self, frame: Sequence[Buffer]) -> None:
        whole = b"".join(frame)
        self.kinds.append(decode("", memoryview(whole))[1].kind)
        altered = self._act(whole) if len(self.kinds) - 1 == self._at else whole
        if altered is None:
            await self.close()
            raise PeerFault("peer_gone", "The line is cut.")
        await self._wire.send([altered])

    async def receive(self) -> memoryview:
        return await self._wire.receive()

    async def close(self) -> None:
        await self._wire.close()


def require_nothing_left(end: dict[str, Any]) -> None:
    assert sorted(path.name for path in end["folder"].iterdir()) == ["spec.json", "state.json"]
    state = json.loads((end["folder"] / "state.json").read_text())
    assert (state["state"], state["code"]) == ("failed", end["error"].code)
    assert end["error"].code != "internal"


def line_of(
    sender: str, at: int, act: Callable[[bytes], bytes | None]
) -> tuple[tuple[Any, Any], Line]:
    bank, tax = wire_pair()
    line = Line(bank if sender == "bank" else tax, at, act)
    return ((line, tax) if sender == "bank" else (bank, line)), line


def stages(homes: dict[str, PartyConfig], job: Job, sender: str) -> list[int]:
    """The number of the first frame of each kind of this protocol's own."""
    wires, line = line_of(sender, -1, lambda frame: frame)
    assert not [end["error"] for end in run_both(homes, job, wires).values() if "error" in end]
    kinds = [kind for kind in dict.fromkeys(line.kinds) if kind.startswith(("boosting/", "he/"))]
    assert len(kinds) == (6 if sender == "bank" else 4)
    return [line.kinds.index(kind) for kind in kinds]


STEPS = pytest.mark.parametrize("step", [2, pytest.param(1, marks=pytest.mark.long)])
"""Every other stage, or each of them."""


@STEPS
@pytest.mark.parametrize("sender", NAMES)
def test_a_peer_that_dies_at_any_stage_leaves_nothing(
    homes: dict[str, PartyConfig], make_job: MakeJob, sender: str, step: int
) -> None:
    job = make_job(NAMES, trees=1, max_depth=2)
    for at in stages(homes, job, sender)[::step]:
        for end in run_both(homes, job, line_of(sender, at, lambda _frame: None)[0]).values():
            assert end["error"].code in ("peer_gone", "peer_failed")
            require_nothing_left(end)


@STEPS
@pytest.mark.parametrize("sender", NAMES)
def test_one_altered_byte_at_any_stage_is_noticed(
    homes: dict[str, PartyConfig], make_job: MakeJob, sender: str, step: int
) -> None:
    job = make_job(NAMES, trees=1, max_depth=2)
    for at in stages(homes, job, sender)[::step]:
        ends = run_both(
            homes,
            job,
            line_of(sender, at, lambda frame: frame[:-2] + bytes([frame[-2] ^ 0x10]) + frame[-1:])[
                0
            ],
        )
        for end in ends.values():
            assert "error" in end, f"message {at}"
            require_nothing_left(end)


# --- Real processes -------------------------------------------------------------------------------


@pytest.mark.system
@pytest.mark.usefixtures("full_keys")
def test_three_daemons_grow_a_forest_and_each_repeats_its_side(
    tmp_path: Path, tables: MakeTables, make_job: MakeJob
) -> None:
    names = ("social", "bank", "tax")
    with Parties.make(
        tmp_path, {name: {"rows": arrow(table)} for name, table in tables(names).items()}
    ) as parties:
        job = make_job(names, trees=2, alignment={})
        parties.approve(job)
        receipts = parties.run(job)
        assert receipts["bank"]["metrics"]["splits"].keys() == set(names)
        for name in names:
            assert parties.replay(name, receipts[name]["folder"])["equal"]
        files = {
            name: sorted(path.name for path in (receipts[name]["folder"] / "output").iterdir())
            for name in names
        }
    assert files == {
        "bank": ["card.html", "card.json", "model.json", "scores.csv"],
        "social": ["model.json"],
        "tax": ["model.json"],
    }
