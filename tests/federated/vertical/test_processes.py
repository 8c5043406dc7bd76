"""A scorecard trained and used by daemons over TLS, and attempts that end whole at all parties or
leave nothing.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pytest

from federated.attempt import Attempt
from federated.errors import Conflict, NotFound, QiaolianError
from federated.gate import FolderGate
from federated.job import Job, Table
from federated.local import QueueWire, wire_pair
from federated.party import ListenAddress, PartyConfig, PartySource
from scripts.federated_demo.parties import KEY, Parties
from tests.federated.vertical.city import DEPARTMENTS, people, scorecard_of

pytestmark = pytest.mark.system
TABLES = people()
OTHERS = people(seed=23, count=120)
AUC = 0.777
"""AUC of this training. A column names the test rows, so only the last bits depend on the seed."""
NAMES = ("tax", "estate", "bank", "dealer")


def arrow(table: Table, names: Any) -> pa.Table:
    ids = [identifier.decode() for identifier in table.ids.tolist()]
    return pa.table(
        {
            KEY: ids,
            **{name: pa.array(table.columns[name].tolist(), from_pandas=True) for name in names},
        }
    )


def asking_of(models: Mapping[str, str], training: str = "credit") -> Job:
    parties: dict[str, Any] = {
        name: {"role": "features", "source": "asked", "columns": list(DEPARTMENTS[name])}
        for name in ("tax", "estate")
    }
    parties["bank"] = {"role": "label", "source": "asked", "columns": ["income", "debt"]}
    given = {"training": training, "models": dict(models), "batch": 1}
    return Job.from_json(
        {
            "job": f"ask-{training}",
            "protocol": "scoring",
            "purpose": "credit-assessment",
            "parties": parties,
            "parameters": given,
        }
    )


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parties]:
    """Daemons of a bank, two departments and a dealer."""
    sources: dict[str, Any] = {"dealer": {}}
    for name in ("tax", "estate", "bank"):
        columns = ("income", "debt") if name == "bank" else DEPARTMENTS[name]
        rows = ("status", "late") if name == "bank" else ()
        sources[name] = {
            "rows": arrow(TABLES[name], (*columns, *rows)),
            "asked": arrow(OTHERS[name], columns),
        }
    with Parties.make(tmp_path_factory.mktemp("city"), sources) as made:
        yield made


@pytest.fixture(scope="module")
def receipts(city: Parties) -> dict[str, dict[str, Any]]:
    """Of a training."""
    job = scorecard_of(2, test_column="late")
    city.approve(job)
    return city.run(job)


@pytest.fixture(scope="module")
def answers(city: Parties, receipts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Of scoring with the models that were just made."""
    job = asking_of(
        {name: receipts[name]["files"]["model.json"] for name in ("tax", "estate", "bank")}
    )
    city.approve(job)
    return city.run(job)


