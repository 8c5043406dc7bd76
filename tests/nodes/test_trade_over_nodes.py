"""A whole trade through real node processes: published, granted by the officer, agreed, paid for,
called, refused, revoked.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chain.core.errors import QiaolianError
from chain.statements.grants import GrantRevocation
from nodes.client import NodeClient
from nodes.provision import Organisation
from tests.nodes.conftest import TestNetwork, eventually

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trade(agree: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return agree("people-trade")


def done(client: NodeClient, operation: str) -> None:
    answer = client.get(f"/v1/operations/{operation}?wait=20")
    assert answer["state"] == "done", answer


def test_the_example_client_makes_a_masked_call(
    network: TestNetwork, trade: dict[str, Any]
) -> None:
    bank = network.of("bank")
    token = json.loads((bank.plan.directory / "handout.json").read_text())["system"]
    eventually(lambda: bank.client("system").post("/v1/calls", trade["call"]))
    arguments = [
        bank.url,
        str(bank.certificate),
        token,
        trade["agreement"],
        "A1",
        "statistics",
        "age",
        "area",
    ]
    command = [sys.executable, str(ROOT / "docs" / "examples" / "call.py"), *arguments]
    made = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert made.returncode == 0, made.stderr
    answer = json.loads(made.stdout)
    assert answer["record"] == {"age": "30-39", "area": "华侨城"}
    assert (answer["outcome"], answer["amount"]) == ("served", 50)


def test_a_repeated_call_under_one_key_is_one_call(
    network: TestNetwork, trade: dict[str, Any]
) -> None:
    client = network.of("bank").client("system")
    first, second = (
        client.post("/v1/calls", trade["call"], idempotency_key="once") for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize(
    "changed",
    [
        {"columns": ["note"]},
        {"columns": ["nothing"]},
        {"purpose": "advertising"},
        {"operation": "export"},
    ],
)
def test_what_was_not_granted_is_refused_unbilled(
    network: TestNetwork, trade: dict[str, Any], changed: dict[str, Any]
) -> None:
    with pytest.raises(QiaolianError) as caught:
        network.of("bank").client("system").post("/v1/calls", {**trade["call"], **changed})
    assert caught.value.status in (403, 404, 422)
    assert caught.value.code


def test_calls_go_on_after_kill_9_of_either_side(
    network: TestNetwork, trade: dict[str, Any]
) -> None:
    bank, department = network.of("bank"), network.of("department")
    client = bank.client("system")
    before = client.post("/v1/calls", trade["call"])["seq"]
    for killed in (department, bank):
        killed.node.kill()
        client.close()
        killed.node.start()
        killed.node.wait_ready(killed.client(None))
        after = eventually(lambda: client.post("/v1/calls", trade["call"]))["seq"]
        assert after > before
        before = after


def test_a_closing_that_kill_9_left_unanswered_is_taken_up_by_the_next_process(
    network: TestNetwork, agree: Callable[..., dict[str, Any]]
) -> None:
    sold = agree("people-closed")
    bank, department = network.of("bank"), network.of("department")
    eventually(lambda: bank.client("system").post("/v1/calls", sold["call"]))
    assert department.node.api is not None
    department.node.api.send_signal(signal.SIGSTOP)
    try:
        asking = threading.Thread(target=ask_to_close, args=(bank, sold["agreement"]))
        asking.start()
        assert eventually(lambda: closing_state(bank, sold["agreement"]) == "proposed")
        bank.node.kill()
        asking.join()
    finally:
        department.node.api.send_signal(signal.SIGCONT)
    bank.node.start()
    bank.node.wait_ready(bank.client(None))
    assert eventually(lambda: closing_state(bank, sold["agreement"]) == "settled")
    assert eventually(
        lambda: bank.client("clerk").get(f"/v1/agreements/{sold['agreement']}")["state"] == "closed"
    )


def ask_to_close(organisation: Organisation, agreement: str) -> None:
    """Ask a node that will be killed meanwhile."""
    with contextlib.suppress(QiaolianError):
        organisation.client("clerk").post(f"/v1/agreements/{agreement}/closing", {"notice": False})


def closing_state(organisation: Organisation, agreement: str) -> str | None:
    """How far a cooperative closing has come by the node's own database."""
    database = organisation.plan.directory / "data" / "node.db"
    with contextlib.closing(
        sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)
    ) as connection:
        query = "SELECT state FROM exchange_final_settlement WHERE agreement_id = ?"
        row = connection.execute(query, (bytes.fromhex(agreement[2:]),)).fetchone()
    return None if row is None else str(row[0])


def test_a_revoked_grant_stops_the_next_calls(network: TestNetwork, trade: dict[str, Any]) -> None:
    department, client = network.of("department"), network.of("bank").client("system")
    revocation = GrantRevocation(1, bytes.fromhex(trade["grant"][2:]), "ended", 2**40)
    signature = department.officer().sign_digest(
        revocation.digest(network.deployment.domain("GrantRegistry"))
    )
    body = {"revocation": revocation.to_json(), "signature": "0x" + signature.hex()}
    officer = department.client("officer")
    done(officer, officer.post(f"/v1/grants/{trade['grant']}/revocation", body)["operation"])

    def refused() -> str:
        try:
            client.post("/v1/calls", trade["call"])
        except QiaolianError as error:
            return error.code
        return ""

    assert eventually(refused) == "grant_revoked"


def test_a_notice_is_enough_for_the_providers_node_to_claim_all_it_earned(
    network: TestNetwork, agree: Callable[..., dict[str, Any]]
) -> None:
    sold = agree("people-claimed")
    bank = network.of("bank")
    for _ in range(3):
        eventually(lambda: bank.client("system").post("/v1/calls", sold["call"]))
    bank.client("clerk").post(f"/v1/agreements/{sold['agreement']}/closing", {"notice": True})
    path = f"/v1/agreements/{sold['agreement']}/reconciliation"
    money = eventually(lambda: claimed_in_full(bank.client("auditor").get(path)["money"]))
    assert (money["acknowledged"], money["paid"], money["lost"]) == ("150", "150", "0")
    department = network.of("department")
    owed = department.client("clerk").get("/v1/claims")["agreements"]
    assert sold["agreement"] not in [row["agreementId"] for row in owed if row["atRisk"]]
    assert "\nqiaolian_claims_at_risk_fen 0.0\n" in department.client("system").get("/metrics")


def claimed_in_full(money: dict[str, Any]) -> dict[str, Any] | None:
    return money if money["claimed"] == money["earned"] else None
