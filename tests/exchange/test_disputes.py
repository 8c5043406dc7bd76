"""A call that its buyer does not acknowledge: every way a dispute goes, over real nodes and a chain,
and what each party is paid.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from chain.core.errors import BadInput, Conflict, Forbidden, NotFound, QiaolianError
from chain.ethereum.records import GrantRecord
from chain.statements.disputes import ContestReason, DisputeOutcome, LogPosition
from chain.statements.examples import example
from chain.statements.trade import MeteredUnit, ReceiptVoid
from exchange.agreements import rules as agreement_rules
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide, StatedTerms
from exchange.closing import notice
from exchange.disputes import export, peers, proof_profile, rules, sealing, service
from exchange.disputes.model import (
    ContestLimits,
    Dispute,
    DisputeCase,
    DisputeStep,
    RulingRequest,
)
from exchange.disputes.schemas import contest_reason
from exchange.disputes.worker import DisputeWorker
from exchange.metering import records as calls
from exchange.metering.model import CallStatus, StoredCall
from exchange.metering.store import BUYER
from exchange.settlement import service as settlement
from registry.pages import PageRequest
from tests.exchange.conftest import Market, Node
from tests.support.two_verifiers import verify

WINDOW_BLOCKS, WINDOW_SECONDS = 30, 600
STAKE, BOND, PRICE = 20, 100, 50


@pytest.fixture(scope="module")
def disputed_grant(market: Market) -> Iterator[bytes]:
    """A grant whose agreements have a bond from the provider's balance and a stake."""
    market.deposit(market.department.member, 10_000, "for bonds")
    market.offer(
        bond=BOND,
        stake=STAKE,
        close_window_blocks=WINDOW_BLOCKS,
        close_window_seconds=WINDOW_SECONDS,
    )
    market.settle()
    yield market.grant()
    market.offer()


@pytest.fixture
def deal(market: Market, disputed_grant: bytes) -> bytes:
    """An open agreement with one call that nobody acknowledged."""
    agreement_id = market.open(disputed_grant, cap=1000, arbiter=market.supervisor.member)
    market.call(agreement_id)
    return agreement_id


def done(market: Market, node: Node, operation: str) -> None:
    node.done(operation)
    market.settle()


def claimed(market: Market, agreement_id: bytes) -> bytes:
    call = service.claim(market.department.context, agreement_id, 0)
    done(market, market.department, call.operation)
    return call.receipt_id


def contested(market: Market, agreement_id: bytes, reason: ContestReason) -> bytes:
    receipt_id = claimed(market, agreement_id)
    call = service.contest(market.bank.context, receipt_id, reason)
    done(market, market.bank, call.operation)
    return receipt_id


def answered(market: Market, agreement_id: bytes) -> bytes:
    receipt_id = contested(market, agreement_id, ContestReason.ANSWER_DIFFERS)
    done(market, market.department, service.answer(market.department.context, receipt_id).operation)
    return receipt_id


def ruled(market: Market, receipt_id: bytes, amount: int) -> None:
    evidence = [LogPosition(market.department.member, 3)]
    call = service.rule(
        market.supervisor.context, receipt_id, RulingRequest(amount, "for the record", evidence)
    )
    done(market, market.supervisor, call.operation)


def over(market: Market) -> None:
    market.mine(WINDOW_BLOCKS + 1, WINDOW_SECONDS + 1)


def ended(market: Market, receipt_id: bytes) -> Dispute:
    call = service.end(market.operator.context, receipt_id)
    done(market, market.operator, call.operation)
    return seen_alike(market, receipt_id)


def seen_alike(market: Market, receipt_id: bytes) -> Dispute:
    """Every node has the same state of the dispute."""
    states = {
        (found.step, found.outcome, found.paid, found.reason)
        for found in (service.find(node.context, receipt_id) for node in market.nodes.values())
    }
    assert len(states) == 1
    shown_alike(market, receipt_id)
    return service.find(market.supervisor.context, receipt_id)


def shown_alike(market: Market, receipt_id: bytes) -> None:
    """Every node makes the same bundle of it, and both verifiers take it."""
    receipt = service.find(market.supervisor.context, receipt_id).receipt
    (data,) = {
        export.bundle(
            node.context, DisputeCase.CLAIM, receipt.agreement_id, receipt.lane, receipt.seq
        )
        for node in market.nodes.values()
    }
    assert verify(data, market.trust, {"dispute": proof_profile.check}).proved


