"""The buyer's statements: requests, withdrawals and answers stored with every call, and the look-up
by idempotency key.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.core.database import Database, PreparedStatement
from exchange.metering.model import CallStatus
from exchange.metering.store import BUYER

_INSERT = PreparedStatement(sa.insert(BUYER))
_RELEASE_KEY = PreparedStatement(
    sa.update(BUYER)
    .where(
        BUYER.c.idempotency_key == sa.bindparam("key"), BUYER.c.reason == sa.bindparam("in_reason")
    )
    .values(idempotency_key=sa.null())
)
_BY_KEY = sa.select(BUYER).where(BUYER.c.idempotency_key == sa.bindparam("key"))
_IS_KNOWN = PreparedStatement(
    sa.select(BUYER.c.seq).where(BUYER.c.idempotency_key == sa.bindparam("key"))
)


class RequestColumns(TypedDict):
    """The columns of a new request."""

    agreement_id: bytes
    lane: int
    seq: int
    idempotency_key: str
    status: str
    reason: str
    request: str
    request_hash: bytes
    request_signature: bytes
    query: str
    subject: str
    units: int
    amount: int
    asked_at: int


class CompletionColumns(TypedDict):
    """The columns that an answer sets."""

    status: str
    reason: str
    receipt: str | None
    receipt_hash: bytes | None
    receipt_signature: bytes | None
    answer: str | None
    units: int
    amount: int
    void: str | None
    void_signature: bytes | None


class CompletedColumns(CompletionColumns):
    """An answer's columns, with the position they are of."""

    in_agreement: bytes
    in_lane: int
    in_seq: int


_COMPLETE = PreparedStatement(
    sa.update(BUYER)
    .where(
        BUYER.c.agreement_id == sa.bindparam("in_agreement"),
        BUYER.c.lane == sa.bindparam("in_lane"),
        BUYER.c.seq == sa.bindparam("in_seq"),
    )
    .values({name: sa.bindparam(name) for name in CompletionColumns.__annotations__})
)


def insert_requests(session: Session, rows: Sequence[RequestColumns]) -> None:
    """Store new requests; ``IntegrityError`` where a key is used already."""
    _INSERT.execute(session, rows)


def release_keys(session: Session, keys: Sequence[str], *, reason: str) -> None:
    """Take keys from the calls that ended for a reason, so that other calls can have them."""
    _RELEASE_KEY.execute(session, [{"key": key, "in_reason": reason} for key in keys])


def complete(session: Session, rows: Sequence[CompletedColumns]) -> None:
    """Store answers beside their requests."""
    _COMPLETE.execute(session, rows)


def store_withdrawal(
    session: Session,
    agreement_id: bytes,
    lane: int,
    seq: int,
    *,
    withdrawal: str,
    signature: bytes,
    by: str,
) -> None:
    """Store a withdrawal beside its request."""
    session.execute(
        sa.update(BUYER)
        .where(BUYER.c.agreement_id == agreement_id, BUYER.c.lane == lane, BUYER.c.seq == seq)
        .values(withdrawal=withdrawal, withdrawal_signature=signature, withdrawn_by=by)
    )


def set_withdrawn_by(session: Session, key: str, by: str) -> None:
    """Note for whom the call under a key was withdrawn."""
    session.execute(sa.update(BUYER).where(BUYER.c.idempotency_key == key).values(withdrawn_by=by))


async def is_known(database: Database, key: str) -> bool:
    """Whether a call is stored under a key."""
    return bool(await database.afetch(_IS_KNOWN, {"key": key}))


@dataclass(frozen=True, slots=True)
class KnownCall:
    """A stored call, found by its idempotency key."""

    key: str
    agreement_id: bytes
    lane: int
    seq: int
    status: CallStatus
    reason: str
    query: str
    """``query``, ``salt`` and ``consent`` as JSON."""
    receipt: str | None
    receipt_hash: bytes | None
    answer: str | None
    """``content`` and ``salt`` as JSON."""
    withdrawn_by: str | None


def find_by_key(database: Database, key: str) -> KnownCall | None:
    """The call under a key."""
    with database.engine.connect() as connection:
        row = connection.execute(_BY_KEY, {"key": key}).one_or_none()
    if row is None:
        return None
    return _known(row)


def find_by_keys(database: Database, keys: Collection[str]) -> list[KnownCall]:
    """The calls under some keys; keys without a call are passed over."""
    query = sa.select(BUYER).where(BUYER.c.idempotency_key.in_(list(keys)))
    with database.engine.connect() as connection:
        return [_known(row) for row in connection.execute(query)]


def _known(row: sa.Row[Any]) -> KnownCall:
    return KnownCall(
        key=row.idempotency_key,
        agreement_id=row.agreement_id,
        lane=row.lane,
        seq=row.seq,
        status=CallStatus(row.status),
        reason=row.reason,
        query=row.query,
        receipt=row.receipt,
        receipt_hash=row.receipt_hash,
        answer=row.answer,
        withdrawn_by=row.withdrawn_by,
    )
