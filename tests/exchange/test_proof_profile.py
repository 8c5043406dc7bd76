"""Bundles of trades: they verify from their bytes, and nothing in them can be changed, left out or
added.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from chain.bundle.claims import Report
from chain.core.canonical import dumps
from chain.core.errors import Conflict, NotFound, VerificationError
from exchange.agreements.model import AgreementSide
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
    market.anchor(market.bank)
    context = market.department.context
    return bundles.trade_bundle(context, agreement_id, 0, 3), bundles.lane_bundle(
        context, agreement_id, 0
    )


def agreement_of(bundle: bytes) -> bytes:
    return bytes.fromhex(json.loads(bundle)["subject"]["agreementId"][2:])


def without_log_sentences(report: Report) -> list[str]:
    return [sentence for sentence in report.proved if "log" not in sentence]


def test_the_buyer_makes_the_same_bundles_from_its_own_store(
    market: Market, traded: tuple[bytes, bytes]
) -> None:
    """Byte for byte the same but for the log that shows the statements, and for the height."""
    agreement_id, bank = agreement_of(traded[0]), market.bank
    bank.peers.broken = True
    try:
        own = (
            market.run(bundles.fetch(bank.context, agreement_id, 0, 3)),
            market.run(bundles.fetch(bank.context, agreement_id, 0)),
        )
    finally:
        bank.peers.broken = False
    for theirs, mine in zip(traded, own, strict=True):
        first, second = json.loads(theirs), json.loads(mine)
        for section in ("story", "subject", "chain", "statements", "structs", "disclosures"):
            assert first[section] == second[section], section
        assert {log["member"] for log in first["logs"]} == {market.department.member}
        assert {log["member"] for log in second["logs"]} == {bank.member}
        reports = [verify(data, market.trust, CHECKERS) for data in (theirs, mine)]
        assert without_log_sentences(reports[0]) == without_log_sentences(reports[1])
        assert reports[0].limits == reports[1].limits


def test_a_supervisor_gets_the_bundles_from_either_party(
    market: Market, traded: tuple[bytes, bytes]
) -> None:
    agreement_id, supervisor = agreement_of(traded[0]), market.supervisor

    def logs_of(seq: int | None, party: AgreementSide | None = None) -> set[str]:
        data = market.run(bundles.fetch(supervisor.context, agreement_id, 0, seq, party=party))
        assert verify(data, market.trust, CHECKERS).proved
        return {log["member"] for log in json.loads(data)["logs"]}

    department, bank = {market.department.member}, {market.bank.member}
    assert logs_of(3) == logs_of(None) == department
    assert logs_of(3, AgreementSide.BUYER) == logs_of(None, AgreementSide.BUYER) == bank
    supervisor.peers.down.add(market.department.member)
    try:
        assert logs_of(3) == logs_of(None) == bank
    finally:
        supervisor.peers.down.clear()


def test_a_buyer_s_log_keeps_apart_what_it_signed_and_what_it_received(
    market: Market, traded: tuple[bytes, bytes]
) -> None:
    data = market.run(bundles.fetch(market.bank.context, agreement_of(traded[0]), 0, 3))
    kinds = [entry["leaf"]["kind"] for log in json.loads(data)["logs"] for entry in log["entries"]]
    assert sorted(kinds) == ["Agreement", "ReceivedReceipt"]


def test_the_buyer_s_bundle_of_a_lane_ends_with_what_it_took(
    market: Market, traded: tuple[bytes, bytes]
) -> None:
    agreement_id = market.open(market.grant(), cap=1000)
    market.call(agreement_id, 1)
    market.call(agreement_id, 2)
    market.anchor(market.bank)
    bank = market.bank.context
    report = verify(bundles.lane_bundle(bank, agreement_id, 0), market.trust, CHECKERS)
    assert any("position up to 1, the last one not" in sentence for sentence in report.proved)
    with pytest.raises(Conflict) as unacknowledged:
        bundles.trade_bundle(bank, agreement_id, 0, 2)
    assert unacknowledged.value.code in ("not_acknowledged", "not_claimed")
    with pytest.raises(NotFound) as unknown:
        bundles.trade_bundle(bank, agreement_id, 0, 3)
    assert unknown.value.code == "position_unknown"


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
