"""Stored calls as values, for bundles, reports, reconciliation and recovery."""

from __future__ import annotations

import json
from dataclasses import dataclass

from chain.context import Context
from chain.core import schema
from chain.core.errors import BadInput
from chain.ethereum.eip712 import Domain
from chain.statements.trade import UsageReceipt
from exchange.agreements.model import AgreementSide
from exchange.metering import store
from exchange.metering.gateway_store import stored_answer
from exchange.metering.model import (
    AnsweredCall,
    CallStatus,
    ClosingVoucher,
    GatewayCall,
    LaneRecords,
    StoredCall,
)
from exchange.metering.store import calls_table, stored_call
from registry.pages import Page, PageRequest


def call_at(
    context: Context, side: AgreementSide, agreement_id: bytes, lane: int, seq: int
) -> StoredCall | None:
    """The call at one position, as this node stored it on its side of the agreement."""
    with context.database.read() as session:
        row = store.call_at(session, calls_table(side), agreement_id, lane, seq)
    return None if row is None else stored_call(row)


@dataclass(frozen=True, slots=True)
class ContradictingAnswer:
    """An answer that contradicts this buyer's records and halted its lane."""

    receipt: UsageReceipt
    signature: bytes
    answer: bytes
    """As it came, in JSON."""


def contradicting_answer(
    context: Context, agreement_id: bytes, lane: int, seq: int
) -> ContradictingAnswer | None:
    """The answer that halted a lane at a position; None where there is none with a receipt that can
    be read.
    """
    with context.database.read() as session:
        row = store.call_at(session, calls_table(AgreementSide.BUYER), agreement_id, lane, seq)
    if row is None or row.status != CallStatus.CONFLICT or row.answer is None:
        return None
    try:
        answer = json.loads(row.answer)
        receipt, signature = answer["receipt"], schema.signature(answer["signature"])
        return ContradictingAnswer(UsageReceipt.from_json(receipt), signature, row.answer.encode())
    except (ValueError, TypeError, KeyError, BadInput):
        return None


def lane_calls(
    context: Context,
    side: AgreementSide,
    agreement_id: bytes,
    lane: int,
    *,
    after: int = 0,
    limit: int | None = None,
) -> list[StoredCall]:
    """The completed calls of a lane after a position, in order."""
    with context.database.read() as session:
        return store.lane_calls(
            session, calls_table(side), agreement_id, lane, after=after, limit=limit
        )


def gateway_calls(
    context: Context, page: PageRequest, agreement_id: bytes, lane: int
) -> Page[GatewayCall]:
    """The calls of a lane that this gateway answered, the latest first; ``cursor_malformed``."""
    with context.database.read() as session:
        return store.lane_page(session, page, agreement_id, lane).map(_gateway_call)


def answered_calls(
    context: Context, page: PageRequest, agreement_id: bytes, *, since: int, until: int
) -> Page[AnsweredCall]:
    """The calls that this gateway answered under an agreement within a period, the latest first,
    each with what names its statements in the log; ``cursor_malformed``.
    """
    domain = context.domain("TradeSettlement")
    with context.database.read() as session:
        found = store.gateway_page(session, page, agreement_id, since=since, until=until)
        return found.map(lambda row: _answered(row, domain))


def _answered(row: store.GatewayCallRow, domain: Domain) -> AnsweredCall:
    receipt = UsageReceipt.from_json(json.loads(row.receipt))
    return AnsweredCall(_gateway_call(row), receipt.units, receipt.amount, receipt.digest(domain))


def _gateway_call(row: store.GatewayCallRow) -> GatewayCall:
    return GatewayCall(
        lane=row.lane,
        seq=row.seq,
        status=CallStatus(row.status),
        reason=row.reason,
        units=row.units,
        amount=row.amount,
        at=row.at,
    )


def kept_answer(context: Context, agreement_id: bytes, lane: int, seq: int) -> bytes | None:
    """The gateway's stored answer of a lane's last position, as it was sent; None once it is
    erased.
    """
    with context.database.read() as session:
        answer = stored_answer(session, agreement_id, lane, seq)
    return None if answer is None else answer.encode()


def voucher_of(context: Context, agreement_id: bytes, lane: int) -> ClosingVoucher | None:
    """A lane's closing voucher."""
    with context.database.read() as session:
        return store.voucher_of(session, agreement_id, lane)


def lanes(context: Context, side: AgreementSide, agreement_id: bytes) -> dict[int, LaneRecords]:
    """What this node has stored of each used lane of an agreement."""
    table = calls_table(side)
    with context.database.read() as session:
        found = {}
        counts = store.status_counts(session, table, agreement_id)
        vouchers = store.vouchers(session, agreement_id)
        for lane, row in store.last_calls(session, table, agreement_id).items():
            last, previous = stored_call(row), None
            if last.outstanding:
                before = store.call_at(session, table, agreement_id, lane, last.seq - 1)
                previous = None if before is None else stored_call(before)
            found[lane] = LaneRecords(last, previous, counts[lane], vouchers.get(lane))
    return found
