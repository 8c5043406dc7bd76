"""Specifications, commitments to rows, the gate of approvals, a party's configuration."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federated.errors import BadInput, Conflict, Forbidden
from federated.gate import FolderGate
from federated.inputs import MAX_LEAVES, commit_rows
from federated.job import Job, Table
from federated.party import PartyConfig
from federated.protocols import protocol_of
from federated.randomness import Randomness
from federated.transport import make_identity

SPEC: dict[str, Any] = {
    "job": "j",
    "protocol": "intersection",
    "purpose": "credit-assessment",
    "parties": {
        "bank": {"role": "receiver", "source": "loans"},
        "tax": {"role": "sender", "source": "returns", "columns": ["x"]},
    },
    "parameters": {"a": 1},
}

# --- Specifications -------------------------------------------------------------------------------


def test_a_specification_comes_back_as_it_was_and_has_one_digest() -> None:
    job = Job.from_json(SPEC)
    assert job.to_json() == SPEC
    assert job.digest == Job.from_json(json.loads(json.dumps(SPEC, sort_keys=True))).digest
    assert job.digest != Job.from_json({**SPEC, "purpose": "marketing"}).digest
    assert (job.owners(), job.with_role("sender"), job.only("receiver")) == (
        ["bank", "tax"],
        ["tax"],
        "bank",
    )


@pytest.mark.parametrize(
    "change",
    [
        {"job": ""},
        {"job": "x" * 65},
        {"job": 7},
        {"purpose": None},
        {"parties": {}},
        {"parties": {"bank": {"role": "receiver"}}},
        {
            "parties": {
                "bank": {"role": "receiver"},
                "tax": {"role": "sender", "path": "/etc/passwd"},
            }
        },
        {"parties": {"bank": {"role": "receiver"}, "tax": {}}},
        {"parameters": []},
        {"more": 1},
    ],
)
def test_malformed_specifications_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadInput) as caught:
        Job.from_json({**SPEC, **change})
    assert caught.value.code == "spec_malformed"


def test_unknown_protocols_and_roles_are_refused() -> None:
    parties = {"bank": {"role": "listener"}, "tax": {"role": "sender"}}
    for change, code in (
        ({"protocol": "magic"}, "protocol_unknown"),
        ({"protocol": "aggregation", "parties": parties}, "spec_roles"),
    ):
        with pytest.raises(BadInput) as caught:
            protocol_of(Job.from_json({**SPEC, **change}))
        assert caught.value.code == code


# --- Commitments ----------------------------------------------------------------------------------


def table(**change: Any) -> Table:
    columns = {"x": np.array([1.0, 2.0, np.nan]), "t": np.array(["a", None, ""], object)} | change
    return Table(np.array([b"1", b"2", b"3"], "S4"), columns)


def test_a_commitment_changes_with_every_row_salt_and_text() -> None:
    roots = [
        commit_rows(table, Randomness(bytes([seed]) * 32)).root
        for seed, table in (
            (1, table()),
            (2, table()),
            (1, table(x=np.array([1.0, 2.5, np.nan]))),
            (1, table(t=np.array(["a", "", ""], object))),
            (1, table(t=np.array(["", "a", ""], object))),
        )
    ]
    assert len(set(roots)) == len(roots)
    assert roots[0] == commit_rows(table(), Randomness(bytes([1]) * 32)).root


def test_many_rows_share_leaves_and_none_is_left_out() -> None:
    count = 2 * MAX_LEAVES + 1
    rows = Table(np.arange(count).astype("S8"), {"x": np.zeros(count)})
    whole = commit_rows(rows, Randomness(bytes(32)))
    rows.columns["x"][-1] = 1.0
    assert (whole.rows, whole.rows_in_leaf) == (count, 3)
    assert commit_rows(rows, Randomness(bytes(32))).root != whole.root


# --- The gate -------------------------------------------------------------------------------------


def permit(gate: FolderGate, job: Job, now: int = 1000) -> bytes:
    return asyncio.run(gate.permit(job, "tax", now=now))


def test_only_an_approval_of_exactly_this_job_says_yes_and_as_often_as_it_says(
    tmp_path: Path,
) -> None:
    gate, job = FolderGate(tmp_path), Job.from_json(SPEC)
    gate.approve(job, uses=2, not_after=2000, by="Li")
    assert permit(gate, job) != permit(gate, job)
    for refused, now, code in (
        (job, 1000, "uses_spent"),
        (job, 2001, "approval_ended"),
        (Job.from_json({**SPEC, "parameters": {"a": 2}}), 1000, "gate_refused"),
    ):
        with pytest.raises(Forbidden) as caught:
            permit(gate, refused, now)
        assert caught.value.code == code


def test_a_damaged_or_copied_approval_says_no(tmp_path: Path) -> None:
    gate, job, other = (
        FolderGate(tmp_path),
        Job.from_json(SPEC),
        Job.from_json({**SPEC, "job": "k"}),
    )
    path = gate.approve(job, uses=1, not_after=2000, by="Li")
    (path.with_name(path.name.replace(job.digest.hex(), other.digest.hex()))).write_bytes(
        path.read_bytes()
    )
    path.write_text("{")
    for approved in (job, other):
        with pytest.raises(Forbidden) as caught:
            permit(gate, approved)
        assert caught.value.code == "gate_refused"


def test_uses_are_counted_once_however_many_ask_at_once(tmp_path: Path) -> None:
    gate, job = FolderGate(tmp_path), Job.from_json(SPEC)
    gate.approve(job, uses=3, not_after=int(time.time()) + 60, by="Li")

    async def ask() -> list[bytes | BaseException]:
        return await asyncio.gather(
            *(gate.permit(job, "tax", now=1000) for _ in range(10)), return_exceptions=True
        )

    given = asyncio.run(ask())
    assert sum(isinstance(result, bytes) for result in given) == 3


# --- A party's configuration ----------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "peers").mkdir()
    fingerprint = make_identity(tmp_path / "tax", "tax")
    (tmp_path / "peers" / "tax.pem").write_bytes(
        (tmp_path / "tax" / "certificate.pem").read_bytes()
    )
    return f"""name = "bank"
