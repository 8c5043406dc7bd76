"""What provider, buyer, arbiter and anybody do in a dispute, from this node's own store.

Each function checks the proved records first and queues one contract call. What happened is taken
from the chain's events (``apply``), so that all nodes show the same.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.crypto import recover
from chain.core.errors import Conflict, Forbidden, NotFound
from chain.ethereum.ledger import Event
from chain.ethereum.proved_records import (
    ProvedRecords,
    agreement_records,
    freeze_record,
    grant_record,
    lane_record,
    trade_dispute_records,
)
from chain.ethereum.records import GrantRecord
from chain.outbox import is_known
from chain.statements.commitment import commit_bytes
from chain.statements.disputes import ContestReason, DisputeOutcome, Ruling, RulingOutcome
from chain.statements.trade import UsageReceipt
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide
from exchange.disputes import rules, store
from exchange.disputes.calls import CONTRACT, send
from exchange.disputes.model import (
    ContestLimits,
    Dispute,
    DisputeCall,
    DisputeRole,
    DisputeStep,
    DisputeView,
    RulingRequest,
)
from exchange.disputes.sealing import ContestKey, seal
from exchange.disputes.store import DisputeRow, EquivocationRow
from exchange.metering import records as calls
from exchange.metering.model import CallStatus, StoredCall
from exchange.metering.recovery import held
from registry.evidence.log import append_statement
from registry.pages import Page, PageRequest

SETTLEMENT = "TradeSettlement"
OPINION_DOMAIN = "qiaolian.ruling-opinion.v1"
RULING_SECONDS = 30 * 86_400
"""How long a signed ruling may be sent."""

# --- Reading --------------------------------------------------------------------------------------


def listing(context: Context, page: PageRequest, *, live: bool = False) -> Page[Dispute]:
    """Everybody's disputes, the latest first; ``cursor_malformed``.

    Args:
        live: only those that have not ended.
    """
    with context.database.read() as session:
        return store.disputes(session, page, live=live).map(lambda row: _dispute(context, row))


def find(context: Context, receipt_id: bytes) -> Dispute:
    """A dispute by its receipt; ``unknown_dispute``."""
    with context.database.read() as session:
        return _dispute(context, _row(session, receipt_id))


def show(context: Context, receipt_id: bytes) -> DisputeView:
    """A dispute with its deadline, proved under one block; ``unknown_dispute``,
    ``chain_view_stale``.
    """
    dispute = find(context, receipt_id)
    proved = _proved(context, dispute)
    record = proved.trade_dispute(receipt_id)
    deadline = rules.deadline_of(
        dispute.agreement, record, height=proved.height, time=proved.timestamp
    )
    bond_held = proved.agreement(dispute.receipt.agreement_id).bond_held
    grant = proved.grant(dispute.agreement.grant_id)
    return DisputeView(dispute, deadline, bond_held, _wrong_by_records(context, dispute, grant))


def live(context: Context) -> list[Dispute]:
    """Everybody's disputes that have not ended."""
    with context.database.read() as session:
        return [_dispute(context, row) for row in store.live(session)]


def live_of_own(context: Context) -> list[Dispute]:
    """The disputes that have not ended and concern this organisation."""
    return [dispute for dispute in live(context) if dispute.role != DisputeRole.OBSERVER]


def awaiting_persons(context: Context) -> list[Dispute]:
    """The disputes that a person of this organisation must decide: contest, or rule."""
    turns = {
        (DisputeRole.BUYER, DisputeStep.CLAIMED),
        (DisputeRole.ARBITER, DisputeStep.ANSWERED),
    }
    return [found for found in live_of_own(context) if (found.role, found.step) in turns]


def equivocations(context: Context, page: PageRequest) -> Page[EquivocationRow]:
    """Proved equivocations of all providers, the latest first; ``cursor_malformed``."""
    with context.database.read() as session:
        return store.equivocations(session, page)


# --- The provider ---------------------------------------------------------------------------------


def unacknowledged(context: Context, agreement_id: bytes) -> list[StoredCall]:
    """The last served call of each lane that the buyer has not signed for, at its provider."""
    found = []
    for lane, stored in calls.lanes(context, AgreementSide.PROVIDER, agreement_id).items():
        last, voucher = stored.last, calls.voucher_of(context, agreement_id, lane)
        acknowledged = voucher is not None and voucher.voucher.seq >= last.seq
        owed = last.receipt is not None and last.receipt.amount > 0
        if last.status == CallStatus.SERVED and owed and not acknowledged:
            found.append(last)
    return found


