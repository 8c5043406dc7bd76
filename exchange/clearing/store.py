"""Tables of the clearing book and of closed days."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator

import sqlalchemy as sa
from sqlalchemy import LargeBinary
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base
from exchange.clearing.model import DayClosing, DayTotals, MemberSums, Movement, MovementKind
from exchange.columns import Fen
from registry.pages import Page, PageRequest, page_of


class MovementRow(Base):
    """A money event of the chain with its day."""

    __tablename__ = "exchange_movement"
    __table_args__ = (sa.Index("ix_exchange_movement_day", "day", "height", "log_index"),)
    height: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    log_index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[int] = mapped_column(sa.BigInteger)
    day: Mapped[str] = mapped_column(sa.String(10))
    kind: Mapped[str] = mapped_column(sa.String(12))
    member: Mapped[str] = mapped_column(sa.String(18))
    agreement_id: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    amount: Mapped[int] = mapped_column(Fen)


class DaySumRow(Base):
    """The sum of a day's entries of one kind for one member, kept with each entry."""

    __tablename__ = "exchange_day_sum"
    day: Mapped[str] = mapped_column(sa.String(10), primary_key=True)
    member: Mapped[str] = mapped_column(sa.String(18), primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(12), primary_key=True)
    amount: Mapped[int] = mapped_column(Fen)
    entries: Mapped[int] = mapped_column(sa.BigInteger)


class DayRow(Base):
    """The sum of a day's entries of one kind over all members."""

    __tablename__ = "exchange_day"
    day: Mapped[str] = mapped_column(sa.String(10), primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(12), primary_key=True)
    amount: Mapped[int] = mapped_column(Fen)
    entries: Mapped[int] = mapped_column(sa.BigInteger)


class DayClosingRow(Base):
    """A closed day."""

    __tablename__ = "exchange_day_closing"
    day: Mapped[str] = mapped_column(sa.String(10), primary_key=True)
    opening: Mapped[int] = mapped_column(Fen)
    totals: Mapped[str] = mapped_column(sa.Text)
    height: Mapped[int] = mapped_column(sa.BigInteger)
    closed_at: Mapped[int] = mapped_column(sa.BigInteger)
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), index=True)


_ORDER = (MovementRow.height, MovementRow.log_index)


def add_movement(session: Session, movement: Movement) -> None:
    """Store an entry and add it to its day's sums; the same entry again changes nothing."""
    if session.get(MovementRow, (movement.height, movement.log_index)) is not None:
        return
    session.add(
        MovementRow(
            height=movement.height,
            log_index=movement.log_index,
            at=movement.at,
            day=movement.day,
            kind=movement.kind.value,
            member=movement.member,
            agreement_id=movement.agreement_id,
            amount=movement.amount,
        )
    )
    day, kind = movement.day, movement.kind.value
    of_member = session.get(DaySumRow, (day, movement.member, kind))
    if of_member is None:
        of_member = DaySumRow(day=day, member=movement.member, kind=kind, amount=0, entries=0)
        session.add(of_member)
    of_all = session.get(DayRow, (day, kind))
    if of_all is None:
        of_all = DayRow(day=day, kind=kind, amount=0, entries=0)
        session.add(of_all)
    for row in (of_member, of_all):
        row.amount += movement.amount
        row.entries += 1
    session.flush()


def movements(session: Session, page: PageRequest, *, day: str | None = None) -> Page[Movement]:
    """Entries of the book, the latest first; ``cursor_malformed``."""
    query = sa.select(MovementRow)
    if day is not None:
        query = query.where(MovementRow.day == day)
    return page_of(session, query, _ORDER, page).map(_movement)


def day_entries(session: Session, day: str) -> Iterator[Movement]:
    """A day's entries in chain order."""
    query = sa.select(MovementRow).where(MovementRow.day == day).order_by(*_ORDER)
    for row in session.scalars(query.execution_options(yield_per=1_000)):
        yield _movement(row)


