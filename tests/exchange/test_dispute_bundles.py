"""Bundles of disputes: each case made from a party's own store, verified from its bytes, and refused
with anything changed. What a party signs wrongly is signed by its real key.

With ``QIAOLIAN_RECORD_BUNDLES`` set to a folder, the bundles and their trust file are written there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chain.bundle.claims import Report
from chain.core.canonical import dumps
from chain.core.errors import Conflict, NotFound, QiaolianError, VerificationError
from chain.ethereum.proved_records import grant_record
from chain.statements.commitment import commit_bytes
from chain.statements.disputes import ContestReason, LogPosition
from chain.statements.trade import UsageReceipt
from exchange.agreements.model import AgreementSide
from exchange.disputes import export, peers, proof_profile, sealing, service
from exchange.disputes.model import DisputeCase, RulingRequest
from exchange.metering import records as calls
from exchange.metering.model import RESPONSE_DOMAIN, CallStatus
from exchange.metering.store import ANSWERS
from tests.exchange.conftest import Market, Node
from tests.exchange.test_disputes import BOND, PRICE, STAKE, WINDOW_BLOCKS, WINDOW_SECONDS
from tests.support.two_verifiers import verify
from tests.support.waiting import wait_for

CHECKERS = {"dispute": proof_profile.check}
SALT = b"\5" * 32


@pytest.fixture(scope="module")
def granted(market: Market) -> bytes:
    market.deposit(market.department.member, 10_000, "for bonds")
    market.offer(
        bond=BOND,
        stake=STAKE,
        close_window_blocks=WINDOW_BLOCKS,
        close_window_seconds=WINDOW_SECONDS,
    )
    market.settle()
    return market.grant()


def opened(market: Market, grant_id: bytes) -> bytes:
    return market.open(grant_id, cap=1000, arbiter=market.supervisor.member)


def made(market: Market, node: Node, case: DisputeCase, agreement_id: bytes, seq: int = 1) -> bytes:
    """A case's bundle from a node's own store, with no peer to be asked."""
    node.peers.broken = True
    try:
        data = export.bundle(node.context, case, agreement_id, 0, seq)
    finally:
        node.peers.broken = False
    record(market, case, data)
    return data


def record(market: Market, case: DisputeCase, data: bytes) -> None:
    folder = os.environ.get("QIAOLIAN_RECORD_BUNDLES")
    if folder:
        Path(folder, f"{case}.json").write_bytes(data)
        trust = json.dumps(market.trust.to_json(), indent=1) + "\n"
        Path(folder, "trust.json").write_text(trust, encoding="utf-8")


def checked(market: Market, data: bytes) -> Report:
    return verify(data, market.trust, CHECKERS)


def says(report: Report, *texts: str) -> bool:
    return all(any(text in sentence for sentence in report.proved) for text in texts)


def refused(market: Market, data: bytes, edit: Callable[[dict[str, Any]], None]) -> str:
    value = json.loads(data)
    edit(value)
    with pytest.raises(VerificationError) as error:
        verify(dumps(value), market.trust, CHECKERS)
    return error.value.code


def answering_wrongly(
    market: Market, change: Callable[[UsageReceipt], UsageReceipt]
) -> Callable[[Any], Any]:
    """The department's answers with a receipt that its own key signed otherwise."""

    def altered(answer: Any) -> Any:
        for item in answer.get("answers", []):
            receipt = change(UsageReceipt.from_json(item["receipt"]))
            item["receipt"] = receipt.to_json()
            item["signature"] = "0x" + market.department.context.sign(receipt).hex()
        return answer

    return altered


def wrongly_answered(
    market: Market, grant_id: bytes, change: Callable[[UsageReceipt], UsageReceipt]
) -> bytes:
    """An agreement whose first call halted the lane, since the receipt is wrong."""
    agreement_id = opened(market, grant_id)
    market.bank.peers.altered = answering_wrongly(market, change)
    try:
        with pytest.raises(QiaolianError):
            market.call(agreement_id)
    finally:
        market.bank.peers.altered = None
    market.anchor(market.bank)
    return agreement_id


def contested(market: Market, agreement_id: bytes, reason: ContestReason) -> bytes:
    claim = service.claim(market.department.context, agreement_id, 0)
    market.department.done(claim.operation)
    market.settle()
    contest = service.contest(market.bank.context, claim.receipt_id, reason)
    market.bank.done(contest.operation)
    market.settle()
    return claim.receipt_id