def unclaimed(context: Context, agreement_id: bytes) -> dict[bytes, int]:
    """Receipts that await the buyer and that this node has never claimed, with their lanes."""
    waiting = {
        call.receipt.struct_hash(): call.lane
        for call in unacknowledged(context, agreement_id)
        if call.receipt is not None
    }
    with context.database.read() as session:
        return {
            receipt_id: lane
            for receipt_id, lane in waiting.items()
            if not is_known(session, _operation("claimReceipt", receipt_id))
        }


def claim(context: Context, agreement_id: bytes, lane: int) -> DisputeCall:
    """Claim the last receipt of a lane, which the buyer has not acknowledged.

    Raises:
        Forbidden: ``not_provider``; Conflict: ``nothing_to_claim``, what
            ``rules.require_claimable`` raises.
    """
    signed = agreements.load(context, agreement_id)
    if signed.side != AgreementSide.PROVIDER:
        raise Forbidden("not_provider", "Only the provider claims.")
    call = next((one for one in unacknowledged(context, agreement_id) if one.lane == lane), None)
    if call is None or call.receipt is None:
        raise Conflict("nothing_to_claim", "The lane has no receipt that awaits the buyer.")
    proved = context.view.proved(
        [*agreement_records(agreement_id), lane_record(agreement_id, lane)]
    )
    rules.require_claimable(
        signed.agreement,
        call.receipt,
        proved.agreement(agreement_id),
        proved.lane(agreement_id, lane),
    )
    receipt_id = call.receipt.struct_hash()
    arguments = [
        signed.agreement,
        call.request,
        call.request_signature,
        call.receipt,
        call.receipt_signature,
    ]
    return _queue(context, receipt_id, "claimReceipt", arguments)


def answer(context: Context, receipt_id: bytes) -> DisputeCall:
    """Answer a contest: seal the stored answer to the contest's key and state its hash.

    If nothing can be sealed to that key, the hash is that of nothing, and the arbiter decides.

    Raises:
        Forbidden: ``not_provider``; Conflict: ``wrong_step``, ``step_over``, ``answer_not_kept``.
    """
    dispute = _in_time(context, receipt_id, DisputeRole.PROVIDER, DisputeStep.CONTESTED)
    receipt = dispute.receipt
    stored = calls.kept_answer(context, receipt.agreement_id, receipt.lane, receipt.seq)
    if stored is None:
        raise Conflict(
            "answer_not_kept",
            "The answer is no longer stored here, so it cannot be served again.",
            hint="The call stays unpaid; the dispute ends when its time is over.",
        )
    sealed = seal(stored, dispute.contest_key, receipt_id=receipt_id)

    def change(session: Session) -> str:
        row = _row(session, receipt_id)
        if row.sealed_answer is None:
            row.sealed_answer = sealed
        digest = hashlib.sha256(row.sealed_answer).digest()
        return _send(context, session, receipt_id, "answer", [dispute.agreement, receipt, digest])

    return DisputeCall(receipt_id, context.database.write(change))


def sealed_answer(context: Context, receipt_id: bytes, caller: str) -> bytes:
    """What this provider serves of a contested call, to the buyer and the arbiter.

    Raises:
        Forbidden: ``dispute_of_others``; NotFound: ``unknown_dispute``, ``dispute_not_answered``.
    """
    with context.database.read() as session:
        row = _row(session, receipt_id)
        dispute, sealed = _dispute(context, row), row.sealed_answer
    if caller not in (dispute.agreement.buyer, dispute.agreement.arbiter):
        raise Forbidden("dispute_of_others", "This is for the buyer and the arbiter.")
    if sealed is None:
        raise NotFound("dispute_not_answered", "The provider has not answered the contest.")
    return sealed


# --- The buyer ------------------------------------------------------------------------------------


def contest(context: Context, receipt_id: bytes, reason: ContestReason) -> DisputeCall:
    """Contest a claimed receipt: name the reason and a new key for the answer; the stake is bonded.

    Raises:
        Forbidden: ``not_buyer``; Conflict: ``wrong_step``, ``step_over``, ``not_enough_free``.
    """
    dispute = _in_time(context, receipt_id, DisputeRole.BUYER, DisputeStep.CLAIMED)
    return _contest(context, dispute, reason)


def _contest(context: Context, dispute: Dispute, reason: ContestReason) -> DisputeCall:
    receipt_id, fresh = dispute.receipt_id, ContestKey.generate()

    def change(session: Session) -> str:
        row = _row(session, receipt_id)
        if row.contest_secret is None:
            row.contest_secret, row.contest_key = fresh.private, fresh.public
        arguments = [dispute.agreement, dispute.receipt, int(reason), row.contest_key]
        return _send(context, session, receipt_id, "contest", arguments)

    return DisputeCall(receipt_id, context.database.write(change))