def free(market: Market, node: Node) -> int:
    return settlement.accounts(market.operator.context, node.member).account.free


def test_a_claim_that_the_buyer_does_not_contest_is_paid(market: Market, deal: bytes) -> None:
    before = free(market, market.department)
    receipt_id = claimed(market, deal)
    with pytest.raises(Conflict) as early:
        service.end(market.operator.context, receipt_id)
    assert early.value.code == "step_open"
    over(market)
    dispute = ended(market, receipt_id)
    assert (dispute.outcome, dispute.paid) == (DisputeOutcome.PAID_UNCONTESTED, PRICE)
    assert free(market, market.department) == before + 45
    assert settlement.accounts(market.operator.context).conserved


def test_a_contest_that_the_provider_does_not_answer_leaves_the_call_unpaid(
    market: Market, deal: bytes
) -> None:
    before = free(market, market.bank)
    receipt_id = claimed(market, deal)
    assert [found.receipt_id for found in service.awaiting_persons(market.bank.context)] == [
        receipt_id
    ]
    call = service.contest(market.bank.context, receipt_id, ContestReason.NO_ANSWER)
    done(market, market.bank, call.operation)
    assert service.awaiting_persons(market.bank.context) == []
    assert free(market, market.bank) == before - STAKE
    over(market)
    dispute = ended(market, receipt_id)
    assert (dispute.outcome, dispute.paid) == (DisputeOutcome.UNPAID_UNANSWERED, 0)
    assert free(market, market.bank) == before


def test_a_silent_arbiter_leaves_the_call_unpaid_and_returns_the_stake(
    market: Market, deal: bytes
) -> None:
    before = free(market, market.bank)
    receipt_id = answered(market, deal)
    over(market)
    dispute = ended(market, receipt_id)
    assert (dispute.outcome, dispute.paid) == (DisputeOutcome.UNPAID_UNRULED, 0)
    assert free(market, market.bank) == before


def test_a_buyer_that_contests_wrongly_pays_the_call_and_its_stake(
    market: Market, deal: bytes
) -> None:
    bank, department = free(market, market.bank), free(market, market.department)
    receipt_id = answered(market, deal)
    context, arbiter = market.bank.context, market.supervisor.context
    check = market.run(peers.check_answer(context, receipt_id))
    assert check.matches
    assert check.content["record"]["seniority"] == 1  # type: ignore[index]
    with pytest.raises(Forbidden) as closed:
        market.run(peers.check_answer(arbiter, receipt_id))
    assert closed.value.code == "not_opened"
    service.open_to_arbiter(context, receipt_id)
    assert market.run(peers.check_answer(arbiter, receipt_id)).matches
    ruled(market, receipt_id, PRICE)
    dispute = seen_alike(market, receipt_id)
    assert (dispute.outcome, dispute.paid) == (DisputeOutcome.RULED, PRICE)
    assert free(market, market.bank) == bank - STAKE
    assert free(market, market.department) == department + STAKE + 45


def test_a_provider_that_loses_pays_the_stake_from_its_bond(market: Market, deal: bytes) -> None:
    before = free(market, market.bank)
    receipt_id = answered(market, deal)
    ruled(market, receipt_id, 0)
    assert seen_alike(market, receipt_id).paid == 0
    assert free(market, market.bank) == before + STAKE
    assert agreements.proved_state(market.operator.context, deal).bond_held == BOND - STAKE


def test_a_split_pays_a_part_and_costs_nobody_the_stake(market: Market, deal: bytes) -> None:
    before = free(market, market.bank)
    receipt_id = answered(market, deal)
    ruled(market, receipt_id, 20)
    assert seen_alike(market, receipt_id).paid == 20
    assert free(market, market.bank) == before
    assert agreements.proved_state(market.operator.context, deal).bond_held == BOND


def test_an_acknowledgement_ends_a_dispute_at_once(market: Market, deal: bytes) -> None:
    receipt_id = contested(market, deal, ContestReason.NO_ANSWER)
    market.call(deal, 2)
    market.claim(deal)
    dispute = ended(market, receipt_id)
    assert (dispute.outcome, dispute.paid) == (DisputeOutcome.ACKNOWLEDGED, 0)
    with pytest.raises(Conflict) as again:
        service.end(market.operator.context, receipt_id)
    assert again.value.code == "wrong_step"


