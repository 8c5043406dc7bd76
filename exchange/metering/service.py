"""The metering services other packages use: serving and calling."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.database import Change
from chain.statements.trade import Voucher
from exchange.agreements.model import AgreementSide
from exchange.metering import store
from exchange.metering.buyer import Buyer
from exchange.metering.gateway import Gateway
from exchange.metering.gateway_rules import UnknownSubjects
from exchange.metering.gateway_state import gateway_limits
from exchange.metering.model import (
    AcknowledgedAmount,
    BuyerCall,
    CallQuery,
    CallResult,
    CallStatus,
    ClosingVoucher,
    SignedAcknowledgement,
)
from registry.evidence.log import append_if_missing
from registry.pages import Page, PageRequest

CONTRACT = "TradeSettlement"
OUTSTANDING = "outstanding"


async def serve(context: Context, caller: str, requests: Sequence[Any]) -> list[Any]:
    """Serve requests of one member's node: an answer each, in order; text answers are
    final bytes.
    """
    return await Gateway.of(context).serve(caller, requests)


async def call(
    context: Context,
    agreement_id: bytes,
    query: CallQuery,
    *,
    idempotency_key: str | None = None,
    along: Change | None = None,
) -> CallResult:
    """Make a metered call under an agreement of this organisation.

    Args:
        along: a change stored in one transaction with the record that a new call delivers.
    """
    return await Buyer.of(context).call(agreement_id, query, idempotency_key, along)


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
) -> Page[BuyerCall]:
    """This buyer's calls, the newest first, without queries and answers; ``cursor_malformed``.

    Args:
        outcome: that of ``CallResult``, or ``outstanding``.
    """
    status = CallStatus.ASKED.value if outcome == OUTSTANDING else outcome
    with context.database.read() as session:
        found = store.calls(session, page, agreement_id=agreement_id, status=status)
        return found.map(_call)


def _call(row: store.BuyerCallRow) -> BuyerCall:
    return BuyerCall(
        key=row.idempotency_key,
        agreement_id=row.agreement_id,
        lane=row.lane,
        seq=row.seq,
        status=CallStatus(row.status),
        reason=row.reason,
        withdrawn=row.withdrawal is not None,
        asked_at=row.asked_at,
    )


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


async def close_lanes(context: Context, agreement_id: bytes) -> list[ClosingVoucher]:
    """Sign and store closing vouchers for every used lane of an agreement this organisation buys
    under.
    """
    return await Buyer.of(context).close_lanes(agreement_id)


def record_voucher(context: Context, session: Session, signed: ClosingVoucher, *, at: int) -> None:
    """Store a lane's closing voucher, and record it in this node's log."""
    store.store_voucher(session, signed)
    digest = signed.voucher.digest(context.domain(CONTRACT))
    append_if_missing(session, kind="Voucher", digest=digest, at=at)


def erase_answers(session: Session, agreement_id: bytes) -> None:
    """Erase the stored last answers of an agreement's lanes, once nothing more is served."""
    store.erase_answers(session, agreement_id)


def acknowledgements(context: Context, agreement_id: bytes) -> list[SignedAcknowledgement]:
    """The buyer's highest acknowledgement on each lane: its latest request or a closing voucher."""
    with context.database.read() as session:
        requests = store.last_requests(session, agreement_id)
        vouchers = store.vouchers(session, agreement_id)
    found = {request.acknowledged.lane: request for request in requests}
    for lane, signed in vouchers.items():
        voucher = signed.voucher
        if lane not in found or voucher.seq > found[lane].acknowledged.seq:
            acknowledged = AcknowledgedAmount(
                lane, voucher.seq, voucher.acknowledged_units, voucher.acknowledged_amount
            )
            found[lane] = SignedAcknowledgement(acknowledged, voucher, signed.signature)
    return [found[lane] for lane in sorted(found)]


def served_at(context: Context, agreement_id: bytes, lane: int, seq: int) -> int | None:
    """When this gateway answered a position, in Unix seconds; None if it has not."""
    with context.database.read() as session:
        row = store.call_at(session, store.GATEWAY, agreement_id, lane, seq)
    return None if row is None else int(row.at)


def delivered(context: Context, agreement_id: bytes) -> int:
    """Fen that this gateway has delivered under an agreement, without voided calls."""
    with context.database.read() as session:
        last = store.last_calls(session, store.GATEWAY, agreement_id)
    return sum(row.amount for row in last.values())


def spent(context: Context, agreement_id: bytes, side: AgreementSide) -> int:
    """Fen that an agreement's calls have cost so far, as this side's books have it."""
    with context.database.read() as session:
        last = store.last_calls(session, store.calls_table(side), agreement_id)
    return sum(
        json.loads(row.request)["acknowledgedAmount"] if row.receipt is None else row.amount
        for row in last.values()
    )