def contest_by_itself(context: Context, shown: DisputeView) -> None:
    """Contest a claimed receipt that this buyer's own records show to be wrong, if the stake is
    within the node's limit.

    Raises:
        Conflict: ``contest_needs_person`` above the limit; what ``contest`` raises.
    """
    dispute, reason = shown.dispute, shown.wrong
    if reason is None:
        return
    if not context.services.get(ContestLimits, ContestLimits).allow(dispute):
        raise Conflict(
            "contest_needs_person",
            f"This node's records show a claimed receipt to be wrong ({reason.name.lower()}), and "
            f"the stake of {dispute.agreement.stake} fen is above its limit.",
            hint=f"Contest it: qiaolian dispute contest 0x{dispute.receipt_id.hex()} "
            f"--reason {reason.name.lower()}",
        )
    rules.require_turn(dispute, DisputeRole.BUYER, DisputeStep.CLAIMED)
    rules.require_in_time(shown.deadline)
    _contest(context, dispute, reason)


def _wrong_by_records(
    context: Context, dispute: Dispute, grant: GrantRecord
) -> ContestReason | None:
    """Why this buyer's own records show a claimed receipt to be wrong, or None. The records of an
    agreement that is being recovered show nothing.
    """
    receipt = dispute.receipt
    agreement_id, lane, seq = receipt.agreement_id, receipt.lane, receipt.seq
    if (dispute.role, dispute.step) != (DisputeRole.BUYER, DisputeStep.CLAIMED):
        return None
    if held(context, [agreement_id]):
        return None
    halting = calls.contradicting_answer(context, agreement_id, lane, seq)
    same = halting is not None and halting.receipt.struct_hash() == dispute.receipt_id
    stored = calls.call_at(context, AgreementSide.BUYER, agreement_id, lane, seq)
    answer = halting.answer if halting is not None and same else None
    return rules.wrong_by_records(dispute, stored, answer, grant)


def contest_secret(context: Context, receipt_id: bytes) -> bytes:
    """The private key of this buyer's contest; ``not_buyer``, ``unknown_dispute``."""
    with context.database.read() as session:
        secret = _row(session, receipt_id).contest_secret
    if secret is None:
        raise Forbidden("not_buyer", "This node has not contested the call.")
    return secret


def keep_wrong_answer(context: Context, receipt_id: bytes, sealed: bytes) -> None:
    """Store what was served to this buyer and is not what the receipt commits to, as evidence."""

    def change(session: Session) -> None:
        row = _row(session, receipt_id)
        if row.contest_secret is not None:
            row.sealed_answer = sealed

    context.database.write(change)


def open_to_arbiter(context: Context, receipt_id: bytes) -> None:
    """Let the arbiter's node read the answer that the provider sealed to this buyer;
    ``not_buyer``, ``unknown_dispute``.
    """
    contest_secret(context, receipt_id)

    def change(session: Session) -> None:
        _row(session, receipt_id).opened = True

    context.database.write(change)


def opened_secret(context: Context, receipt_id: bytes, caller: str) -> bytes:
    """The key of a contest that this buyer opened, for the arbiter alone.

    Raises:
        Forbidden: ``dispute_of_others``, ``not_opened``.
    """
    dispute = find(context, receipt_id)
    if caller != dispute.agreement.arbiter:
        raise Forbidden("dispute_of_others", "This is for the arbiter.")
    if not dispute.opened:
        raise Forbidden("not_opened", "The buyer has not opened the answer to the arbiter.")
    return contest_secret(context, receipt_id)


# --- The arbiter ----------------------------------------------------------------------------------


def rule(context: Context, receipt_id: bytes, request: RulingRequest) -> DisputeCall:
    """Sign a ruling, record it in this node's log and send it.

    Raises:
        Forbidden: ``not_arbiter``; Conflict: ``wrong_step``, ``step_over``; BadInput:
            ``ruling_mismatch``, ``evidence_missing``, ``too_much_evidence``.
    """
    dispute = _in_time(context, receipt_id, DisputeRole.ARBITER, DisputeStep.ANSWERED)
    rules.require_evidence(tuple(request.evidence))
    salt = os.urandom(32)
    ruling = Ruling(
        version=1,
        agreement_id=dispute.receipt.agreement_id,
        receipt=receipt_id,
        outcome=int(rules.ruling_outcome(request.amount, dispute.receipt)),
        amount=request.amount,
        opinion=commit_bytes(salt, OPINION_DOMAIN, request.opinion.encode()),
        deadline=context.now() + RULING_SECONDS,
        evidence=tuple(request.evidence),
    )
    signature = context.sign(ruling)

    def change(session: Session) -> str:
        row = _row(session, receipt_id)
        row.opinion = f"0x{salt.hex()} {request.opinion}"
        append_statement(session, ruling, context.domain(CONTRACT), at=context.now())
        arguments = [dispute.agreement, dispute.receipt, ruling, signature]
        return _send(context, session, receipt_id, "rule", arguments)

    return DisputeCall(receipt_id, context.database.write(change))


