"""Tables of confirmed deposits and of what the chain says was claimed and paid."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import JSON, LargeBinary
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base
from chain.statements.trade import DepositConfirmation
from exchange.columns import Fen
from registry.pages import Page, PageRequest, page_of

_MAX_IDS = 500


class DepositRow(Base):
    """A deposit this settlement bank confirmed; its own reference counts once."""

    __tablename__ = "exchange_deposit"
    reference: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    member: Mapped[str] = mapped_column(sa.String(18))
    amount: Mapped[int] = mapped_column(Fen)
    confirmation: Mapped[dict[str, Any]] = mapped_column(JSON)
    signature: Mapped[bytes] = mapped_column(LargeBinary(65))
    at: Mapped[int] = mapped_column(sa.BigInteger)


class ClaimedLaneRow(Base):
    """What was claimed on a lane, according to the chain's events."""

    __tablename__ = "exchange_claimed"
    agreement_id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    lane: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(sa.BigInteger)
    units: Mapped[int] = mapped_column(sa.BigInteger)
    amount: Mapped[int] = mapped_column(Fen)
    height: Mapped[int] = mapped_column(sa.BigInteger)


class PaymentRow(Base):
    """A payment, deposit or withdrawal on the chain, one row an event."""

    __tablename__ = "exchange_payment"
    __table_args__ = (
        sa.Index("ix_exchange_payment_agreement", "agreement_id", "height", "log_index"),
    )
    height: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    log_index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(sa.String(12))
    """``paid``, ``deposited`` or ``withdrawn``."""
    member: Mapped[str] = mapped_column(sa.String(18), index=True)
    agreement_id: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    amount: Mapped[int] = mapped_column(Fen)


def find_deposit(session: Session, reference: str) -> DepositRow | None:
    """The deposit confirmed under a reference."""
    return session.get(DepositRow, reference)


def deposits_of(session: Session, references: Collection[str]) -> dict[str, tuple[str, int]]:
    """Member and amount of the deposits under those of these references that have one."""
    found: dict[str, tuple[str, int]] = {}
    wanted = list(references)
    for start in range(0, len(wanted), _MAX_IDS):
        query = sa.select(DepositRow.reference, DepositRow.member, DepositRow.amount)
        part = wanted[start : start + _MAX_IDS]
        for reference, member, amount in session.execute(
            query.where(DepositRow.reference.in_(part))
        ):
            found[reference] = (member, amount)
    return found


def put_deposit(
    session: Session,
    reference: str,
    confirmation: DepositConfirmation,
    signature: bytes,
    *,
    at: int,
) -> None:
    """Store a confirmation in place of an earlier one under its reference."""
    session.merge(
        DepositRow(
            reference=reference,
            member=confirmation.member,
            amount=confirmation.amount,
            confirmation=confirmation.to_json(),
            signature=signature,
            at=at,
        )
    )


def claimed_lanes(session: Session, agreement_id: bytes) -> set[int]:
    """Lanes of an agreement for which the chain has paid."""
    query = sa.select(ClaimedLaneRow.lane).where(ClaimedLaneRow.agreement_id == agreement_id)
    return set(session.scalars(query))


def claimed_amounts(session: Session, agreement_ids: Collection[bytes]) -> dict[bytes, int]:
    """What was claimed under each of these agreements, in fen."""
    found: dict[bytes, int] = {}
    for part in _parts(agreement_ids):
        query = sa.select(ClaimedLaneRow.agreement_id, ClaimedLaneRow.amount)
        for agreement_id, amount in session.execute(
            query.where(ClaimedLaneRow.agreement_id.in_(part))
        ):
            found[agreement_id] = found.get(agreement_id, 0) + amount
    return found


def total_claimed(session: Session, agreement_ids: Collection[bytes]) -> int:
    """What was claimed under all of these agreements, in fen."""
    return sum(claimed_amounts(session, agreement_ids).values())


def _parts(agreement_ids: Collection[bytes]) -> Iterator[list[bytes]]:
    """As many ids at a time as a query takes."""
    ids = list(agreement_ids)
    for start in range(0, len(ids), _MAX_IDS):
        yield ids[start : start + _MAX_IDS]


def payments(session: Session, page: PageRequest, agreement_id: bytes | None) -> Page[PaymentRow]:
    """Payments, the latest first; ``cursor_malformed``."""
    query = sa.select(PaymentRow)
    if agreement_id is not None:
        query = query.where(PaymentRow.agreement_id == agreement_id)
    return page_of(session, query, (PaymentRow.height, PaymentRow.log_index), page)


def put(session: Session, row: ClaimedLaneRow | PaymentRow) -> None:
    """Store what an event says; the same event again changes nothing."""
    session.merge(row)
