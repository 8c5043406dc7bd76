"""Whether a gateway may serve a request, what it costs, and the receipt of it. Pure.

The gateway checks position and acknowledgement by ``rules`` first. Then, for every request:

1. *Reserve* its maximum against the agreement's caps over all lanes, and one use against the
   grant's count over all its agreements.
2. *Meter and price* the content, within the reservation.
3. *Receipt*: signed for every request that takes a position; a refusal is of zero units."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from chain.core.errors import Conflict, Forbidden
from chain.ethereum.eip712 import ZERO32
from chain.statements.trade import (
    Agreement,
    MeteredUnit,
    UsageOutcome,
    UsageReceipt,
    UsageRequest,
)
from exchange.metering.model import (
    AgreementTotals,
    GatewayLimits,
    GrantQuota,
    LaneState,
    ViewReference,
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