# --- Anybody --------------------------------------------------------------------------------------


def end(context: Context, receipt_id: bytes) -> DisputeCall:
    """End a dispute whose step is over, or whose call the buyer has acknowledged.

    Raises:
        Conflict: ``wrong_step`` if it has ended, ``step_open``.
    """
    dispute = find(context, receipt_id)
    if dispute.step == DisputeStep.ENDED:
        raise Conflict("wrong_step", "The dispute has ended.")
    proved = _proved(context, dispute)
    receipt = dispute.receipt
    deadline = rules.deadline_of(
        dispute.agreement,
        proved.trade_dispute(receipt_id),
        height=proved.height,
        time=proved.timestamp,
    )
    signed_for = proved.lane(receipt.agreement_id, receipt.lane).seq >= receipt.seq
    rules.require_ended_or_over(deadline, acknowledged=signed_for)
    return _queue(context, receipt_id, "end", [dispute.agreement, receipt])


def prove_equivocation(
    context: Context,
    agreement_id: bytes,
    first: tuple[UsageReceipt, bytes],
    second: tuple[UsageReceipt, bytes],
) -> DisputeCall:
    """Show the chain two receipts that a provider signed for one place; each with its signature.

    Raises:
        Conflict: ``no_equivocation``; Forbidden: ``wrong_signer``; NotFound: ``unknown_agreement``.
    """
    agreement = agreements.load(context, agreement_id).agreement
    rules.require_equivocation(agreement_id, first[0], second[0])
    for receipt, signature in (first, second):
        if recover(receipt.digest(context.domain(SETTLEMENT)), signature) != agreement.provider_key:
            raise Forbidden("wrong_signer", "A receipt is not signed by the agreement's provider.")
    arguments = [agreement, *first, *second]
    return _queue(context, first[0].struct_hash(), "proveEquivocation", arguments)


# --- The supervisor -------------------------------------------------------------------------------


def freeze(context: Context, agreement_id: bytes, reason: str) -> DisputeCall:
    """Freeze an agreement by a decision of this supervisor: gateways serve no call of it.

    Raises:
        NotFound: ``unknown_agreement``; Forbidden: ``agreement_frozen``.
    """
    agreements.load(context, agreement_id)
    record = context.view.proved([freeze_record(agreement_id)]).freeze(agreement_id)
    if record.held:
        raise Forbidden("agreement_frozen", "The agreement is frozen already.")
    operation = f"freeze/{agreement_id.hex()}/{record.placed_at}"
    arguments = [agreement_id, reason]
    sent = context.database.write(
        lambda session: send(context, session, operation, "freeze", arguments)
    )
    return DisputeCall(agreement_id, sent)


def unfreeze(context: Context, agreement_id: bytes) -> DisputeCall:
    """End the freeze of an agreement; ``agreement_not_frozen``."""
    record = context.view.proved([freeze_record(agreement_id)]).freeze(agreement_id)
    if not record.held:
        raise Conflict("agreement_not_frozen", "The agreement is not frozen.")
    operation = f"unfreeze/{agreement_id.hex()}/{record.placed_at}"
    sent = context.database.write(
        lambda session: send(context, session, operation, "unfreeze", [agreement_id])
    )
    return DisputeCall(agreement_id, sent)


# --- Parts ----------------------------------------------------------------------------------------


def _in_time(context: Context, receipt_id: bytes, role: DisputeRole, step: DisputeStep) -> Dispute:
    """A dispute at this organisation's turn, whose time is not over."""
    shown = show(context, receipt_id)
    rules.require_turn(shown.dispute, role, step)
    rules.require_in_time(shown.deadline)
    return shown.dispute


def _proved(context: Context, dispute: Dispute) -> ProvedRecords:
    receipt = dispute.receipt
    return context.view.proved(
        [
            *trade_dispute_records(dispute.receipt_id),
            *agreement_records(receipt.agreement_id),
            lane_record(receipt.agreement_id, receipt.lane),
            grant_record(dispute.agreement.grant_id),
        ]
    )