def answered(market: Market, receipt_id: bytes) -> None:
    market.department.done(service.answer(market.department.context, receipt_id).operation)
    market.settle()


# --- A claim and its ruling -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def ruled(market: Market, granted: bytes) -> bytes:
    """The agreement of a call that the arbiter split, made into a bundle by everybody."""
    agreement_id = opened(market, granted)
    market.call(agreement_id)
    receipt_id = contested(market, agreement_id, ContestReason.RECORD_DIFFERS)
    answered(market, receipt_id)
    evidence = [LogPosition(market.department.member, 3), LogPosition(market.bank.member, 1)]
    request = RulingRequest(20, "a part was delivered", evidence)
    ruling = service.rule(market.supervisor.context, receipt_id, request)
    market.supervisor.done(ruling.operation)
    market.settle()
    return agreement_id


def test_every_member_makes_the_same_bundle_of_a_ruling(market: Market, ruled: bytes) -> None:
    bundles = {made(market, node, DisputeCase.CLAIM, ruled) for node in market.nodes.values()}
    (data,) = bundles
    report = checked(market, data)
    assert says(
        report,
        "for the reason record_differs",
        "served an answer again",
        f"that 20 of {PRICE} fen are paid, citing the log entries {market.department.member}/3, "
        f"{market.bank.member}/1",
        f"The stake of {STAKE} fen went back to {market.bank.member}.",
        "is at 20 fen up to position 1",
    )


