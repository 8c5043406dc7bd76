"""A department and a bank as real processes over TLS: one analysis from approval to replay."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as csv
import pytest

from federated.errors import QiaolianError
from federated.horizontal.budget import Budget
from scripts.federated_demo.parties import KEY, Parties
from scripts.federated_demo.watch import watched
from tests.federated.analysis.conftest import NOISE, POLICY, job_of, make_table

SQL = "SELECT Home, floor(Age / 20) AS age, count(*) AS firms, avg(Income) AS income FROM records WHERE Age >= 20 GROUP BY Home, floor(Age / 20)"


@pytest.fixture
def folders(tmp_path: Path) -> Parties:
    """Both parties' folders; nobody runs yet."""
    table = make_table()
    columns = {name: pa.array(column, from_pandas=True) for name, column in table.columns.items()}
    records = pa.table(
        {KEY: pa.array([identifier.decode() for identifier in table.ids.tolist()]), **columns},
    )
    noisy = POLICY.replace("\n[sources.records.Home]", NOISE + "\n[sources.records.Home]")
    made = Parties.make(
        tmp_path,
        {"tax": {"records": records}, "bank": {}},
        policies={"tax": noisy},
    )
    Budget.create(tmp_path / "tax" / "budget.json", 10_000)
    return made


@pytest.fixture
def parties(folders: Parties) -> Iterator[Parties]:
    with folders:
        yield folders


def code_of(parties: Parties, sql: str, **more: str) -> str:
    with pytest.raises(QiaolianError) as caught:
        parties.run(job_of(sql, **more))
    return caught.value.code


@pytest.mark.system
def test_an_analysis_from_approval_to_replay(parties: Parties) -> None:
    job, source = job_of(SQL), parties.source("tax", "records")
    with watched([source]) as seen:
        assert code_of(parties, SQL) == "gate_refused"
        parties.approve(job)
        # An approval is for this analysis alone, and no approval goes beyond the policy.
        assert code_of(parties, SQL.replace("20", "30")) == "gate_refused"
        marketing = job_of(SQL, purpose="marketing")
        parties.approve(marketing)
        assert code_of(parties, SQL, purpose="marketing") == "purpose_not_allowed"
        assert seen() == {}
        receipts = parties.run(job)
        assert set(seen()) == {source}
    record = json.loads((receipts["tax"]["folder"] / "output" / "released.json").read_text())
    result = csv.read_csv(receipts["bank"]["folder"] / "output" / "result.csv")
    assert result.column_names == ["Home", "age", "firms", "income"]
    assert (
        len(result)
        == receipts["bank"]["metrics"]["rows"]
        == receipts["tax"]["metrics"]["groups"]
        == len(record["result"])
        > 0
    )
    assert Budget(parties.root / "tax" / "budget.json").balance().left == 5_000
    # Both replay, the noise too, and nothing is charged or counted again.
    for name in ("tax", "bank"):
        assert parties.replay(name, receipts[name]["folder"])["equal"] is True
    assert Budget(parties.root / "tax" / "budget.json").balance().left == 5_000
    (parties.root / "tax" / "tax-policy.toml").write_text("")
    assert parties.replay("tax", receipts["tax"]["folder"])["equal"] is True
    for name in ("tax", "bank"):
        recording = receipts[name]["folder"] / "received"
        whole = recording.read_bytes()
        recording.write_bytes(whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:])
        with pytest.raises(QiaolianError, check=lambda error: error.code == "recording_altered"):
            parties.replay(name, receipts[name]["folder"])
        recording.write_bytes(whole)
    decided = receipts["tax"]["folder"] / "persisted" / "released"
    decided.write_bytes(bytes(len(decided.read_bytes())))
    with pytest.raises(QiaolianError, check=lambda error: error.code == "replay_mismatch"):
        parties.replay("tax", receipts["tax"]["folder"])


@pytest.mark.system
def test_what_fails_at_the_owner_is_told_to_the_analyst_by_one_code(parties: Parties) -> None:
    policy = parties.root / "tax" / "tax-policy.toml"
    policy.write_text(policy.read_text().replace("releases = 20", "releases = 20\nmax_groups = 1"))
    job = job_of(SQL)
    parties.approve(job)
    assert code_of(parties, SQL) == "analysis_failed"
    states = {
        name: json.loads(next((parties.root / name / "jobs").rglob("state.json")).read_text())
        for name in ("tax", "bank")
    }
    assert states["bank"]["code"] == "peer_failed"
    assert "groups" in states["tax"]["sentence"]
    assert "groups" not in states["bank"]["sentence"]
    assert {
        path.name
        for name in ("tax", "bank")
        for path in next((parties.root / name / "jobs" / "analysis").iterdir()).iterdir()
    } == {
        "spec.json",
        "state.json",
    }


@pytest.mark.system
@pytest.mark.parametrize(
    ("sql", "purpose", "expected"),
    [
        (SQL, "credit-assessment", "approved analysis"),
        (SQL, "marketing", "purpose_not_allowed"),
        (
            "SELECT Income, count(*) FROM records GROUP BY Income",
            "credit-assessment",
            "use_not_allowed",
        ),
        ("SELECT count(*) FROM records WHERE Age = 'x'", "credit-assessment", "analysis_types"),
    ],
)
def test_the_data_officer_cannot_approve_what_the_policy_forbids(
    folders: Parties,
    tmp_path: Path,
    sql: str,
    purpose: str,
    expected: str,
) -> None:
    spec = tmp_path / "job.json"
    spec.write_text(json.dumps(job_of(sql, purpose=purpose).to_json()))
    command = [
        sys.executable,
        "-m",
        "nodes.cli.main",
        "federated",
        "approve",
        str(spec),
        "--by",
        "Officer Li",
    ]
    done = subprocess.run(
        [*command, "--party", str(folders.root / "tax" / "party.toml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert expected in done.stdout + done.stderr
    assert (
        (done.returncode == 0)
        == (expected == "approved analysis")
        == (folders.root / "tax" / "approvals").exists()
    )
