"""The rules of a dispute. Pure; the codes are those of ``TradeDisputes``'s errors, so that a node
refuses what the chain would refuse.

``docs/disputes.md`` has the table of steps, parties and silences.
"""

from __future__ import annotations

from chain.core.errors import BadInput, Conflict, Forbidden
from chain.ethereum.records import AgreementRecord, LaneRecord, TradeDisputeRecord
from chain.statements.disputes import LogPosition, RulingOutcome
from chain.statements.trade import Agreement, UsageOutcome, UsageReceipt
from exchange.disputes.model import Deadline, Dispute, DisputeRole, DisputeStep

MAX_EVIDENCE = 16


def role_in(agreement: Agreement, member: str) -> DisputeRole:
    """What a member is in the disputes of an agreement."""
    roles = {
        agreement.provider: DisputeRole.PROVIDER,
        agreement.buyer: DisputeRole.BUYER,
        agreement.arbiter: DisputeRole.ARBITER,
    }
    return roles.get(member, DisputeRole.OBSERVER)


def step_of(record: TradeDisputeRecord) -> DisputeStep:
    """The step that a dispute is at."""
    if record.ended_at:
        return DisputeStep.ENDED
    if record.answered_at:
        return DisputeStep.ANSWERED
    return DisputeStep.CONTESTED if record.contested_at else DisputeStep.CLAIMED


def deadline_of(
    agreement: Agreement, record: TradeDisputeRecord, *, height: int, time: int
) -> Deadline | None:
    """When the present step is over, judged at a block; None once the dispute has ended."""
    began = {
        DisputeStep.CLAIMED: (record.claimed_at, record.claimed_time),
        DisputeStep.CONTESTED: (record.contested_at, record.contested_time),
        DisputeStep.ANSWERED: (record.answered_at, record.answered_time),
    }.get(step_of(record))
    if began is None:
        return None
    block = began[0] + agreement.close_window_blocks
    ends = began[1] + agreement.close_window_seconds
    return Deadline(block, ends, over=height > block and time > ends)


def require_claimable(
    agreement: Agreement, receipt: UsageReceipt, state: AgreementRecord, lane: LaneRecord
) -> None:
    """A receipt can be claimed: the agreement is open and has an arbiter, the call was served and
    priced, and the buyer has not signed for it.

    Raises:
        Conflict: ``no_arbiter``, ``agreement_not_open``, ``agreement_is_closed``,
            ``not_claimable``, ``receipt_acknowledged``.
    """
    if not agreement.arbiter:
        raise Conflict(
            "no_arbiter",
            "The agreement names no arbiter; a receipt that the buyer does not acknowledge "
            "cannot be claimed.",
            hint="Name an arbiter in the next agreement.",
        )
    if not state.opened_at:
        raise Conflict("agreement_not_open", "The agreement is not open on the chain.")
    if state.closed_at:
        raise Conflict("agreement_is_closed", "The agreement is closed; nothing can be claimed.")
    if receipt.outcome != UsageOutcome.SERVED or receipt.amount == 0:
        raise Conflict("not_claimable", "Nothing is owed for this receipt.")
    if lane.seq >= receipt.seq:
        raise Conflict("receipt_acknowledged", "The buyer has acknowledged the call.")


def require_turn(dispute: Dispute, role: DisputeRole, step: DisputeStep) -> None:
    """It is this organisation's turn.

    Raises:
        Forbidden: ``not_provider``, ``not_buyer``, ``not_arbiter``; Conflict: ``wrong_step``.
    """
    if dispute.role != role:
        raise _WRONG_ROLE[role]()
    if dispute.step != step:
        raise Conflict(
            "wrong_step",
            f"The dispute is {dispute.step}, and not {step}.",
            hint="Look at it with `qiaolian dispute show`.",
        )


_WRONG_ROLE = {
    DisputeRole.PROVIDER: lambda: Forbidden("not_provider", "Only the provider may do this."),
    DisputeRole.BUYER: lambda: Forbidden("not_buyer", "Only the agreement's buyer may do this."),
    DisputeRole.ARBITER: lambda: Forbidden(
        "not_arbiter", "Only the agreement's arbiter may do this."
    ),
}


def require_in_time(deadline: Deadline | None) -> None:
    """The step can still be taken: ``step_over``."""
    if deadline is not None and deadline.over:
        raise Conflict(
            "step_over",
            "The time for this step is over.",
            hint="Anyone may end the dispute now: `qiaolian dispute end`.",
        )


def require_ended_or_over(deadline: Deadline | None, *, acknowledged: bool) -> None:
    """A dispute ends when its step is over or the buyer has acknowledged: ``step_open``."""
    if deadline is not None and not deadline.over and not acknowledged:
        raise Conflict(
            "step_open",
            f"The step is open until after block {deadline.block} and its time.",
            hint="Wait until the deadline that `qiaolian dispute show` gives.",
        )


def ruling_outcome(amount: int, receipt: UsageReceipt) -> RulingOutcome:
    """What paying ``amount`` of a call means: ``ruling_mismatch`` beyond its price."""
    if not 0 <= amount <= receipt.amount:
        raise BadInput(
            "ruling_mismatch",
            f"The ruling pays {amount} of {receipt.amount} fen.",
            hint="Pay all, nothing, or a part of the call's price.",
        )
    if amount == receipt.amount:
        return RulingOutcome.PAY
    return RulingOutcome.SPLIT if amount else RulingOutcome.REFUND


def require_evidence(evidence: tuple[LogPosition, ...]) -> None:
    """A ruling cites 1 to 16 log entries: ``evidence_missing``, ``too_much_evidence``."""
    if not evidence:
        raise BadInput("evidence_missing", "The ruling cites no entry of a party's log.")
    if len(evidence) > MAX_EVIDENCE:
        raise BadInput("too_much_evidence", f"A ruling cites at most {MAX_EVIDENCE} entries.")


def require_equivocation(agreement_id: bytes, one: UsageReceipt, other: UsageReceipt) -> None:
    """Two receipts differ and are for one place of this agreement: ``no_equivocation``."""
    places = {(receipt.agreement_id, receipt.lane, receipt.seq) for receipt in (one, other)}
    if one == other or len(places) != 1 or one.agreement_id != agreement_id:
        raise Conflict(
            "no_equivocation",
            "These are not two different receipts for one place of one lane of the agreement.",
        )
