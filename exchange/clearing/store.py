"""Tables of the clearing book and of closed days."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping

import sqlalchemy as sa
from sqlalchemy import LargeBinary
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base
from exchange.clearing.model import (
    AccountSums,
    DayClosing,
    DayTotals,
    Movement,
    MovementKind,
    Position,
    SplitRule,
)
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
    payer: Mapped[str] = mapped_column(sa.String(18))


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


class DayPositionRow(Base):
    """A member's position of a closed day, and its sums since the beginning."""

    __tablename__ = "exchange_day_position"
    day: Mapped[str] = mapped_column(sa.String(10), primary_key=True)
    member: Mapped[str] = mapped_column(sa.String(18), primary_key=True)
    opening: Mapped[int] = mapped_column(Fen)
    deposited: Mapped[int] = mapped_column(Fen)
    earned: Mapped[int] = mapped_column(Fen)
    spent: Mapped[int] = mapped_column(Fen)
    withdrawn: Mapped[int] = mapped_column(Fen)
    all_deposited: Mapped[int] = mapped_column(Fen)
    all_earned: Mapped[int] = mapped_column(Fen)
    all_spent: Mapped[int] = mapped_column(Fen)
    all_withdrawn: Mapped[int] = mapped_column(Fen)


class SplitRuleRow(Base):
    """How a share for several rights is divided from a day on."""

    __tablename__ = "exchange_split_rule"
    effective_from: Mapped[str] = mapped_column(sa.String(10), primary_key=True)
    holding: Mapped[int] = mapped_column()
    processing: Mapped[int] = mapped_column()
    operating: Mapped[int] = mapped_column()


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
            payer=movement.payer,
        )
    )
    _add_to_member(session, movement, movement.member, movement.kind)
    if movement.payer:
        _add_to_member(session, movement, movement.payer, MovementKind.SPENT)
    day, kind = movement.day, movement.kind.value
    of_all = session.get(DayRow, (day, kind))
    if of_all is None:
        of_all = DayRow(day=day, kind=kind, amount=0, entries=0)
        session.add(of_all)
    of_all.amount += movement.amount
    of_all.entries += 1
    session.flush()


def _add_to_member(session: Session, movement: Movement, member: str, kind: MovementKind) -> None:
    row = session.get(DaySumRow, (movement.day, member, kind.value))
    if row is None:
        row = DaySumRow(day=movement.day, member=member, kind=kind.value, amount=0, entries=0)
        session.add(row)
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


def member_entries(session: Session, member: str, since: str, until: str) -> list[Movement]:
    """A member's entries of a period of days, both included, in chain order."""
    query = sa.select(MovementRow).where(
        MovementRow.day >= since,
        MovementRow.day <= until,
        sa.or_(MovementRow.member == member, MovementRow.payer == member),
    )
    return [_movement(row) for row in session.scalars(query.order_by(*_ORDER))]


def entries_after(session: Session, height: int) -> list[Movement]:
    """The entries of later blocks than one."""
    query = sa.select(MovementRow).where(MovementRow.height > height).order_by(*_ORDER)
    return [_movement(row) for row in session.scalars(query)]


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
            entry.payer,
        ]
        digest.update(json.dumps(line, separators=(",", ":")).encode() + b"\n")
    return digest.digest()


def days(session: Session, *, before: str, limit: int) -> list[str]:
    """Days with entries before a day, or all of them, the latest first."""
    query = sa.select(DayRow.day).distinct()
    if before:
        query = query.where(DayRow.day < before)
    return list(session.scalars(query.order_by(DayRow.day.desc()).limit(limit)))


def open_days(session: Session, *, before: str) -> int:
    """The number of earlier days with entries that are not closed."""
    closed = sa.select(DayClosingRow.day)
    query = sa.select(sa.func.count(DayRow.day.distinct())).where(
        DayRow.day < before, DayRow.day.not_in(closed)
    )
    return session.scalars(query).one()


def day_totals(session: Session, day: str) -> DayTotals:
    """A day's sums."""
    return _totals(session.scalars(sa.select(DayRow).where(DayRow.day == day)))


