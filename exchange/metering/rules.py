"""The rules of a lane, for both ends. Pure: values in, values or an error out.

At the gateway, in this order for every request:

1. *Position*: the request takes the next position of its lane, or repeats the last request byte
   for byte; anything else is a conflict and takes no position.
2. *Acknowledgement*: the request acknowledges exactly the lane state in the gateway's records.

From here on the request takes its position. What it may cost and what it costs is in
``gateway_rules``; what a buyer sends is in ``buyer_rules``.

A repeated request that was served is not authorised again: it gets the stored answer, or a void if
a right was withdrawn since (``authorisation``).

A request that its buyer withdrew is refused (`withdrawn`) at the next position, independently of
the chain; a served request remains served.

At the buyer: the receipt answers the request that was sent, its amount is the price times the units
and within the request's maximum, and its totals continue the lane state.

A side that lost calls recovers them from the other side by the same checks.
"""

from __future__ import annotations

from enum import Enum

from chain.core.errors import BadInput, Conflict, Forbidden, Unavailable
from chain.statements.trade import (
    Agreement,
    ReceiptVoid,
    RequestWithdrawal,
    UsageOutcome,
    UsageReceipt,
    UsageRequest,
    Voucher,
)
from exchange.metering.model import (
    CallStatus,
    LaneState,
)


class PositionKind(Enum):
    """A request's position in relation to its lane."""

    NEXT = 1
    REPEATED = 2


# --- What a buyer sends, checked at the gateway ---------------------------------------------------


def position_kind(
    agreement: Agreement, state: LaneState, request: UsageRequest, request_hash: bytes
) -> PositionKind:
    """Whether the request takes the lane's next position or repeats the last.

    Raises:
        BadInput: ``wrong_version``, ``wrong_lane``; Conflict: ``position_taken`` (another
            request has the position), ``position_settled`` (an old position, acknowledged since);
            Unavailable: ``sequence_gap``, which a buyer retries: a provider restored from an old
            backup raises it too.
    """
    if request.version != 1:
        raise BadInput("wrong_version", "The request is of a version this node does not know.")
    if request.lane >= agreement.lanes:
        raise BadInput("wrong_lane", "The agreement has no such lane.")
    if request.seq == state.seq + 1:
        return PositionKind.NEXT
    if request.seq > state.seq:
        raise Unavailable(
            "sequence_gap",
            "The request is for a later position of its lane than the provider's next.",
            hint="If the provider's database was put back from an old backup, its operator stops "
            "the node and runs `qiaolian node recover`.",
            expected=state.seq + 1,
        )
    if request.seq == state.seq and request_hash == state.request:
        return PositionKind.REPEATED
    if request.seq == state.seq or request.seq == 0:
        raise Conflict(
            "position_taken", "Another request has this position.", expected=state.seq + 1
        )
    raise Conflict(
        "position_settled",
        "The position was acknowledged; its answer is no longer stored.",
        expected=state.seq + 1,
    )


def require_not_final(final: bool) -> None:
    """No call is made or served once the final totals are signed: ``agreement_final``."""
    if final:
        raise Forbidden(
            "agreement_final",
            "The final totals of the agreement are signed; it takes no more calls.",
            hint="Open a new agreement for further calls.",
        )


def require_acknowledged(state: LaneState, request: UsageRequest) -> None:
    """The acknowledgement equals the gateway's lane state: ``acknowledgement_differs``."""
    acknowledged = (
        request.acknowledged_units,
        request.acknowledged_amount,
        request.previous_receipt,
    )
    if acknowledged != (state.units, state.amount, state.receipt):
        raise Conflict(
            "acknowledgement_differs",
            "The request does not acknowledge exactly what was delivered before it.",
            hint="Compare the lane's last receipt; the supervisor's "
            "reconciliation shows where the records differ.",
            units=state.units,
            amount=state.amount,
        )


def require_withdrawal(
    request: UsageRequest, request_hash: bytes, withdrawal: RequestWithdrawal
) -> None:
    """The withdrawal names this request: ``wrong_version``, ``withdrawal_of_other``."""
    if withdrawal.version != 1:
        raise BadInput("wrong_version", "The withdrawal is of a version this node does not know.")
    named = (withdrawal.agreement_id, withdrawal.lane, withdrawal.seq, withdrawal.request)
    if named != (request.agreement_id, request.lane, request.seq, request_hash):
        raise BadInput("withdrawal_of_other", "The withdrawal names another request.")


