"""The demo's report detects each broken promise: every one is broken by itself."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from scripts.demo_steps.promises import CASES, STORIES, broken

HELD: dict[str, Any] = {
    "validators": 4,
    "blocks": 90,
    "transactions": 600,
    "trade": {
        "calls": 1_000,
        "refused_units": 0,
        "refusals": {
            "consent": "consent_missing",
            "cap": "cap_reached",
            "purpose": "purpose_not_granted",
            "operation": "operation_delivers_nothing",
            "edited record": "source_drift",
        },
        "masked": 3,
        "free_calls": 10,
        "wrong_purpose_refused": True,
        "opened_fen": 100,
        "paid_fen": 60,
        "refunded_fen": 40,
        "locked_fen": 0,
        "deposited_fen": 500,
        "withdrawn_fen": 0,
        "free_fen": 500,
        "all_locked_fen": 0,
        "bonded_fen": 0,
        "counters_agree": True,
        "disputes": 2,
        "equivocations_slashed": 1,
        "cases": [{"settled": True}] * CASES,
        "balances": [{"party": "bank", "due": 340, "change": 340}],
    },
    "credit": {"reports": 2, "repaired": 1},
    "property": {"registered": 25, "refused": 3},
    "killed": ["gateway", "validator", "outbox worker"],
    "lost_records": [],
    "revocation_seconds": 1.2,
    "bundles": [{"story": text, "verified": True, "tampered_exit_code": 11} for text in STORIES],
}


def changed(path: str, value: Any) -> dict[str, Any]:
    report = copy.deepcopy(HELD)
    *groups, name = path.split(".")
    index = report
    for group in groups:
        index = index[group]
    index[name] = value
    return report


def test_a_report_that_bears_everything_out_breaks_nothing() -> None:
    assert broken(HELD, calls=1_000, deals=25) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("validators", 3),
        ("blocks", 0),
        ("trade.calls", 999),
        ("trade.masked", 0),
        ("trade.refusals", {"consent": "consent_missing", "cap": ""}),
        ("trade.refusals", {**HELD["trade"]["refusals"], "cap": ""}),
        ("trade.refusals", {**HELD["trade"]["refusals"], "edited record": ""}),
        ("trade.refused_units", 1),
        ("trade.free_calls", 0),
        ("trade.wrong_purpose_refused", False),
        ("trade.refunded_fen", 39),
        ("trade.free_fen", 499),
        ("trade.bonded_fen", 1),
        ("trade.counters_agree", False),
        ("trade.disputes", 1),
        ("trade.equivocations_slashed", 0),
        ("trade.cases", [{"settled": True}] * (CASES - 1)),
        ("trade.cases", [*HELD["trade"]["cases"][1:], {"settled": False}]),
        ("trade.balances", []),
        ("trade.balances", [{"party": "bank", "due": 340, "change": 339}]),
        ("credit.reports", 1),
        ("credit.repaired", 0),
        ("property.registered", 24),
        ("property.refused", 2),
        ("killed", ["gateway", "validator"]),
        ("lost_records", ["tax:0xab/0/7"]),
        ("revocation_seconds", None),
        ("bundles", HELD["bundles"][1:]),
        (
            "bundles",
            [{**bundle, "verified": bundle["story"] != "trade"} for bundle in HELD["bundles"]],
        ),
        ("bundles", [{**bundle, "tampered_exit_code": 0} for bundle in HELD["bundles"]]),
    ],
)
def test_one_broken_promise_is_named(path: str, value: Any) -> None:
    assert len(broken(changed(path, value), calls=1_000, deals=25)) == 1