def account_sums(session: Session, *, before: str = "") -> dict[str, AccountSums]:
    """Each member's sums since the beginning: those stored with the last closed day, and what later
    days moved.

    Args:
        before: only days before this one.
    """
    base = sa.select(DayPositionRow.day).order_by(DayPositionRow.day.desc()).limit(1)
    later = sa.select(DaySumRow)
    if before:
        base = base.where(DayPositionRow.day < before)
        later = later.where(DaySumRow.day < before)
    found: dict[str, AccountSums] = {}
    closed = session.scalars(base).first()
    if closed is not None:
        later = later.where(DaySumRow.day > closed)
        rows = session.scalars(sa.select(DayPositionRow).where(DayPositionRow.day == closed))
        found = {
            row.member: AccountSums(
                row.all_deposited, row.all_earned, row.all_spent, row.all_withdrawn
            )
            for row in rows
        }
    for member, sums in _moved(session.scalars(later)).items():
        found[member] = found.get(member, AccountSums()) + sums
    return found


def moved_sums(session: Session, day: str) -> dict[str, AccountSums]:
    """What a day moved for each member."""
    return _moved(session.scalars(sa.select(DaySumRow).where(DaySumRow.day == day)))


def sums_of(session: Session, member: str, *, before: str) -> AccountSums:
    """One member's sums of all days before one."""
    query = sa.select(DaySumRow).where(DaySumRow.member == member, DaySumRow.day < before)
    return _moved(session.scalars(query)).get(member, AccountSums())


def _moved(rows: Iterable[DaySumRow]) -> dict[str, AccountSums]:
    by_member: dict[str, list[DaySumRow]] = {}
    for row in rows:
        by_member.setdefault(row.member, []).append(row)
    return {member: _totals(found).account for member, found in by_member.items()}


def last_closed_before(session: Session, height: int) -> str:
    """The last day that was closed before a block; empty where none was."""
    query = sa.select(sa.func.max(DayClosingRow.day)).where(DayClosingRow.height < height)
    return session.scalars(query).one() or ""


def last_height(session: Session) -> int:
    """The block of the latest entry; 0 where there is none."""
    return session.scalars(sa.select(sa.func.max(MovementRow.height))).one() or 0


def positions(session: Session, day: str) -> list[Position]:
    """Each member's position of a closed day."""
    query = sa.select(DayPositionRow).where(DayPositionRow.day == day)
    return [
        Position(row.member, row.opening, row.deposited, row.earned, row.spent, row.withdrawn)
        for row in session.scalars(query.order_by(DayPositionRow.member))
    ]


def add_positions(
    session: Session, day: str, found: Iterable[Position], sums: Mapping[str, AccountSums]
) -> None:
    """Store a day's positions with each member's sums up to its end."""
    for one in found:
        whole = sums.get(one.member, AccountSums())
        session.add(
            DayPositionRow(
                day=day,
                member=one.member,
                opening=one.opening,
                deposited=one.deposited,
                earned=one.earned,
                spent=one.spent,
                withdrawn=one.withdrawn,
                all_deposited=whole.deposited,
                all_earned=whole.earned,
                all_spent=whole.spent,
                all_withdrawn=whole.withdrawn,
            )
        )
    session.flush()


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


def split_rules(session: Session) -> list[SplitRule]:
    """Every rule, the latest first."""
    query = sa.select(SplitRuleRow).order_by(SplitRuleRow.effective_from.desc())
    return [
        SplitRule(row.effective_from, row.holding, row.processing, row.operating)
        for row in session.scalars(query)
    ]


def put_split_rule(session: Session, rule: SplitRule) -> None:
    """Store a rule in place of one from the same day."""
    session.merge(
        SplitRuleRow(
            effective_from=rule.effective_from,
            holding=rule.holding,
            processing=rule.processing,
            operating=rule.operating,
        )
    )
    session.flush()


def replace_split_rules(session: Session, found: Iterable[SplitRule]) -> None:
    """Store the operator's rules in place of those that were fetched before."""
    session.execute(sa.delete(SplitRuleRow))
    for rule in found:
        put_split_rule(session, rule)


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
        payer=row.payer,
    )