def require_voucher(agreement: Agreement, state: LaneState, voucher: Voucher) -> None:
    """A closing voucher acknowledges exactly the lane state: ``voucher_not_higher`` if it is
    behind, else ``acknowledgement_differs``.
    """
    if voucher.version != 1:
        raise BadInput("wrong_version", "The voucher is of a version this node does not know.")
    if voucher.lane >= agreement.lanes:
        raise BadInput("wrong_lane", "The agreement has no such lane.")
    if voucher.seq < state.seq:
        raise Conflict(
            "voucher_not_higher", "The voucher acknowledges less than was delivered.", seq=state.seq
        )
    acknowledged = (
        voucher.seq,
        voucher.acknowledged_units,
        voucher.acknowledged_amount,
        voucher.receipt,
    )
    if acknowledged != (state.seq, state.units, state.amount, state.receipt):
        raise Conflict(
            "acknowledgement_differs",
            "The voucher does not acknowledge exactly what was delivered.",
        )


# --- What a gateway answers, checked at the buyer -------------------------------------------------


def require_receipt(
    agreement: Agreement,
    state: LaneState,
    request: UsageRequest,
    request_hash: bytes,
    receipt: UsageReceipt,
) -> None:
    """The receipt answers this request and continues the lane state: ``receipt_of_other``,
    ``receipt_wrong_amount``, ``receipt_wrong_totals``.
    """
    position = (receipt.version, receipt.agreement_id, receipt.lane, receipt.seq, receipt.request)
    if position != (1, request.agreement_id, request.lane, request.seq, request_hash):
        raise Conflict("receipt_of_other", "The receipt answers another request.")
    served = receipt.outcome == UsageOutcome.SERVED
    if receipt.outcome not in (UsageOutcome.SERVED, UsageOutcome.REFUSED) or served == bool(
        receipt.reason
    ):
        raise Conflict(
            "receipt_of_other", "The receipt is neither a service nor a refusal with its reason."
        )
    if receipt.amount != receipt.units * agreement.price or (served != bool(receipt.units)):
        raise Conflict(
            "receipt_wrong_amount", "The receipt's amount is not the price of its units."
        )
    if receipt.units > request.max_units or receipt.amount > request.max_amount:
        raise Conflict("receipt_wrong_amount", "The receipt is for more than the request allowed.")
    totals = (receipt.total_units, receipt.total_amount, receipt.previous_receipt)
    if totals != (state.units + receipt.units, state.amount + receipt.amount, state.receipt):
        raise Conflict(
            "receipt_wrong_totals", "The receipt's totals do not continue the lane's totals."
        )


def require_void(request: UsageRequest, void: ReceiptVoid) -> None:
    """The void names this request's position: ``receipt_of_other``."""
    position = (void.version, void.agreement_id, void.lane, void.seq)
    if position != (1, request.agreement_id, request.lane, request.seq) or not void.reason:
        raise Conflict("receipt_of_other", "The voided receipt is of another position.")


# --- The lane state -------------------------------------------------------------------------------


def state_after(receipt: UsageReceipt, receipt_hash: bytes) -> LaneState:
    """The lane state after a receipt."""
    return LaneState(
        receipt.seq, receipt.total_units, receipt.total_amount, receipt_hash, receipt.request
    )


def state_after_void(previous: LaneState, receipt_hash: bytes, request_hash: bytes) -> LaneState:
    """The lane state after the last receipt is voided: the position is used, nothing is owed."""
    return LaneState(previous.seq + 1, previous.units, previous.amount, receipt_hash, request_hash)


def replayed(
    agreement: Agreement,
    state: LaneState,
    request: UsageRequest,
    receipt: UsageReceipt | None,
    void: ReceiptVoid | None,
) -> tuple[CallStatus, LaneState]:
    """Check a call that the other side presents to the side that lost it; returns its status and
    the lane state after it.

    The checks are those of the original call, in the same order: position, acknowledgement,
    receipt, void. The caller checks the signatures.

    Raises:
        Conflict: ``position_taken`` and others of ``position_kind``, ``acknowledgement_differs``,
            ``receipt_of_other``, ``receipt_wrong_amount``, ``receipt_wrong_totals``,
            ``receipt_missing`` (only its void is presented); Unavailable: ``sequence_gap``.
    """
    request_hash = request.struct_hash()
    if position_kind(agreement, state, request, request_hash) is not PositionKind.NEXT:
        raise Conflict("position_taken", "The position is on record already.")
    require_acknowledged(state, request)
    if receipt is None:
        raise Conflict("receipt_missing", "The position is shown without its receipt.")
    require_receipt(agreement, state, request, request_hash, receipt)
    receipt_hash = receipt.struct_hash()
    if void is None:
        return (
            CallStatus.SERVED if receipt.outcome == UsageOutcome.SERVED else CallStatus.REFUSED
        ), state_after(receipt, receipt_hash)
    require_void(request, void)
    if void.receipt != receipt_hash:
        raise Conflict("receipt_of_other", "The void is of another receipt.")
    return CallStatus.VOID, state_after_void(state, receipt_hash, request_hash)
