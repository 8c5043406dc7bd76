"""The tables of disputes, of proved equivocations and of fines, as the chain's events have them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import JSON, LargeBinary
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base
from exchange.columns import Fen
from registry.pages import Page, PageRequest, page_of


class DisputeRow(Base):
    """A dispute; what only one party has is null elsewhere."""

    __tablename__ = "exchange_dispute"
    __table_args__ = (sa.Index("ix_exchange_dispute_claimed", "claimed_at", "receipt_id"),)
    receipt_id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    agreement_id: Mapped[bytes] = mapped_column(LargeBinary(32), index=True)
    receipt: Mapped[dict[str, Any]] = mapped_column(JSON)
    claimed_at: Mapped[int] = mapped_column(sa.BigInteger)
    contested_at: Mapped[int | None] = mapped_column(sa.BigInteger)
    answered_at: Mapped[int | None] = mapped_column(sa.BigInteger)
    ended_at: Mapped[int | None] = mapped_column(sa.BigInteger)
    reason: Mapped[int] = mapped_column(default=0)
    outcome: Mapped[int] = mapped_column(default=0)
    paid: Mapped[int] = mapped_column(Fen, default=0)
    contest_key: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    sealed_hash: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    ruling: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    contest_secret: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    """The buyer's: opens the sealed answer."""
    opened: Mapped[bool] = mapped_column(default=False)
    """The buyer's: it shows the answer to the arbiter."""
    sealed_answer: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The provider's: what it serves while the dispute is open. The buyer's: what was served to it,
    if that is not what the receipt commits to.
    """
    opinion: Mapped[str | None] = mapped_column(sa.Text)
    """The arbiter's reasons in words."""


class EquivocationRow(Base):
    """A place of a lane for which a provider signed two receipts."""

    __tablename__ = "exchange_equivocation"
    agreement_id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    lane: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    provider: Mapped[str] = mapped_column(sa.String(18))
    taken: Mapped[int] = mapped_column(Fen)
    """Fen that went from the bond to the buyer."""
    height: Mapped[int] = mapped_column(sa.BigInteger)


class FineRow(Base):
    """A fine that was taken out of a provider's bond."""

    __tablename__ = "exchange_fine"
    agreement_id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    reason: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    provider: Mapped[str] = mapped_column(sa.String(18))
    taken: Mapped[int] = mapped_column(Fen)
    height: Mapped[int] = mapped_column(sa.BigInteger, index=True)


def find(session: Session, receipt_id: bytes) -> DisputeRow | None:
    """A dispute by its receipt."""
    return session.get(DisputeRow, receipt_id)


def of_call(session: Session, agreement_id: bytes, lane: int, seq: int) -> DisputeRow | None:
    """The dispute over a call; each position is claimed by its receipt once."""
    query = sa.select(DisputeRow).where(DisputeRow.agreement_id == agreement_id)
    for row in session.scalars(query):
        if (row.receipt["lane"], row.receipt["seq"]) == (lane, seq):
            return row
    return None


def disputes(session: Session, page: PageRequest, *, live: bool) -> Page[DisputeRow]:
    """Disputes, the latest first; ``cursor_malformed``."""
    query = sa.select(DisputeRow)
    if live:
        query = query.where(DisputeRow.ended_at.is_(None))
    return page_of(session, query, (DisputeRow.claimed_at, DisputeRow.receipt_id), page)


def live(session: Session) -> list[DisputeRow]:
    """Every dispute that has not ended."""
    return list(session.scalars(sa.select(DisputeRow).where(DisputeRow.ended_at.is_(None))))


def equivocations(session: Session, page: PageRequest) -> Page[EquivocationRow]:
    """Proved equivocations, the latest first; ``cursor_malformed``."""
    order = (
        EquivocationRow.height,
        EquivocationRow.agreement_id,
        EquivocationRow.lane,
        EquivocationRow.seq,
    )
    return page_of(session, sa.select(EquivocationRow), order, page)


def find_fine(session: Session, agreement_id: bytes, reason: str) -> FineRow | None:
    """A fine by its decision."""
    return session.get(FineRow, (agreement_id, reason))


def fines(session: Session, page: PageRequest) -> Page[FineRow]:
    """Fines, the latest first; ``cursor_malformed``."""
    order = (FineRow.height, FineRow.agreement_id, FineRow.reason)
    return page_of(session, sa.select(FineRow), order, page)


def put(session: Session, row: DisputeRow | EquivocationRow | FineRow) -> None:
    """Store what an event says; the same event again changes nothing."""
    session.merge(row)
