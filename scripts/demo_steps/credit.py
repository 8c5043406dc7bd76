"""Step 6: a one-stop credit report; the trader disputes a record, the department repairs it, the
next report shows both values.
"""

from __future__ import annotations

import time
from typing import Any

from registry.credit.signing import dispute_of
from scripts.demo_steps import trade
from scripts.demo_steps.catalogue import CREDIT
from scripts.demo_steps.screen import Screen
from scripts.demo_steps.state import DemoState
from scripts.demo_steps.trader import Trader
from scripts.demo_steps.world import World, wait_for

DEPARTMENT = "social-security"
REPAIRED_COLUMN = "Seniority"
REPORT_CALLS = 600


def run(world: World, screen: Screen, state: DemoState) -> None:
    """Report, dispute, repair, report."""
    for key in trade.PRICES:
        agreed = trade.agree(world, screen, state, key, cap_calls=REPORT_CALLS)
        state.reporting[key] = agreed
    trader = state.traders[0]
    first = _report(world, state, trader, "first")
    screen.line(
        f"one-stop report on {trader.code}: {len(first['report']['records'])} departments "
        "answered under one consent",
        f"query {first['queryId']}",
    )
    dispute_id, wrong = _dispute(world, state, trader)
    screen.line(
        f"the trader disputes {REPAIRED_COLUMN} = {wrong[REPAIRED_COLUMN]}", f"dispute {dispute_id}"
    )
    right = {**wrong, REPAIRED_COLUMN: wrong[REPAIRED_COLUMN] + 2}
    world.client(DEPARTMENT, "clerk").post(f"/v1/disputes/{dispute_id}/answer", {"record": right})
    wait_for(
        lambda: world.ledger.credit.dispute(bytes.fromhex(dispute_id[2:])).answered_at,
        "the repair to be on the chain",
    )
    screen.line(
        f"{DEPARTMENT} repairs it to {right[REPAIRED_COLUMN]} in a new version of the asset"
    )
    second = _report(world, state, trader, "second")
    shown = second["report"]["disputes"]
    for item in shown:
        both = item["before"][REPAIRED_COLUMN], (item["after"] or {}).get(REPAIRED_COLUMN)
        if both == (wrong[REPAIRED_COLUMN], right[REPAIRED_COLUMN]):
            state.repaired += 1
            screen.line(
                f"the next report shows both values: {both[0]}, repaired to {both[1]}",
                f"query {second['queryId']}",
            )
    anchored = bytes.fromhex(second["queryId"][2:])
    wait_for(lambda: world.ledger.credit.query_anchored_at(anchored), "the queries to be anchored")


def _report(world: World, state: DemoState, trader: Trader, name: str) -> dict[str, Any]:
    body = {
        "subject": trader.code,
        "consentId": trader.commitment,
        "purpose": CREDIT,
        "parts": [
            {"agreementId": agreement.agreement_id, "columns": list(agreement.columns)}
            for agreement in state.reporting.values()
        ],
    }
    made: dict[str, Any] = world.client("bank", "clerk").request(
        "POST", "/v1/reports", body, idempotency_key=name
    )
    state.reports.append(made)
    for agreement in state.reporting.values():
        agreement.served += 1
    return made


def _dispute(world: World, state: DemoState, trader: Trader) -> tuple[str, dict[str, Any]]:
    """The trader reads the record and signs a dispute with a key certified for disputes."""
    subject, certificate = trade.certified(
        world, state.traders.index(trader) + 1, purpose="dispute"
    )
    world.client(DEPARTMENT, None).post("/v1/certificates/shown", subject.shown(certificate))
    asset_id = state.products[DEPARTMENT].asset_id
    counter = world.client(DEPARTMENT, "clerk").post(
        f"/v1/assets/{asset_id}/records", subject.identity
    )
    draft = dispute_of(
        subject,
        department=world.code(DEPARTMENT),
        asset_id=bytes.fromhex(asset_id[2:]),
        record=bytes.fromhex(counter["commitment"][2:]),
        claim={"column": REPAIRED_COLUMN, "says": "two years of employment are missing"},
        now=int(time.time()),
    )
    body = draft.body(subject.key.sign(draft.dispute, world.deployment.domain("CreditLedger")))
    dispute_id = str(world.client(DEPARTMENT, None).post("/v1/disputes", body)["disputeId"])
    wait_for(
        lambda: world.ledger.credit.dispute(bytes.fromhex(dispute_id[2:])).opened_at,
        "the dispute to be on the chain",
    )
    return dispute_id, counter["record"]