def _queue(
    context: Context, receipt_id: bytes, function: str, arguments: Sequence[Any]
) -> DisputeCall:
    operation = context.database.write(
        lambda session: _send(context, session, receipt_id, function, arguments)
    )
    return DisputeCall(receipt_id, operation)


def _send(
    context: Context,
    session: Session,
    receipt_id: bytes,
    function: str,
    arguments: Sequence[Any],
) -> str:
    return send(context, session, _operation(function, receipt_id), function, arguments)


def _operation(function: str, receipt_id: bytes) -> str:
    return f"dispute/{function.lower()}/{receipt_id.hex()}"


def _row(session: Session, receipt_id: bytes) -> DisputeRow:
    row = store.find(session, receipt_id)
    if row is None:
        raise NotFound("unknown_dispute", "There is no such dispute.")
    return row


def _dispute(context: Context, row: DisputeRow) -> Dispute:
    agreement = agreements.load(context, row.agreement_id).agreement
    return Dispute(
        receipt_id=row.receipt_id,
        receipt=UsageReceipt.from_json(row.receipt),
        agreement=agreement,
        role=rules.role_in(agreement, context.member),
        step=_step(row),
        reason=ContestReason(row.reason) if row.reason else None,
        claimed_at=row.claimed_at,
        contested_at=row.contested_at,
        answered_at=row.answered_at,
        ended_at=row.ended_at,
        outcome=DisputeOutcome(row.outcome),
        paid=row.paid,
        contest_key=row.contest_key or b"",
        sealed_hash=row.sealed_hash or b"",
        opened=row.opened,
    )


def _step(row: DisputeRow) -> DisputeStep:
    if row.ended_at is not None:
        return DisputeStep.ENDED
    if row.answered_at is not None:
        return DisputeStep.ANSWERED
    return DisputeStep.CLAIMED if row.contested_at is None else DisputeStep.CONTESTED


# --- Events ---------------------------------------------------------------------------------------


def apply(session: Session, event: Event) -> None:
    """Take an event of TradeDisputes; the same event again changes nothing."""
    handler = _HANDLERS.get(event.name)
    if handler is not None:
        handler(session, event)


def ruled_to_pay(session: Session, receipt_id: bytes) -> bool:
    """Whether the arbiter ruled that the whole call is paid, which costs the buyer its stake."""
    row = store.find(session, receipt_id)
    ruling = None if row is None or row.ruling is None else Ruling.from_json(row.ruling)
    return ruling is not None and ruling.outcome == RulingOutcome.PAY


def _claimed(session: Session, event: Event) -> None:
    arguments = event.arguments
    if store.find(session, arguments["receiptId"]) is not None:
        return
    row = DisputeRow(
        receipt_id=arguments["receiptId"],
        agreement_id=arguments["agreementId"],
        receipt=arguments["receipt"].to_json(),
        claimed_at=event.height,
    )
    store.put(session, row)


def _contested(session: Session, event: Event) -> None:
    row = _row(session, event.arguments["receipt"])
    row.contested_at, row.reason = event.height, event.arguments["reason"]
    row.contest_key = event.arguments["contestKey"]


def _answered(session: Session, event: Event) -> None:
    row = _row(session, event.arguments["receipt"])
    row.answered_at, row.sealed_hash = event.height, event.arguments["sealedAnswer"]


def _ruled(session: Session, event: Event) -> None:
    row = _row(session, event.arguments["receipt"])
    row.ruling = event.arguments["ruling"].to_json()


def _ended(session: Session, event: Event) -> None:
    row = _row(session, event.arguments["receipt"])
    row.ended_at, row.outcome = event.height, event.arguments["outcome"]
    row.paid = event.arguments["paid"]
    if row.sealed_answer is None or row.contest_secret is None:
        row.sealed_answer = row.contest_secret = None
    # Else they are the buyer's evidence of a wrong answer.


def _equivocation(session: Session, event: Event) -> None:
    arguments = event.arguments
    row = EquivocationRow(
        agreement_id=arguments["agreementId"],
        lane=arguments["lane"],
        seq=arguments["seq"],
        provider=arguments["provider"],
        taken=arguments["taken"],
        height=event.height,
    )
    store.put(session, row)


_HANDLERS: dict[str, Callable[[Session, Event], None]] = {
    "ReceiptClaimed": _claimed,
    "Contested": _contested,
    "Answered": _answered,
    "Ruled": _ruled,
    "DisputeEnded": _ended,
    "EquivocationProved": _equivocation,
}
