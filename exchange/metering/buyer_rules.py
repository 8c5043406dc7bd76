"""What a buyer sends: the next request of a lane and its closing voucher; and what to do about a
refusal. Pure."""

from __future__ import annotations

from chain.core.errors import BadInput
from chain.statements.trade import (
    Agreement,
    MeteredUnit,
    UsageRequest,
    Voucher,
)
from exchange.metering.model import (
    MAX_REQUEST_BYTES,
    LaneState,
)


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