def entries_hash(session: Session, day: str) -> bytes:
    """SHA-256 over a day's entries in chain order, one JSON line each."""
    digest = hashlib.sha256()
    for entry in day_entries(session, day):
        agreement = None if entry.agreement_id is None else entry.agreement_id.hex()
        line = [
            entry.height,
            entry.log_index,
            entry.kind.value,
            entry.member,
            agreement,
            str(entry.amount),
        ]
        digest.update(json.dumps(line, separators=(",", ":")).encode() + b"\n")
    return digest.digest()


def days(session: Session, *, before: str, limit: int) -> list[str]:
    """Days with entries before a day, the latest first."""
    query = sa.select(DayRow.day).where(DayRow.day < before).distinct()
    return list(session.scalars(query.order_by(DayRow.day.desc()).limit(limit)))


def open_days(session: Session, *, before: str) -> int:
    """How many days with entries before a day are not closed."""
    closed = sa.select(DayClosingRow.day)
    query = sa.select(sa.func.count(DayRow.day.distinct())).where(
        DayRow.day < before, DayRow.day.not_in(closed)
    )
    return session.scalars(query).one()


def day_totals(session: Session, day: str) -> DayTotals:
    """A day's sums."""
    return _totals(session.scalars(sa.select(DayRow).where(DayRow.day == day)))


def all_totals(session: Session) -> DayTotals:
    """The sums of the whole book."""
    return _totals(session.scalars(sa.select(DayRow)))


def held_before(session: Session, day: str) -> int:
    """Fen that the contract held at the start of a day: the balance of the last closed day before
    it, and what later days moved.
    """
    query = sa.select(DayClosingRow).where(DayClosingRow.day < day)
    row = session.scalars(query.order_by(DayClosingRow.day.desc()).limit(1)).first()
    last = None if row is None else _closing(row)
    since = sa.select(DayRow).where(DayRow.day < day)
    if last is not None:
        since = since.where(DayRow.day > last.day)
    return (0 if last is None else last.closing) + _totals(session.scalars(since)).held


def member_sums(session: Session, day: str) -> list[MemberSums]:
    """A day's sums by member code."""
    query = sa.select(DaySumRow).where(DaySumRow.day == day).order_by(DaySumRow.member)
    by_member: dict[str, list[DaySumRow]] = {}
    for row in session.scalars(query):
        by_member.setdefault(row.member, []).append(row)
    return [MemberSums(member, _totals(rows)) for member, rows in by_member.items()]


def find_closing(session: Session, day: str) -> DayClosing | None:
    """A day's closing."""
    row = session.get(DayClosingRow, day)
    return None if row is None else _closing(row)


def add_closing(session: Session, closing: DayClosing) -> None:
    """Store a closing."""
    session.add(
        DayClosingRow(
            day=closing.day,
            opening=closing.opening,
            totals=json.dumps(
                {
                    kind.value: [str(closing.totals.amount(kind)), count]
                    for kind, count in closing.totals.counts.items()
                }
            ),
            height=closing.height,
            closed_at=closing.closed_at,
            digest=closing.digest,
        )
    )


def _totals(rows: Iterable[DaySumRow | DayRow]) -> DayTotals:
    amounts: dict[MovementKind, int] = {}
    counts: dict[MovementKind, int] = {}
    for row in rows:
        kind = MovementKind(row.kind)
        amounts[kind] = amounts.get(kind, 0) + row.amount
        counts[kind] = counts.get(kind, 0) + row.entries
    return DayTotals(amounts, counts)


def _closing(row: DayClosingRow) -> DayClosing:
    stored = {MovementKind(kind): value for kind, value in json.loads(row.totals).items()}
    totals = DayTotals(
        {kind: int(amount) for kind, (amount, _) in stored.items()},
        {kind: count for kind, (_, count) in stored.items()},
    )
    return DayClosing(row.day, row.opening, totals, row.height, row.closed_at, row.digest)


def _movement(row: MovementRow) -> Movement:
    return Movement(
        height=row.height,
        log_index=row.log_index,
        at=row.at,
        day=row.day,
        kind=MovementKind(row.kind),
        member=row.member,
        agreement_id=row.agreement_id,
        amount=row.amount,
    )