def test_daemons_train_a_scorecard_and_score_by_it(
    receipts: dict[str, Any], answers: dict[str, Any]
) -> None:
    assert receipts["bank"]["metrics"]["auc"] == pytest.approx(AUC, abs=0.01)
    assert {receipts[name]["attempt"] for name in NAMES} == {receipts["bank"]["attempt"]}
    with (answers["bank"]["folder"] / "output" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == answers["bank"]["metrics"]["scored"] == answers["tax"]["metrics"]["scored"]
    assert len(rows) == len(
        set.intersection(*(set(OTHERS[name].ids.tolist()) for name in ("tax", "estate", "bank")))
    )


def test_a_partys_folder_holds_only_its_own_part(receipts: dict[str, Any]) -> None:
    for name in ("tax", "estate"):
        files = {path.name for path in (receipts[name]["folder"] / "output").iterdir()}
        assert files == {"model.json", "points.csv"}
        model = json.loads((receipts[name]["folder"] / "output" / "model.json").read_bytes())
        assert {column["column"] for column in model["columns"]} == set(DEPARTMENTS[name])
    assert list((receipts["dealer"]["folder"] / "output").iterdir()) == []


def test_every_partys_side_of_both_protocols_replays_equal(
    city: Parties, receipts: dict[str, Any], answers: dict[str, Any]
) -> None:
    for ended in (receipts, answers):
        for name, receipt in ended.items():
            found = city.replay(name, receipt["folder"])
            assert found["equal"]
            assert found["files"] == len(receipt["files"])


def test_daemons_train_on_rows_that_nobody_learns_score_by_it_and_replay(city: Parties) -> None:
    job = replace(
        scorecard_of(2, alignment={"reveal": "nobody"}, iterations=20), name="hidden-intersection"
    )
    city.approve(job)
    receipts = city.run(job)
    common = len(
        set.intersection(*(set(TABLES[name].ids.tolist()) for name in ("tax", "estate", "bank")))
    )
    assert {receipts[name]["metrics"]["rows"] for name in ("tax", "estate", "bank")} == {common}
    assert {path.name for path in (receipts["bank"]["folder"] / "output").iterdir()} == {
        "model.json",
        "points.csv",
        "card.json",
        "card.html",
    }
    asking = asking_of(
        {name: receipts[name]["files"]["model.json"] for name in ("tax", "estate", "bank")},
        "hidden-intersection",
    )
    city.approve(asking)
    answers = city.run(asking)
    assert answers["bank"]["metrics"]["scored"] > 0
    for name in NAMES:
        assert city.replay(name, receipts[name]["folder"])["equal"]
    assert city.replay("bank", answers["bank"]["folder"])["equal"]


def test_a_replay_of_scoring_does_not_need_the_training_any_more(
    city: Parties, answers: dict[str, Any], receipts: dict[str, Any]
) -> None:
    model = receipts["tax"]["folder"] / "output" / "model.json"
    data = model.read_bytes()
    model.unlink()
    try:
        assert city.replay("tax", answers["tax"]["folder"])["equal"]
    finally:
        model.write_bytes(data)


@pytest.mark.parametrize("name", NAMES)
def test_one_flipped_byte_in_a_recording_is_found(
    city: Parties, receipts: dict[str, Any], tmp_path: Path, name: str
) -> None:
    for at in (0.2, 0.6, 0.95):
        folder = tmp_path / f"{name}-{at}"
        shutil.copytree(receipts[name]["folder"], folder)
        data = bytearray((folder / "received").read_bytes())
        data[int(at * len(data))] ^= 1
        (folder / "received").write_bytes(data)
        with pytest.raises(
            QiaolianError,
            check=lambda error: error.code in ("recording_altered", "recording_missing"),
        ):
            city.replay(name, folder)


def test_a_model_that_is_not_what_the_receipt_says_is_found(
    city: Parties, receipts: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "altered"
    shutil.copytree(receipts["tax"]["folder"], folder)
    receipt = json.loads((folder / "receipt.json").read_text())
    receipt["files"]["model.json"] = "0x" + "00" * 32
    (folder / "receipt.json").write_text(json.dumps(receipt))
    with pytest.raises(Conflict, check=lambda error: error.code == "replay_mismatch"):
        city.replay("tax", folder)


def test_a_pinned_model_of_another_digest_is_refused_by_the_daemon(
    city: Parties, receipts: dict[str, Any]
) -> None:
    models = {name: receipts[name]["files"]["model.json"] for name in ("tax", "estate", "bank")}
    job = asking_of({**models, "tax": "0x" + hashlib.sha256(b"another").hexdigest()})
    city.approve(job)
    with pytest.raises(QiaolianError, check=lambda error: error.code == "model_differs"):
        city.run(job)


def test_a_column_that_a_source_has_not_is_refused(city: Parties) -> None:
    spec = scorecard_of(2).to_json()
    spec["parties"]["tax"]["columns"] = ["records", "wealth"]
    job = Job.from_json(spec)
    city.approve(job)
    with pytest.raises(QiaolianError, check=lambda error: error.code == "column_unknown"):
        city.run(job)


# --- Attempts -------------------------------------------------------------------------------------


class BinnedColumns:
    """One end of a line that is cut before its frame of this number."""

    def __init__(self, wire: QueueWire, at: int) -> None:
        self._wire, self._left = wire, at
        self.receive, self.close = wire.receive, wire.close

    async def send(self, frame: Any) -> None:
        self._left -= 1
        if self._left < 0:
            await self._wire.close()
            raise NotFound("peer_gone", "The line is cut.")
        await self._wire.send(frame)


@pytest.fixture
def configs(tmp_path: Path) -> dict[str, PartyConfig]:
    made = {}
    for name in NAMES:
        (tmp_path / name).mkdir()
        sources = {}
        if name != "dealer":
            columns = ("income", "debt", "status") if name == "bank" else DEPARTMENTS[name]
            pa.csv.write_csv(arrow(TABLES[name], columns), tmp_path / name / "rows.csv")
            sources = {"rows": PartySource(path=Path("rows.csv"), key=KEY)}
        made[name] = PartyConfig(
            name=name, listen=ListenAddress(port=1), sources=sources, home=tmp_path / name
        )
    return made


def attempt(
    configs: Mapping[str, PartyConfig], job: Job, *, dying: str = "", at: int = 0
) -> dict[str, Any]:
    """One attempt of all parties in this process; each one's receipt or error, with the folder."""
    wires: dict[str, dict[str, Any]] = {name: {} for name in configs}
    for index, first in enumerate(NAMES):
        for second in NAMES[index + 1 :]:
            wires[first][second], wires[second][first] = wire_pair()
    for peer, wire in wires.get(dying, {}).items():
        wires[dying][peer] = BinnedColumns(wire, at)

    async def one(name: str) -> Any:
        config, folder = configs[name], configs[name].home / "jobs" / "credit" / f"{dying}{at}"
        try:
            await Attempt(
                config,
                job,
                FolderGate(config.home / "approvals"),
                wires[name],
                folder,
                lambda *_: None,
            ).run()
            return None, folder
        except QiaolianError as error:
            return error, folder
        finally:
            for wire in wires[name].values():
                await wire.close()

    async def all_of_them() -> dict[str, Any]:
        async with asyncio.timeout(300):
            return dict(
                zip(configs, await asyncio.gather(*(one(name) for name in configs)), strict=True)
            )

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("dying", NAMES)
@pytest.mark.parametrize(
    ("at", "reveal"),
    [
        *((at, "receiver") for at in (2, 8)),
        *((at, "nobody") for at in (6, 25)),
        *(pytest.param(at, "receiver", marks=pytest.mark.long) for at in (4, 5, 10)),
        pytest.param(12, "nobody", marks=pytest.mark.long),
    ],
)
def test_an_attempt_in_which_a_party_dies_leaves_no_part_of_a_model(
    configs: dict[str, PartyConfig], dying: str, at: int, reveal: str
) -> None:
    job = scorecard_of(2, iterations=2, alignment={"reveal": reveal})
    for name in job.owners():
        FolderGate(configs[name].home / "approvals").approve(
            job, uses=10, not_after=2**40, by="officer"
        )
    ended = attempt(configs, job, dying=dying, at=at)
    for error, folder in ended.values():
        assert error is not None
        assert error.code in ("peer_gone", "peer_failed")
        assert sorted(path.name for path in folder.iterdir()) == ["spec.json", "state.json"]
        assert json.loads((folder / "state.json").read_text())["state"] == "failed"


def test_an_attempt_that_a_department_did_not_approve_reads_nothing(
    configs: dict[str, PartyConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = scorecard_of(2)
    for name in ("bank", "tax"):
        FolderGate(configs[name].home / "approvals").approve(
            job, uses=1, not_after=2**40, by="officer"
        )
    opened: list[Any] = []
    monkeypatch.setattr("federated.attempt.sources.read", lambda *how, **more: opened.append(how))
    ended = attempt(configs, job)
    assert ended["estate"][0].code == "gate_refused"
    assert opened == []