def test_two_receipts_for_one_place_cost_the_provider_its_bond(market: Market, deal: bytes) -> None:
    before = free(market, market.bank)
    call = calls.call_at(market.bank.context, AgreementSide.BUYER, deal, 0, 1)
    assert call is not None
    assert call.receipt is not None
    other = replace(call.receipt, response_commitment=b"\7" * 32)
    signed = market.department.context.sign(other)
    first = (call.receipt, call.receipt_signature)
    made = service.prove_equivocation(market.operator.context, deal, first, (other, signed))
    done(market, market.operator, made.operation)
    assert free(market, market.bank) == before + BOND
    found = service.equivocations(market.supervisor.context, PageRequest(10)).rows
    assert [(row.agreement_id, row.lane, row.seq, row.taken) for row in found] == [
        (deal, 0, 1, BOND)
    ]
    for one, two, code in (
        (first, first, "no_equivocation"),
        (first, (replace(other, seq=2), signed), "no_equivocation"),
        (first, (other, first[1]), "wrong_signer"),
    ):
        with pytest.raises(QiaolianError) as refused:
            service.prove_equivocation(market.operator.context, deal, one, two)
        assert refused.value.code == code


def test_only_the_party_whose_turn_it_is_acts(market: Market, deal: bytes) -> None:
    department, bank, arbiter = (
        market.department.context,
        market.bank.context,
        market.supervisor.context,
    )
    with pytest.raises(Forbidden) as not_provider:
        service.claim(bank, deal, 0)
    assert not_provider.value.code == "not_provider"
    with pytest.raises(Conflict) as nothing:
        service.claim(department, deal, 1)
    assert nothing.value.code == "nothing_to_claim"
    with pytest.raises(NotFound) as unknown:
        service.find(bank, b"\1" * 32)
    assert unknown.value.code == "unknown_dispute"
    receipt_id = claimed(market, deal)
    request = RulingRequest(0, "early", [LogPosition(market.bank.member, 0)])
    for act, code in (
        (lambda: service.contest(department, receipt_id, ContestReason.NO_ANSWER), "not_buyer"),
        (lambda: service.answer(department, receipt_id), "wrong_step"),
        (lambda: service.answer(bank, receipt_id), "not_provider"),
        (lambda: service.rule(arbiter, receipt_id, request), "wrong_step"),
        (lambda: service.rule(bank, receipt_id, request), "not_arbiter"),
        (
            lambda: service.sealed_answer(department, receipt_id, bank.member),
            "dispute_not_answered",
        ),
        (lambda: service.sealed_answer(department, receipt_id, "x" * 18), "dispute_of_others"),
        (lambda: service.opened_secret(bank, receipt_id, department.member), "dispute_of_others"),
        (lambda: service.open_to_arbiter(bank, receipt_id), "not_buyer"),
    ):
        with pytest.raises(QiaolianError) as refused:
            act()
        assert refused.value.code == code
    over(market)
    with pytest.raises(Conflict) as late:
        service.contest(bank, receipt_id, ContestReason.NO_ANSWER)
    assert late.value.code == "step_over"
    ended(market, receipt_id)


def test_a_ruling_that_does_not_fit_is_not_signed(market: Market, deal: bytes) -> None:
    receipt_id = answered(market, deal)
    entry = LogPosition(market.department.member, 0)
    for amount, evidence, code in (
        (PRICE + 1, [entry], "ruling_mismatch"),
        (0, [], "evidence_missing"),
        (0, [entry] * 17, "too_much_evidence"),
    ):
        with pytest.raises(BadInput) as refused:
            service.rule(
                market.supervisor.context, receipt_id, RulingRequest(amount, "why", evidence)
            )
        assert refused.value.code == code
    with pytest.raises(BadInput) as reason:
        contest_reason("because")
    assert reason.value.code == "unknown_reason"
    ruled(market, receipt_id, 0)


