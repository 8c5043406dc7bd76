"""The rules of a lane, for both ends. Pure: values in, values or an error out.

At the gateway, in this order for every request:

1. *Position*: the request takes the next position of its lane, or repeats the last request byte
   for byte; anything else is a conflict and takes no position.
2. *Acknowledgement*: the request acknowledges exactly the lane state in the gateway's records.
3. From here on the request takes its position: a refusal is a signed receipt of zero units.
4. *Reserve* its maximum against the agreement's caps over all lanes, and one use against the
   grant's count over all its agreements.
5. *Meter and price* the content, within the reservation.

A repeated request that was served is not authorised again: it gets the stored answer, or a void if
a right was withdrawn since (``authorisation``).

A request that its buyer withdrew is refused (`withdrawn`) at the next position, independently of
the chain; a served request remains served.

At the buyer: the receipt answers the request that was sent, its amount is the price times the units
and within the request's maximum, and its totals continue the lane state.

A side that lost calls recovers them from the other side by the same checks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from chain.core.errors import BadInput, Conflict, Forbidden, Unavailable
from chain.ethereum.eip712 import ZERO32
from chain.statements.trade import (
    Agreement,
    MeteredUnit,
    ReceiptVoid,
    RequestWithdrawal,
    UsageOutcome,
    UsageReceipt,
    UsageRequest,
    Voucher,
)
from exchange.metering.model import (
    MAX_REQUEST_BYTES,
    AgreementTotals,
    CallStatus,
    GatewayLimits,
    GrantQuota,
    LaneState,
    ViewReference,
)


class PositionKind(Enum):
    """A request's position in relation to its lane."""

    NEXT = 1
    REPEATED = 2


# --- Gateway --------------------------------------------------------------------------------------


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


def require_servable(
    agreement: Agreement, request: UsageRequest, *, opened: bool, ended: bool, now: int
) -> None:
    """The agreement allows the call: ``agreement_not_open``, ``agreement_in_notice``,
    ``agreement_ended``, ``request_expired``, ``over_max_per_call``, ``max_amount_too_low``."""
    if not opened:
        raise Conflict("agreement_not_open", "The agreement is not open on the chain.")
    if ended:
        raise Forbidden("agreement_in_notice", "Notice of the agreement's end was given.")
    if not agreement.starts_at <= now <= agreement.ends_at:
        raise Forbidden("agreement_ended", "The agreement does not cover this time.")
    if now > request.expiry:
        raise Forbidden("request_expired", "The request came after its expiry.")
    if request.max_amount > agreement.max_per_call:
        raise Forbidden(
            "over_max_per_call",
            "The request would let one call cost more than the agreement allows.",
        )
    if request.max_amount < agreement.price or request.max_units < 1:
        raise Forbidden("max_amount_too_low", "The request does not let a single unit be served.")


def reserve(
    agreement: Agreement,
    totals: AgreementTotals,
    quota: GrantQuota,
    request: UsageRequest,
    *,
    max_uses: int,
) -> tuple[int, int]:
    """Reserve the request's maximum against the agreement's caps over all its lanes, and one use
    against the grant's count over all its agreements; returns the reserved units and fen.

    The maximum is reduced to what remains of the caps, as long as one unit still fits.

    Raises:
        Forbidden: ``cap_reached``, ``unit_cap_reached``, ``grant_used_up``.
    """
    if quota.served + quota.reserved >= max_uses:
        raise Forbidden("grant_used_up", "The grant's count is used up.")
    amount = min(request.max_amount, agreement.cap - totals.amount - totals.reserved_amount)
    if amount < agreement.price:
        raise Forbidden("cap_reached", "The agreement's money cap is reached.")
    units = request.max_units
    if agreement.max_units:
        units = min(units, agreement.max_units - totals.units - totals.reserved_units)
        if units < 1:
            raise Forbidden("unit_cap_reached", "The agreement's count cap is reached.")
    totals.reserved_units += units
    totals.reserved_amount += amount
    quota.reserved += 1
    return units, amount


def release(totals: AgreementTotals, quota: GrantQuota, reserved: tuple[int, int]) -> None:
    """Release a reservation."""
    totals.reserved_units -= reserved[0]
    totals.reserved_amount -= reserved[1]
    quota.reserved -= 1


def require_deliverable(content: bytes, limits: GatewayLimits) -> None:
    """The canonical content is within the gateway's limit: ``answer_too_large``."""
    if len(content) > limits.answer_bytes:
        raise Forbidden("answer_too_large", "The answer is larger than the gateway delivers.")


@dataclass
class UnknownSubjects:
    """The latest refusals with ``subject_unknown`` under one grant, over all its agreements.

    Such a refusal reveals that a subject is absent and costs nothing. Without a limit, a grant
    could be used to list all subjects.
    """

    limits: GatewayLimits
    times: deque[int]
    """Their times in Unix seconds, oldest first; at most as many as the limit."""

    @classmethod
    def of(cls, limits: GatewayLimits, times: Iterable[int] = ()) -> UnknownSubjects:
        """From the stored times."""
        return cls(limits, deque(sorted(times), maxlen=limits.unknown_subjects))

    def refused_until(self, now: int) -> int:
        """The time from which calls are served again; 0 if they are served now."""
        if len(self.times) < self.limits.unknown_subjects:
            return 0
        until = self.times[0] + self.limits.unknown_seconds
        return until if until > now else 0

    def require_below(self, now: int) -> None:
        """``too_many_unknown_subjects`` once the limit is reached, for known subjects too."""
        if self.refused_until(now):
            raise Forbidden(
                "too_many_unknown_subjects",
                "Too many unknown subjects were asked for under the grant.",
            )

    def add(self, now: int) -> None:
        """Add a refusal."""
        self.times.append(now)