def test_a_claim_s_bundle_with_one_thing_changed_is_refused(market: Market, ruled: bytes) -> None:
    data = export.bundle(market.bank.context, DisputeCase.CLAIM, ruled, 0, 1)

    def struct(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return lambda value: next(item for item in value["structs"] if item["type"] == name)

    def with_field(name: str, field: str, new: Any) -> Callable[[dict[str, Any]], None]:
        return lambda value: struct(name)(value)["message"].update({field: new})

    def without(name: str) -> Callable[[dict[str, Any]], None]:
        return lambda value: value["structs"].remove(struct(name)(value))

    def subject(**changes: Any) -> Callable[[dict[str, Any]], None]:
        return lambda value: value["subject"].update(changes)

    for edit, code in (
        (with_field("UsageReceipt", "amount", "51"), "state_not_proved"),
        (with_field("UsageReceipt", "seq", 2), "of_another_trade"),
        (with_field("Ruling", "amount", "50"), "ruling_differs"),
        (with_field("Ruling", "evidence", []), "ruling_differs"),
        (with_field("Agreement", "arbiter", market.operator.member), "agreement_differs"),
        (without("Ruling"), "profile_incomplete"),
        (without("UsageReceipt"), "profile_incomplete"),
        (without("Agreement"), "profile_incomplete"),
        (subject(seq=2), "of_another_trade"),
        (subject(lane=1), "wrong_lane"),
        (subject(agreementId="0x" + "00" * 32), "agreement_differs"),
        (subject(case="theft"), "subject_malformed"),
        (subject(case=["claim"]), "subject_malformed"),
        (subject(case="equivocation"), "profile_incomplete"),
        (subject(case="answer"), "subject_malformed"),
        (subject(sealedAnswer="0x"), "subject_malformed"),
        (lambda value: value["subject"].pop("case"), "subject_malformed"),
    ):
        assert refused(market, data, edit) == code


def test_an_unsigned_struct_proves_nothing_in_another_profile(market: Market, ruled: bytes) -> None:
    """What the chain took under signatures may stand unsigned in a dispute's bundle alone."""
    data = export.bundle(market.bank.context, DisputeCase.CLAIM, ruled, 0, 1)
    value = json.loads(data)
    value["structs"].append({"type": "Voucher", "message": {}})
    with pytest.raises(VerificationError) as unknown:
        checked(market, dumps(value))
    assert unknown.value.code == "bundle_malformed"


# --- Two receipts, and receipts that are wrong ----------------------------------------------------


def test_two_receipts_for_one_position_are_shown(market: Market, granted: bytes) -> None:
    agreement_id = opened(market, granted)
    market.call(agreement_id)
    call = calls.call_at(market.bank.context, AgreementSide.BUYER, agreement_id, 0, 1)
    assert call is not None
    assert call.receipt is not None
    other = replace(call.receipt, response_commitment=b"\7" * 32)
    pair = (call.receipt, call.receipt_signature), (other, market.department.context.sign(other))
    with pytest.raises(Conflict) as unknown:
        export.bundle(market.bank.context, DisputeCase.EQUIVOCATION, agreement_id, 0, 1)
    assert unknown.value.code == "case_not_shown"
    proved = service.prove_equivocation(market.bank.context, agreement_id, *pair)
    market.bank.done(proved.operation)
    market.settle()
    data = made(market, market.bank, DisputeCase.EQUIVOCATION, agreement_id)
    report = checked(market, data)
    assert says(report, f"{BOND} fen of the bond were taken", "is flagged for 1 such positions")

    def same(value: dict[str, Any]) -> None:
        value["statements"].pop()

    def swapped(value: dict[str, Any]) -> None:
        first, second = value["statements"]
        first["signature"], second["signature"] = second["signature"], first["signature"]

    assert refused(market, data, same) == "profile_incomplete"
    assert refused(market, data, swapped) == "signer_unknown"


def dearer(receipt: UsageReceipt) -> UsageReceipt:
    return replace(receipt, amount=receipt.amount + 1, total_amount=receipt.total_amount + 1)


def test_a_receipt_that_bills_more_than_agreed_is_shown(market: Market, granted: bytes) -> None:
    agreement_id = wrongly_answered(market, granted, dearer)
    data = made(market, market.bank, DisputeCase.AMOUNT, agreement_id)
    report = checked(market, data)
    assert says(report, f"1 units cost {PRICE} fen", "The agreement allows 50 fen a call")
    for node, case, code in (
        (market.bank, DisputeCase.REQUEST, "case_not_shown"),
        (market.bank, DisputeCase.CLAIM, "unknown_dispute"),
        (market.bank, DisputeCase.ANSWER, "unknown_dispute"),
        (market.department, DisputeCase.AMOUNT, "case_not_shown"),
        (market.operator, DisputeCase.AMOUNT, "case_not_shown"),
        (market.operator, DisputeCase.EQUIVOCATION, "case_not_shown"),
    ):
        with pytest.raises((Conflict, NotFound)) as error:
            export.bundle(node.context, case, agreement_id, 0, 1)
        assert error.value.code == code


def test_a_receipt_for_another_request_is_shown(market: Market, granted: bytes) -> None:
    agreement_id = wrongly_answered(
        market, granted, lambda receipt: replace(receipt, request=b"\6" * 32)
    )
    data = made(market, market.bank, DisputeCase.REQUEST, agreement_id)
    report = checked(market, data)
    assert says(report, "the receipt names another one")
    assert any("signed no other request" in sentence for sentence in report.limits)
    edits: tuple[tuple[Callable[[dict[str, Any]], None], str], ...] = (
        (lambda value: value["logs"].clear(), "not_logged"),
        (lambda value: value["subject"].update(case="amount"), "receipt_of_other"),
    )
    for edit, code in edits:
        assert refused(market, data, edit) == code


def test_a_right_receipt_shows_no_case(market: Market, granted: bytes) -> None:
    """The verifiers refuse what the exporter would not make either."""
    agreement_id = opened(market, granted)
    market.call(agreement_id)
    market.anchor(market.bank)
    for case in (DisputeCase.AMOUNT, DisputeCase.REQUEST, DisputeCase.REVOKED):
        with pytest.raises(Conflict) as error:
            export.bundle(market.bank.context, case, agreement_id, 0, 1)
        assert error.value.code == "case_not_shown"


# --- Use after revocation -------------------------------------------------------------------------


def test_a_call_served_after_the_revocation_is_shown(market: Market) -> None:
    """A gateway with modified code signs a view from after the revocation."""
    grant_id = market.grant()
    agreement_id = opened(market, grant_id)
    market.revoke(grant_id)
    bank = market.bank.context

    def revoked() -> int:
        market.settle()
        return bank.view.proved([grant_record(grant_id)]).grant(grant_id).revoked_at

    wait_for(revoked, "the revocation")
    head = market.bank.context.view.head

    def late(receipt: UsageReceipt) -> UsageReceipt:
        units = 1
        return replace(
            receipt,
            outcome=0,
            reason="",
            units=units,
            amount=PRICE,
            total_units=units,
            total_amount=PRICE,
            response_commitment=commit_bytes(SALT, RESPONSE_DOMAIN, dumps({"record": {}})),
            view_height=head.height,
            view_block=head.block_hash,
        )

    def altered(answer: Any) -> Any:
        answer = answering_wrongly(market, late)(answer)
        for item in answer.get("answers", []):
            item["content"], item["salt"] = {"record": {}}, "0x" + SALT.hex()
        return answer

    market.bank.peers.altered = altered
    try:
        assert market.call(agreement_id).status == CallStatus.SERVED
    finally:
        market.bank.peers.altered = None
    data = made(market, market.bank, DisputeCase.REVOKED, agreement_id)
    assert says(checked(market, data), "the grant had been revoked in")


# --- An answer that is not what was committed to --------------------------------------------------


@pytest.fixture
def wrong_answer(market: Market, granted: bytes) -> tuple[bytes, bytes]:
    """A contested call whose provider serves another answer than it committed to."""
    agreement_id = opened(market, granted)
    market.call(agreement_id)
    receipt_id = contested(market, agreement_id, ContestReason.ANSWER_DIFFERS)
    department = market.department.context

    def forge(session: Any) -> None:
        stored = calls.kept_answer(department, agreement_id, 0, 1)
        assert stored is not None
        answer = json.loads(stored)
        answer["content"] = {"record": {"seniority": 99}}
        here = ANSWERS.c.agreement_id == agreement_id
        session.execute(ANSWERS.update().where(here).values(answer=json.dumps(answer)))

    department.database.write(forge)
    answered(market, receipt_id)
    return agreement_id, receipt_id


def test_an_answer_that_differs_from_its_commitment_is_shown(
    market: Market, wrong_answer: tuple[bytes, bytes]
) -> None:
    agreement_id, receipt_id = wrong_answer
    bank = market.bank
    with pytest.raises(Conflict) as unchecked:
        export.bundle(bank.context, DisputeCase.ANSWER, agreement_id, 0, 1)
    assert unchecked.value.code == "case_not_shown"
    assert not market.run(peers.check_answer(bank.context, receipt_id)).matches
    data = made(market, bank, DisputeCase.ANSWER, agreement_id)
    assert says(checked(market, data), "and is not what the receipt commits to")
    other = sealing.ContestKey.generate().private

    def with_subject(**changes: str) -> Callable[[dict[str, Any]], None]:
        return lambda value: value["subject"].update(changes)

    for edit, code in (
        (with_subject(contestSecret="0x" + other.hex()), "contest_key_differs"),
        (with_subject(contestSecret="0x00"), "subject_malformed"),
        (with_subject(sealedAnswer="0x00"), "sealed_answer_differs"),
        (with_subject(sealedAnswer="00"), "subject_malformed"),
    ):
        assert refused(market, data, edit) == code
    market.mine(WINDOW_BLOCKS + 1, WINDOW_SECONDS + 1)
    market.operator.done(service.end(market.operator.context, receipt_id).operation)
    market.settle()
    after = made(market, bank, DisputeCase.ANSWER, agreement_id)
    assert says(checked(market, after), "and is not what the receipt commits to")


def test_a_right_answer_is_no_case(market: Market, granted: bytes) -> None:
    """The buyer forces a bundle of an answer that matches; both verifiers refuse it."""
    agreement_id = opened(market, granted)
    market.call(agreement_id)
    receipt_id = contested(market, agreement_id, ContestReason.ANSWER_DIFFERS)
    answered(market, receipt_id)
    department, bank = market.department.context, market.bank.context
    sealed = service.sealed_answer(department, receipt_id, market.bank.member)
    service.keep_wrong_answer(bank, receipt_id, sealed)
    data = export.bundle(bank, DisputeCase.ANSWER, agreement_id, 0, 1)
    with pytest.raises(VerificationError) as error:
        checked(market, data)
    assert error.value.code == "case_not_shown"


def test_bytes_that_cannot_be_opened_are_no_answer(market: Market, granted: bytes) -> None:
    """A provider states the hash of bytes that nobody can open."""
    agreement_id = opened(market, granted)
    market.call(agreement_id)
    receipt_id = contested(market, agreement_id, ContestReason.NO_ANSWER)

    def garbage(session: Any) -> None:
        row = service._row(session, receipt_id)
        row.sealed_answer = b"\1" * 100

    market.department.context.database.write(garbage)
    answered(market, receipt_id)
    with pytest.raises(Conflict) as unreadable:
        market.run(peers.check_answer(market.bank.context, receipt_id))
    assert unreadable.value.code == "sealed_answer_unreadable"
    data = export.bundle(market.bank.context, DisputeCase.ANSWER, agreement_id, 0, 1)
    assert says(checked(market, data), "it is no answer")
