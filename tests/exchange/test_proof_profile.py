"""Bundles of trades: they verify from their bytes, and nothing in them can be changed, left out or
added.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from chain.core.canonical import dumps
from chain.core.errors import VerificationError
from exchange.closing import notice
from exchange.proof_profile import check_lane, check_trade
from exchange.settlement import bundles
from tests.exchange.conftest import Market
from tests.support.two_verifiers import verify

CHECKERS = {"trade": check_trade, "lane": check_lane}


@pytest.fixture(scope="module")
def traded(market: Market) -> tuple[bytes, bytes]:
    """A trade bundle and a lane bundle of a closed agreement with one refusal in it."""
    market.offer()
    agreement_id = market.open(market.grant(), cap=1000)
    for number in range(6):
        market.call(agreement_id, number)
    market.call(agreement_id, 999)
    market.run(notice.acknowledge_all(market.bank.context, agreement_id))
    market.claim(agreement_id)
    market.anchor()
    context = market.department.context
    return bundles.trade_bundle(context, agreement_id, 0, 3), bundles.lane_bundle(
        context, agreement_id, 0
    )


def test_a_trade_bundle_verifies_from_its_bytes(
    market: Market, traded: tuple[bytes, bytes]
) -> None:
    report = verify(traded[0], market.trust, CHECKERS)
    assert any("was paid 270 fen" in name for name in report.proved)


def test_a_lane_bundle_verifies_and_reports_its_refusals(
    market: Market, traded: tuple[bytes, bytes]
) -> None:
    report = verify(traded[1], market.trust, CHECKERS)
    assert any(
        "is shown from position 1 to 7, none missing between: 6 served, 1 refused" in name
        for name in report.proved
    )


def _edit_amount(value: dict[str, Any]) -> None:
    next(statement for statement in value["statements"] if statement["type"] == "UsageReceipt")[
        "message"
    ]["amount"] = "1"


def _drop_receipt(value: dict[str, Any]) -> None:
    value["statements"].remove(
        next(statement for statement in value["statements"] if statement["type"] == "UsageReceipt")
    )


def _drop_log_entry(value: dict[str, Any]) -> None:
    value["logs"][0]["entries"].pop()


def _drop_acknowledgement(value: dict[str, Any]) -> None:
    value["statements"].remove(
        next(
            statement
            for statement in value["statements"]
            if statement["type"] == "UsageRequest" and statement["message"]["seq"] == 4
        )
    )


def _other_position(value: dict[str, Any]) -> None:
    value["subject"]["seq"] = 4


def _other_agreement(value: dict[str, Any]) -> None:
    value["subject"]["agreementId"] = "0x" + "00" * 32


def _one_signature(value: dict[str, Any]) -> None:
    value["statements"].remove(
        next(statement for statement in value["statements"] if statement["type"] == "Agreement")
    )


def _higher_payout(value: dict[str, Any]) -> None:
    value["storage"][0]["value"] = "0xffff"


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (_edit_amount, "signer_unknown"),
        (_drop_receipt, "profile_incomplete"),
        (_drop_log_entry, "not_logged"),
        (_drop_acknowledgement, "not_acknowledged"),
        (_other_position, "element_unused"),
        (_other_agreement, "agreement_differs"),
        (_one_signature, "agreement_differs"),
        (_higher_payout, "proof_wrong"),
    ],
)
def test_an_edited_trade_bundle_is_refused(
    market: Market, traded: tuple[bytes, bytes], edit: Callable[[dict[str, Any]], None], code: str
) -> None:
    value = copy.deepcopy(json.loads(traded[0]))
    edit(value)
    with pytest.raises(VerificationError) as refused:
        verify(dumps(value), market.trust, CHECKERS)
    assert refused.value.code == code


def test_a_lane_with_a_hole_is_refused(market: Market, traded: tuple[bytes, bytes]) -> None:
    value = json.loads(traded[1])
    value["statements"] = [
        statement for statement in value["statements"] if statement["message"].get("seq") != 3
    ]
    with pytest.raises(VerificationError) as refused:
        verify(dumps(value), market.trust, CHECKERS)
    assert refused.value.code == "lane_has_holes"


def test_no_changed_byte_passes(market: Market, traded: tuple[bytes, bytes]) -> None:
    data = traded[0]
    for index in range(0, len(data), max(1, len(data) // 97)):
        changed = bytearray(data)
        changed[index] ^= 1
        with pytest.raises(VerificationError):
            verify(bytes(changed), market.trust, CHECKERS)
