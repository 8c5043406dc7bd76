"""A node that is restored from an old backup recovers what it lacks from the others and trades on:
real processes, both sides.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chain.core.errors import QiaolianError
from nodes.provision import Organisation
from tests.nodes.conftest import TestNetwork, eventually


@pytest.fixture(scope="module")
def trade(agree: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return agree("people-recovery")


def copied(source: Path, target: Path) -> None:
    """A database as SQLite's online backup takes it, in the place of what was there."""
    for path in (
        target,
        target.with_name(target.name + "-wal"),
        target.with_name(target.name + "-shm"),
    ):
        path.unlink(missing_ok=True)
    with sqlite3.connect(source) as now, sqlite3.connect(target) as copy:
        now.backup(copy)


def recovered(organisation: Organisation) -> tuple[int, str, str]:
    """What ``qiaolian node recover`` ends with and says."""
    return run_command(
        "node", "recover", "--config", str(organisation.plan.directory / "node.toml")
    )


def run_command(*arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "nodes.cli.main", *arguments]
    made = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return made.returncode, made.stdout, made.stderr


def witnessed(network: TestNetwork, organisation: Organisation, least: int) -> bool:
    """Whether the supervisor has cosigned a head of at least so many entries."""
    report = organisation.client("auditor").get("/v1/log")
    return bool(
        network.of("supervisor").member in (report.get("cosignatures") or "")
        and report["size"] >= least
    )


def down(organisation: Organisation) -> list[str]:
    answer = json.loads(organisation.client(None).raw("GET", "/readyz", b"", {}).body)
    return [
        dependency["code"] for dependency in answer.get("dependencies", ()) if not dependency["up"]
    ]


def called(network: TestNetwork, trade: dict[str, Any], times: int = 1) -> list[int]:
    client = network.of("bank").client("system")
    return [
        eventually(lambda: client.post("/v1/calls", trade["call"]))["seq"] for _ in range(times)
    ]


def put_back(
    network: TestNetwork, trade: dict[str, Any], organisation: Organisation, folder: Path
) -> int:
    """Stop a node and put its database back from before three calls that the supervisor has seen;
    the last of their positions.
    """
    database, auditor = (
        organisation.plan.directory / "data" / "node.db",
        organisation.client("auditor"),
    )
    called(network, trade, 2)
    copied(database, folder / "old.db")
    before = auditor.get("/v1/log")["size"]
    last = called(network, trade, 3)[-1]
    assert eventually(lambda: witnessed(network, organisation, before + 3))
    organisation.node.stop()
    copied(folder / "old.db", database)
    return last


@pytest.mark.parametrize("role", ["bank", "department"])
def test_a_node_put_back_from_an_old_backup_recovers_from_the_others_and_trades_on(
    network: TestNetwork, trade: dict[str, Any], tmp_path: Path, role: str
) -> None:
    organisation = network.of(role)
    last = put_back(network, trade, organisation, tmp_path)
    organisation.node.start()
    assert eventually(lambda: set(down(organisation)) & {"log_behind_chain", "log_behind_witness"})
    code, _, printed = recovered(organisation)
    assert code == 2
    assert "error[node_running]" in printed
    organisation.node.stop()

    code, printed, errors = recovered(organisation)
    assert code == 0, (printed, errors)
    assert "3 positions were shown" in printed
    organisation.node.start()
    organisation.node.wait_ready(organisation.client(None))
    assert called(network, trade) == [last + 1]
    supervisor, auditor = network.of("supervisor").client("auditor"), organisation.client("auditor")
    report = supervisor.get(f"/v1/agreements/{trade['agreement']}/reconciliation")
    assert report["agree"], report["findings"]
    assert supervisor.get("/v1/log/forks")["forks"] == []
    after = auditor.get("/v1/log")["size"]
    assert eventually(lambda: witnessed(network, organisation, after)), (
        "the supervisor sees one log that only grew"
    )
    assert recovered_twice_changes_nothing(organisation)


def test_an_agreement_stays_held_until_its_other_party_answers(
    network: TestNetwork, trade: dict[str, Any], tmp_path: Path
) -> None:
    bank, department = network.of("bank"), network.of("department")
    last = put_back(network, trade, bank, tmp_path)
    department.node.stop()
    try:
        code, printed, errors = recovered(bank)
        assert code == 2, errors
        assert f"{trade['agreement']} is not recovered (peer_unreachable)" in printed
        assert "lacked" in printed, "the log is back all the same"
    finally:
        department.node.start()
        department.node.wait_ready(department.client(None))
    bank.node.start()
    bank.node.wait_ready(bank.client(None))
    with pytest.raises(QiaolianError) as caught:
        bank.client("system").post("/v1/calls", trade["call"])
    assert caught.value.code == "agreement_unrecovered"
    assert (
        bank.client("clerk").get(f"/v1/agreements/{trade['agreement']}")["held"]
        == "peer_unreachable"
    )
    assert (
        "held: peer_unreachable"
        in run_command("agreement", "list", "--node", str(bank.plan.directory))[1]
    )
    report = (
        network.of("supervisor")
        .client("auditor")
        .get(f"/v1/agreements/{trade['agreement']}/reconciliation")
    )
    assert [finding["kind"] for finding in report["findings"]][:1] == ["gap"], (
        "what is missing is reported, not hidden"
    )
    bank.node.stop()
    code, printed, errors = recovered(bank)
    assert code == 0, (printed, errors)
    bank.node.start()
    bank.node.wait_ready(bank.client(None))
    assert called(network, trade) == [last + 1]
    assert bank.client("clerk").get(f"/v1/agreements/{trade['agreement']}")["held"] is None


def recovered_twice_changes_nothing(organisation: Organisation) -> bool:
    organisation.node.stop()
    try:
        code, printed, _ = recovered(organisation)
        return code == 0 and "lacks nothing" in printed and "positions" not in printed
    finally:
        organisation.node.start()
        organisation.node.wait_ready(organisation.client(None))
