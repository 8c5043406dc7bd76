"""The rules of a dispute. Pure; the codes are those of ``TradeDisputes``'s errors, so that a node
refuses what the chain would refuse.

``docs/disputes.md`` has the table of steps, parties and silences.
"""

from __future__ import annotations

from typing import Any

from chain.core import schema
from chain.core.canonical import dumps, loads
from chain.core.crypto import keccak256
from chain.core.errors import BadInput, Conflict, Forbidden, QiaolianError
from chain.ethereum.records import (
    AgreementRecord,
    GrantRecord,
    LaneRecord,
    MemberRecord,
    TradeDisputeRecord,
)
from chain.statements.commitment import commit_bytes
from chain.statements.disputes import ContestReason, LogPosition, RulingOutcome
from chain.statements.trade import Agreement, UsageOutcome, UsageReceipt, UsageRequest
from exchange.disputes.model import Deadline, Dispute, DisputeRole, DisputeStep, FineRequest
from exchange.metering.gateway_rules import units_of
from exchange.metering.model import RESPONSE_DOMAIN, StoredCall

MAX_EVIDENCE = 16
MAX_ANSWER_BYTES = 48_000_000
"""More than any gateway answers."""


def role_in(agreement: Agreement, member: str) -> DisputeRole:
    """A member's role in the disputes of an agreement."""
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


def read_answer(answer: bytes) -> tuple[Any, bytes] | None:
    """Content and salt of an answer as gateways store it; None for anything else."""
    try:
        value = loads(answer, max_bytes=MAX_ANSWER_BYTES)
        return value["content"], schema.salt(value["salt"])
    except (ValueError, TypeError, KeyError, QiaolianError):
        return None


def is_committed(answer: bytes, commitment: bytes) -> bool:
    """Whether an answer is what a receipt commits to."""
    opened = read_answer(answer)
    if opened is None:
        return False
    content, salt = opened
    return commit_bytes(salt, RESPONSE_DOMAIN, dumps(content)) == commitment


def place_key(lane: int, seq: int) -> bytes:
    """The key of a position in ``TradeDisputes.equivocations``."""
    return keccak256(lane.to_bytes(32, "big") + seq.to_bytes(32, "big"))


def served_after_revocation(receipt: UsageReceipt, grant: GrantRecord) -> bool:
    """Whether a call was served on a view in which its grant was revoked."""
    served = receipt.outcome == UsageOutcome.SERVED
    return served and 0 < grant.revoked_at <= receipt.view_height


def wrong_by_records(
    dispute: Dispute, call: StoredCall | None, answer: bytes | None, grant: GrantRecord
) -> ContestReason | None:
    """Why a claimed receipt is wrong, by what this buyer has stored and the chain proves; None if
    nothing shows it. That something is lacking here shows nothing: an old backup lacks it too.

    Args:
        call: the buyer's call at the position.
        answer: the answer that came with this very receipt and halted the lane.
    """
    receipt, commitment = dispute.receipt, dispute.receipt.response_commitment
    if call is None:
        return None
    if call.request.struct_hash() != receipt.request:
        return ContestReason.NOT_REQUESTED
    voided = call.void is not None and call.void.receipt == dispute.receipt_id
    if voided or served_after_revocation(receipt, grant):
        return ContestReason.RIGHT_REVOKED
    if call.receipt is not None and call.receipt.struct_hash() != dispute.receipt_id:
        same = (call.receipt.units, call.receipt.amount) == (receipt.units, receipt.amount)
        return ContestReason.ANSWER_DIFFERS if same else ContestReason.PRICE_DIFFERS
    if answer is None:
        return None
    if not is_committed(answer, commitment):
        return ContestReason.ANSWER_DIFFERS
    opened = read_answer(answer)
    units = 0 if opened is None else units_of(dispute.agreement.unit, dumps(opened[0]))
    return ContestReason.PRICE_DIFFERS if units != receipt.units else None


def amount_faults(agreement: Agreement, request: UsageRequest, receipt: UsageReceipt) -> list[str]:
    """What a receipt bills other than agreement and request allow, in sentences."""
    found, cost = [], receipt.units * agreement.price
    if receipt.amount != cost:
        found.append(f"At {agreement.price} fen a unit, {receipt.units} units cost {cost} fen.")
    if receipt.units > request.max_units or receipt.amount > request.max_amount:
        found.append(
            f"The request allowed {request.max_units} units and {request.max_amount} fen at most."
        )
    if receipt.amount > agreement.max_per_call:
        found.append(f"The agreement allows {agreement.max_per_call} fen a call at most.")
    units = request.acknowledged_units + receipt.units
    amount = request.acknowledged_amount + receipt.amount
    if (units, amount, request.previous_receipt) != (
        receipt.total_units,
        receipt.total_amount,
        receipt.previous_receipt,
    ):
        found.append(
            f"Its totals are {receipt.total_units} units and {receipt.total_amount} fen; after "
            f"what the request acknowledges they are {units} units and {amount} fen."
        )
    return found


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


def require_finable(
    agreement: Agreement, state: AgreementRecord, receiver: MemberRecord, request: FineRequest
) -> None:
    """A fine can be taken: the bond holds as much, and an active member other than the provider
    gets it.

    Raises:
        Conflict: ``agreement_not_open``, ``fine_over_bond``; BadInput: ``fine_to_provider``;
            Forbidden: ``not_active``.
    """
    if not state.opened_at:
        raise Conflict("agreement_not_open", "The agreement is not open on the chain.")
    if not 1 <= request.amount <= state.bond_held:
        raise Conflict(
            "fine_over_bond",
            f"A fine is from 1 fen to what the bond holds: {state.bond_held} fen.",
            hint="The bond is released when the agreement closes.",
        )
    if request.to == agreement.provider:
        raise BadInput("fine_to_provider", "A provider's fine cannot go to the provider.")
    if not receiver.live:
        raise Forbidden("not_active", "The member that gets the fine is not active.")


def require_undecided(decided: bool, reason: str) -> None:
    """A decision counts once for an agreement: ``fine_decided``."""
    if decided:
        raise Conflict(
            "fine_decided",
            f"The agreement's provider was fined by the decision {reason} already.",
            hint="Give the number of another decision.",
        )


def require_equivocation(agreement_id: bytes, one: UsageReceipt, other: UsageReceipt) -> None:
    """Two receipts differ and are for one place of this agreement: ``no_equivocation``."""
    places = {(receipt.agreement_id, receipt.lane, receipt.seq) for receipt in (one, other)}
    if one == other or len(places) != 1 or one.agreement_id != agreement_id:
        raise Conflict(
            "no_equivocation",
            "These are not two different receipts for one place of one lane of the agreement.",
        )