def test_the_nodes_act_by_themselves(market: Market, deal: bytes) -> None:
    """After a notice the provider claims in the second half of the window, answers a contest, and
    ends what nobody continues with; the agreement then closes.
    """
    done(market, market.bank, str(notice.give_notice(market.bank.context, deal).operation))
    worker = DisputeWorker(market.department.context)
    asyncio.run(worker.round())
    assert worker.has_work
    assert service.live_of_own(market.department.context) == []
    market.mine(WINDOW_BLOCKS // 2 + 1, WINDOW_SECONDS // 2 + 1)
    asyncio.run(worker.round())
    call = service.unacknowledged(market.department.context, deal)[0]
    assert call.receipt is not None
    receipt_id = call.receipt.struct_hash()
    done(market, market.department, f"dispute/claimreceipt/{receipt_id.hex()}")
    contest = service.contest(market.bank.context, receipt_id, ContestReason.NO_ANSWER)
    done(market, market.bank, contest.operation)
    asyncio.run(worker.round())
    assert worker.has_work
    done(market, market.department, f"dispute/answer/{receipt_id.hex()}")
    assert seen_alike(market, receipt_id).step == DisputeStep.ANSWERED
    over(market)
    with pytest.raises(Conflict) as pending:
        notice.close(market.bank.context, deal)
    assert pending.value.code == "claim_pending"
    asyncio.run(worker.round())
    done(market, market.department, f"dispute/end/{receipt_id.hex()}")
    assert seen_alike(market, receipt_id).outcome == DisputeOutcome.UNPAID_UNRULED
    done(market, market.bank, str(notice.close(market.bank.context, deal).operation))
    state = agreements.proved_state(market.operator.context, deal)
    assert (state.pending, state.bond_held, state.locked) == (0, 0, 0)


def wrong_by(market: Market, receipt_id: bytes) -> ContestReason | None:
    return service.show(market.bank.context, receipt_id).wrong


def alter_call(market: Market, agreement_id: bytes, **values: Any) -> None:
    """Change what the bank has stored of the call, as if another answer had come."""
    here = BUYER.c.agreement_id == agreement_id
    market.bank.context.database.write(
        lambda session: session.execute(BUYER.update().where(here).values(**values))
    )


def test_a_buyer_s_node_contests_what_its_own_records_show_to_be_wrong(
    market: Market, deal: bytes
) -> None:
    """The provider claims a receipt whose answer was not what it commits to. Within the limit the
    node contests by itself, above it a person decides; the provider's node answers by itself.
    """
    context, worker = market.bank.context, DisputeWorker(market.bank.context)
    stored = calls.call_at(context, AgreementSide.BUYER, deal, 0, 1)
    assert stored is not None
    assert stored.receipt is not None
    answer = {
        "receipt": stored.receipt.to_json(),
        "signature": "0x" + stored.receipt_signature.hex(),
        "content": {"record": {}},
        "salt": "0x" + "11" * 32,
    }
    alter_call(
        market,
        deal,
        status=CallStatus.CONFLICT,
        answer=json.dumps(answer),
        receipt=None,
        receipt_hash=None,
        receipt_signature=None,
    )
    receipt_id = claimed(market, deal)
    assert wrong_by(market, receipt_id) == ContestReason.ANSWER_DIFFERS
    context.services.drop(ContestLimits)
    context.services.put(ContestLimits(STAKE - 1))
    try:
        shown = service.show(context, receipt_id)
        with pytest.raises(Conflict) as above:
            service.contest_by_itself(context, shown)
        assert above.value.code == "contest_needs_person"
        asyncio.run(worker.round())
        assert service.find(context, receipt_id).step == DisputeStep.CLAIMED
    finally:
        context.services.drop(ContestLimits)
    asyncio.run(worker.round())
    done(market, market.bank, f"dispute/contest/{receipt_id.hex()}")
    assert service.find(context, receipt_id).reason == ContestReason.ANSWER_DIFFERS
    asyncio.run(DisputeWorker(market.department.context).round())
    done(market, market.department, f"dispute/answer/{receipt_id.hex()}")
    assert seen_alike(market, receipt_id).step == DisputeStep.ANSWERED
    ruled(market, receipt_id, 0)


def test_a_buyer_s_node_leaves_alone_what_its_records_do_not_show(
    market: Market, deal: bytes
) -> None:
    """A receipt that it took is right; one that it lacks may be lost with an old backup."""
    receipt_id = claimed(market, deal)
    assert wrong_by(market, receipt_id) is None
    asyncio.run(DisputeWorker(market.bank.context).round())
    assert service.find(market.bank.context, receipt_id).step == DisputeStep.CLAIMED
    alter_call(market, deal, status=CallStatus.ASKED, receipt=None, receipt_hash=None)
    assert wrong_by(market, receipt_id) is None
    assert service.show(market.department.context, receipt_id).wrong is None
    over(market)
    ended(market, receipt_id)


def test_each_wrong_receipt_has_its_reason(market: Market, deal: bytes) -> None:
    receipt_id = claimed(market, deal)
    dispute = service.find(market.bank.context, receipt_id)
    call = calls.call_at(market.bank.context, AgreementSide.BUYER, deal, 0, 1)
    assert call is not None
    assert call.receipt is not None
    live, revoked = GrantRecord(1, 2, 0, 0), GrantRecord(1, 2, 0, call.receipt.view_height)
    void = replace(example(ReceiptVoid), receipt=receipt_id)
    other = replace(call.receipt, response_commitment=b"\3" * 32)
    dearer = replace(other, units=2, amount=2 * PRICE)
    halted = replace(call, receipt=None, status=CallStatus.CONFLICT)
    cases: tuple[tuple[StoredCall | None, bytes | None, GrantRecord, ContestReason | None], ...] = (
        (None, None, revoked, None),
        (call, None, live, None),
        (halted, None, live, None),
        (replace(call, request=replace(call.request, expiry=1)), None, live,
         ContestReason.NOT_REQUESTED),
        (call, None, revoked, ContestReason.RIGHT_REVOKED),
        (replace(call, void=void), None, live, ContestReason.RIGHT_REVOKED),
        (replace(call, receipt=other), None, live, ContestReason.ANSWER_DIFFERS),
        (replace(call, receipt=dearer), None, live, ContestReason.PRICE_DIFFERS),
        (halted, b"no json", live, ContestReason.ANSWER_DIFFERS),
    )  # fmt: skip
    for stored, answer, grant, reason in cases:
        assert rules.wrong_by_records(dispute, stored, answer, grant) == reason
    by_bytes = replace(dispute, agreement=replace(dispute.agreement, unit=int(MeteredUnit.BYTE)))
    answer_stored = calls.kept_answer(market.department.context, deal, 0, 1)
    assert rules.wrong_by_records(dispute, halted, answer_stored, live) is None
    assert (
        rules.wrong_by_records(by_bytes, halted, answer_stored, live) == ContestReason.PRICE_DIFFERS
    )
    over(market)
    ended(market, receipt_id)


def test_a_frozen_agreement_serves_no_call_and_is_paid_all_the_same(
    market: Market, deal: bytes
) -> None:
    supervisor = market.supervisor
    done(market, supervisor, service.freeze(supervisor.context, deal, "2026-17").operation)
    refused = market.call(deal, 2)
    assert (refused.status, refused.reason) == (CallStatus.REFUSED, "agreement_frozen")
    with pytest.raises(Forbidden) as twice:
        service.freeze(supervisor.context, deal, "2026-18")
    assert twice.value.code == "agreement_frozen"
    market.claim(deal)
    done(market, supervisor, service.unfreeze(supervisor.context, deal).operation)
    assert market.call(deal, 3).status == CallStatus.SERVED
    with pytest.raises(Conflict) as thawed:
        service.unfreeze(supervisor.context, deal)
    assert thawed.value.code == "agreement_not_frozen"


def test_an_answer_is_sealed_to_one_receipt_and_one_key() -> None:
    key, other = sealing.ContestKey.generate(), sealing.ContestKey.generate()
    receipt_id = b"\1" * 32
    sealed = sealing.seal(b"answer", key.public, receipt_id=receipt_id)
    assert sealing.unseal(sealed, key.private, receipt_id=receipt_id) == b"answer"
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for text, secret, receipt in (
        (sealed, other.private, receipt_id),
        (sealed, key.private, b"\2" * 32),
        (changed, key.private, receipt_id),
        (b"", key.private, receipt_id),
    ):
        with pytest.raises(Conflict) as refused:
            sealing.unseal(text, secret, receipt_id=receipt)
        assert refused.value.code == "sealed_answer_unreadable"
    assert sealing.seal(b"answer", bytes(32), receipt_id=receipt_id) == b""


def test_free_sharing_takes_neither_bond_nor_stake(market: Market) -> None:
    for terms in ({"bond": 1}, {"stake": 1}):
        with pytest.raises(BadInput) as refused:
            market.offer(price=0, max_cap=0, max_units=3, max_per_call=0, **terms)
        assert refused.value.code == "bond_without_price"


def test_an_order_that_names_no_offer_is_not_bound_to_a_stake(market: Market) -> None:
    offered = market.offer(stake=5)
    stated = StatedTerms(
        unit=offered.unit,
        price=offered.price,
        shares=offered.shares,
        max_per_call=offered.max_per_call,
        close_window_blocks=offered.close_window_blocks,
        close_window_seconds=offered.close_window_seconds,
    )
    changes = agreement_rules.stated_changes(stated, offered)
    assert [(change.term, change.named, change.offered) for change in changes] == [("stake", 0, 5)]