def units_of(unit: int, canonical: bytes) -> int:
    """The units of a content in its canonical form: one call, one row, or its bytes."""
    return len(canonical) if unit == MeteredUnit.BYTE else 1


def price_of(agreement: Agreement, units: int, *, reserved: tuple[int, int]) -> int:
    """The price of the units in fen; ``over_max_units`` or ``over_max_amount`` beyond the
    reservation.
    """
    amount = units * agreement.price
    if units > reserved[0]:
        raise Forbidden(
            "over_max_units",
            "The answer is larger than the request or the agreement's rest allows.",
        )
    if amount > reserved[1]:
        raise Forbidden(
            "over_max_amount",
            "The answer costs more than the request or the agreement's rest allows.",
        )
    return amount


def receipt_for(
    request: UsageRequest,
    request_hash: bytes,
    state: LaneState,
    view_reference: ViewReference,
    *,
    issued_at: int,
    reason: str = "",
    response_commitment: bytes = ZERO32,
    units: int = 0,
    amount: int = 0,
) -> UsageReceipt:
    """The receipt of the next position; with a ``reason`` a refusal of zero units."""
    return UsageReceipt(
        version=1,
        agreement_id=request.agreement_id,
        lane=request.lane,
        seq=request.seq,
        request=request_hash,
        outcome=int(UsageOutcome.REFUSED if reason else UsageOutcome.SERVED),
        reason=reason,
        response_commitment=response_commitment,
        units=units,
        amount=amount,
        total_units=state.units + units,
        total_amount=state.amount + amount,
        previous_receipt=state.receipt,
        view_height=view_reference.height,
        view_block=view_reference.block_hash,
        policy_version=view_reference.policy_version,
        issued_at=issued_at,
    )


# --- Buyer ----------------------------------------------------------------------------------------


def next_request(
    agreement: Agreement,
    agreement_id: bytes,
    lane: int,
    state: LaneState,
    *,
    commitment: bytes,
    now: int,
    seconds: int,
) -> UsageRequest:
    """The request for the next position: it acknowledges everything before it, and its maximum is
    what the agreement allows for one call.
    """
    price = agreement.price
    max_units = agreement.max_per_call // price if price else max(1, agreement.max_units)
    return UsageRequest(
        version=1,
        agreement_id=agreement_id,
        lane=lane,
        seq=state.seq + 1,
        max_units=1 if agreement.unit != MeteredUnit.BYTE else max_units,
        max_amount=agreement.price
        if agreement.unit != MeteredUnit.BYTE
        else agreement.max_per_call,
        acknowledged_units=state.units,
        acknowledged_amount=state.amount,
        previous_receipt=state.receipt,
        request_commitment=commitment,
        expiry=now + seconds,
    )


def require_sendable(opening: str) -> None:
    """The opening of a request (query, salt, consent) fits every size limit of the two nodes.

    Raises:
        BadInput: ``request_too_large``, ``query_malformed`` (a text that UTF-8 cannot hold).
    """
    try:
        size = len(opening.encode())
    except UnicodeEncodeError as error:
        raise BadInput("query_malformed", "The query holds half a surrogate pair.") from error
    if size > MAX_REQUEST_BYTES - _REQUEST_OVERHEAD:
        raise BadInput(
            "request_too_large",
            f"The query with its consent takes {size} bytes; a "
            f"request takes at most {MAX_REQUEST_BYTES}.",
            hint="Ask for fewer columns, or have the subject give a "
            "smaller consent. Nothing was sent or billed.",
        )


_REQUEST_OVERHEAD = 4_000
"""More than the signed request, its signature and a withdrawal take."""


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


def closing_voucher(agreement_id: bytes, lane: int, state: LaneState) -> Voucher:
    """The acknowledgement of everything delivered on a lane."""
    return Voucher(
        version=1,
        agreement_id=agreement_id,
        lane=lane,
        seq=state.seq,
        acknowledged_units=state.units,
        acknowledged_amount=state.amount,
        receipt=state.receipt,
    )


_HINTS = {
    "operation_delivers_nothing": (
        "Run a joint model or submit an analysis instead, or ask "
        "for a grant to view, export, use or copy."
    ),
    "purpose_not_listed": "See the purposes of the asset version: qiaolian asset show.",
    "source_drift": (
        "The provider's source no longer holds this record as published. If a newer version "
        "is published, ask for a grant of it."
    ),
    "consent_missing": "Get the subject's consent for this purpose, and name it with the call.",
}


def refusal_hint(reason: str) -> str:
    """What the buyer does next about a refusal; empty if its code is sufficient."""
    return _HINTS.get(reason, "")


# --- Both -----------------------------------------------------------------------------------------


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