[listen]
port = 9101
[peers.tax]
address = "127.0.0.1:9102"
certificate = "peers/tax.pem"
fingerprint = "{fingerprint}"
[sources.loans]
path = "loans.csv"
key = "code"
"""


def test_a_configuration_is_read(tmp_path: Path, config: str) -> None:
    (tmp_path / "party.toml").write_text(config)
    read = PartyConfig.load(tmp_path / "party.toml")
    assert (read.listen.host, read.peers["tax"].port, read.source("loans").key) == (
        "127.0.0.1",
        9102,
        "code",
    )
    with pytest.raises(BadInput) as caught:
        read.source("other")
    assert caught.value.code == "source_unknown"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('name = "bank"', "", "config_malformed"),
        ("port = 9101", "port = 0", "config_malformed"),
        ("port = 9101", "port = 9101\nbackdoor = 1", "config_malformed"),
        ('name = "bank"', 'name = "bank', "config_malformed"),
        ('fingerprint = "0x', 'fingerprint = "', "config_malformed"),
        ("peers/tax.pem", "peers/none.pem", "certificate_malformed"),
    ],
)
def test_configurations_with_a_fault_are_refused(
    tmp_path: Path, config: str, old: str, new: str, code: str
) -> None:
    (tmp_path / "party.toml").write_text(config.replace(old, new))
    with pytest.raises(BadInput) as caught:
        PartyConfig.load(tmp_path / "party.toml")
    assert caught.value.code == code


def test_a_certificate_other_than_the_pinned_one_is_noticed_on_reading(
    tmp_path: Path, config: str
) -> None:
    make_identity(tmp_path / "mallory", "tax")
    (tmp_path / "peers" / "tax.pem").write_bytes(
        (tmp_path / "mallory" / "certificate.pem").read_bytes()
    )
    (tmp_path / "party.toml").write_text(config)
    with pytest.raises(Conflict) as caught:
        PartyConfig.load(tmp_path / "party.toml")
    assert caught.value.code == "certificate_not_pinned"
