"""The gateway's statements: receipts, voids and answers stored with every call, and the counts that
an agreement is loaded with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.core.database import PreparedStatement
from chain.statements.trade import ReceiptVoid
from exchange.metering.model import SUBJECT_UNKNOWN, CallStatus, LaneState
from exchange.metering.store import ANSWERS, GATEWAY
from exchange.metering.wire import json_text

_COUNTED = (CallStatus.SERVED, CallStatus.VOID)
"""Counted against a grant's ``max_uses``, beside ``subject_unknown``: a void cancels the payment,
but the answer was delivered once.
"""
_INSERT = PreparedStatement(sa.insert(GATEWAY))


class GatewayColumns(TypedDict):
    """The columns of a new call."""

    agreement_id: bytes
    lane: int
    seq: int
    request: str
    request_hash: bytes
    request_signature: bytes
    grant_id: bytes
    withdrawal: str | None
    withdrawal_signature: bytes | None
    status: str
    reason: str
    receipt: str
    receipt_hash: bytes
    receipt_signature: bytes
    units: int
    amount: int
    at: int
    subject: str | None
    opening: str | None


def insert_calls(session: Session, rows: Sequence[GatewayColumns]) -> None:
    """Store new calls."""
    _INSERT.execute(session, rows)


def store_void(
    session: Session, void: ReceiptVoid, signature: bytes, *, previous: LaneState
) -> None:
    """Mark a position as void; its totals become those before it."""
    session.execute(
        sa.update(GATEWAY)
        .where(
            GATEWAY.c.agreement_id == void.agreement_id,
            GATEWAY.c.lane == void.lane,
            GATEWAY.c.seq == void.seq,
        )
        .values(
            status=CallStatus.VOID,
            reason=void.reason,
            units=previous.units,
            amount=previous.amount,
            void=json_text(void.to_json()),
            void_signature=signature,
        )
    )


def counted_uses(session: Session, grant_id: bytes) -> int:
    """The number of calls that count against a grant's ``max_uses``."""
    counted = sa.or_(GATEWAY.c.status.in_(_COUNTED), GATEWAY.c.reason == SUBJECT_UNKNOWN)
    query = sa.select(sa.func.count()).where(GATEWAY.c.grant_id == grant_id, counted)
    return session.scalar(query) or 0


def stored_answer(session: Session, agreement_id: bytes, lane: int, seq: int) -> str | None:
    """The stored answer of a lane, if it is that of this position."""
    query = sa.select(ANSWERS.c.answer).where(
        ANSWERS.c.agreement_id == agreement_id, ANSWERS.c.lane == lane, ANSWERS.c.seq == seq
    )
    return session.scalar(query)
