"""The metering services other packages use: serving and calling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chain.context import Context
from chain.statements.trade import Voucher
from exchange.metering import store
from exchange.metering.buyer import Buyer
from exchange.metering.gateway import Gateway
from exchange.metering.gateway_state import gateway_limits
from exchange.metering.model import CallQuery, CallResult, CallStatus
from exchange.metering.rules import UnknownSubjects
from registry.pages import Page, PageRequest, page_of

OUTSTANDING = "outstanding"


async def serve(context: Context, caller: str, requests: Sequence[Any]) -> list[Any]:
    """Serve requests of one member's node: an answer each, in order; text answers are
    final bytes.
    """
    return await Gateway.of(context).serve(caller, requests)


async def call(
    context: Context, agreement_id: bytes, query: CallQuery, *, idempotency_key: str | None = None
) -> CallResult:
    """Make a metered call under an agreement of this organisation."""
    return await Buyer.of(context).call(agreement_id, query, idempotency_key)


async def fetch(context: Context, key: str) -> CallResult:
    """The result of the call under an idempotency key; an unanswered request is sent again."""
    return await Buyer.of(context).fetch(key)


async def withdraw(context: Context, key: str) -> CallResult:
    """Withdraw the unanswered request of the call under a key."""
    return await Buyer.of(context).withdraw(key)


def calls(
    context: Context,
    page: PageRequest,
    *,
    agreement_id: bytes | None = None,
    outcome: str | None = None,
) -> Page[dict[str, Any]]:
    """This buyer's calls, the newest first, without queries and answers; ``cursor_malformed``.

    Args:
        outcome: that of ``CallResult``, or ``outstanding``.
    """
    status = CallStatus.ASKED.value if outcome == OUTSTANDING else outcome
    query = store.calls(agreement_id=agreement_id, status=status)
    with context.database.read() as session:
        return page_of(session, query, store.CALL_ORDER, page).map(_call)


def _call(row: store.BuyerCallRow) -> dict[str, Any]:
    return {
        "idempotencyKey": row.idempotency_key,
        "agreementId": "0x" + row.agreement_id.hex(),
        "lane": row.lane,
        "seq": row.seq,
        "outcome": OUTSTANDING if row.status == CallStatus.ASKED else row.status,
        "reason": row.reason,
        "withdrawn": row.withdrawal is not None,
        "askedAt": row.asked_at,
    }


@dataclass(frozen=True)
class UnknownSubjectRefusals:
    """A provider's refusals with ``subject_unknown`` under one grant, within the period."""

    grant_id: bytes
    refusals: int
    last_at: int
    """Unix seconds."""
    refused_until: int | None
    """Until when every call under the grant is refused for them, in Unix seconds."""


def unknown_subjects(context: Context) -> list[UnknownSubjectRefusals]:
    """This provider's refusals with ``subject_unknown`` within the period, by grant."""
    limits, now = gateway_limits(context), context.now()
    since = now - limits.unknown_seconds
    found = []
    with context.database.read() as session:
        for row in store.unknown_subjects_by_grant(session, since=since):
            times = store.unknown_subject_times(
                session, row.grant_id, since=since, limit=limits.unknown_subjects
            )
            until = UnknownSubjects.of(limits, times).refused_until(now)
            found.append(
                UnknownSubjectRefusals(row.grant_id, row.refusals, row.last_at, until or None)
            )
    return found


async def accept_voucher(context: Context, caller: str, voucher: Voucher, signature: bytes) -> None:
    """Take a buyer's closing voucher."""
    await Gateway.of(context).accept_voucher(caller, voucher, signature)


async def close_lanes(context: Context, agreement_id: bytes) -> list[dict[str, Any]]:
    """Sign closing vouchers for every used lane of an agreement this organisation buys under."""
    return await Buyer.of(context).close_lanes(agreement_id)
