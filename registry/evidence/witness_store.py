"""Tables of what this node witnessed of other members' logs: heads, forks and copies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import sqlalchemy as sa
from sqlalchemy import LargeBinary
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base, PreparedStatement
from chain.log import merkle
from registry.evidence.model import (
    CopiedHourCount,
    CopiedLeaf,
    Fork,
    LeafContent,
    WitnessedCheckpoint,
    read_leaf,
)
from registry.pages import Page, PageRequest, page_of


class WitnessedHead(Base):
    """The last head of another member's log that this node cosigned."""

    __tablename__ = "evidence_witnessed"
    origin: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int]
    root: Mapped[bytes] = mapped_column(LargeBinary)
    note: Mapped[str]
    cosignature: Mapped[str]
    seen_at: Mapped[int]


class CopiedLog(Base):
    """How far this supervisor has copied another member's log: the copy's size and its frontier's
    hashes, end to end.
    """

    __tablename__ = "evidence_copied_log"
    origin: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int]
    hashes: Mapped[bytes] = mapped_column(LargeBinary)


class CopiedEntry(Base):
    """A leaf of another member's log, for that member should it lose its own."""

    __tablename__ = "evidence_copied_entry"
    origin: Mapped[str] = mapped_column(primary_key=True)
    index: Mapped[int] = mapped_column("entry_index", primary_key=True, autoincrement=False)
    leaf: Mapped[bytes] = mapped_column(LargeBinary)
    digest: Mapped[bytes | None] = mapped_column(LargeBinary(32), index=True)
    """What the leaf is of; None for a leaf of another form."""


class CopiedHour(Base):
    """How many entries another member's log got in an hour, by the times in its leaves."""

    __tablename__ = "evidence_copied_hour"
    hour: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    origin: Mapped[str] = mapped_column(primary_key=True)
    entries: Mapped[int] = mapped_column(sa.BigInteger)
    receipts: Mapped[int] = mapped_column(sa.BigInteger)
    """Of these, receipts of metered calls."""


class ForkRow(Base):
    """Two signed heads of one log that contradict each other: evidence for anyone."""

    __tablename__ = "evidence_fork"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    origin: Mapped[str]
    first: Mapped[str]
    second: Mapped[str]
    found_at: Mapped[int]


RECEIPT = "UsageReceipt"
HOUR_SECONDS = 3_600
COPIED = cast(sa.Table, CopiedEntry.__table__)
_COPY = PreparedStatement(sa.insert(COPIED))


# --- Heads and forks ------------------------------------------------------------------------------


def find_witnessed(session: Session, origin: str) -> WitnessedCheckpoint | None:
    """The last head of a log that this node cosigned, or None."""
    row = session.get(WitnessedHead, origin)
    return None if row is None else _witnessed(row)


def witnessed(session: Session) -> list[WitnessedCheckpoint]:
    """The last head of each log that this node cosigned, by origin."""
    query = sa.select(WitnessedHead).order_by(WitnessedHead.origin)
    return list(map(_witnessed, session.scalars(query)))


def save_witnessed(session: Session, head: WitnessedCheckpoint) -> None:
    """Store the last head of a log that this node cosigned."""
    session.merge(
        WitnessedHead(
            origin=head.origin,
            size=head.size,
            root=head.root,
            note=head.note,
            cosignature=head.cosignature,
            seen_at=head.seen_at,
        )
    )


def add_fork(session: Session, fork: Fork) -> None:
    """Store a pair of contradicting heads once."""
    known = sa.select(ForkRow.id).where(ForkRow.first == fork.first, ForkRow.second == fork.second)
    if session.scalars(known).first() is None:
        session.add(
            ForkRow(
                origin=fork.origin, first=fork.first, second=fork.second, found_at=fork.found_at
            )
        )


def forks_page(session: Session, page: PageRequest) -> Page[Fork]:
    """Forks, latest first; ``cursor_malformed``."""
    return page_of(session, sa.select(ForkRow), (ForkRow.id,), page).map(_fork)


def _witnessed(row: WitnessedHead) -> WitnessedCheckpoint:
    return WitnessedCheckpoint(
        origin=row.origin,
        size=row.size,
        root=row.root,
        note=row.note,
        cosignature=row.cosignature,
        seen_at=row.seen_at,
    )


def _fork(row: ForkRow) -> Fork:
    return Fork(row.origin, row.first, row.second, row.found_at)


# --- Copies ---------------------------------------------------------------------------------------


def copied_frontier(session: Session, origin: str) -> merkle.Frontier:
    """The frontier of the copy of a log; empty without one."""
    row = session.get(CopiedLog, origin)
    if row is None:
        return merkle.Frontier()
    hashes = [row.hashes[start : start + 32] for start in range(0, len(row.hashes), 32)]
    return merkle.Frontier(row.size, hashes)


def add_copied(
    session: Session, origin: str, leaves: Sequence[bytes], frontier: merkle.Frontier
) -> None:
    """Store the next leaves of the copy of a log, which end at a frontier."""
    start = frontier.size - len(leaves)
    read = [read_leaf(leaf) for leaf in leaves]
    rows = [
        {"origin": origin, "entry_index": start + offset, "leaf": leaf, "digest": content.digest}
        for offset, (leaf, content) in enumerate(zip(leaves, read, strict=True))
    ]
    _COPY.execute(session, rows)
    for hour, contents in _by_hour(read).items():
        _add_to_hour(session, origin, hour, contents)
    hashes = b"".join(frontier.hashes)
    session.merge(CopiedLog(origin=origin, size=frontier.size, hashes=hashes))


def _by_hour(contents: Iterable[LeafContent]) -> dict[int, list[LeafContent]]:
    found: dict[int, list[LeafContent]] = {}
    for content in contents:
        found.setdefault(content.at - content.at % HOUR_SECONDS, []).append(content)
    return found


def _add_to_hour(session: Session, origin: str, hour: int, contents: Sequence[LeafContent]) -> None:
    row = session.get(CopiedHour, (hour, origin))
    if row is None:
        row = CopiedHour(hour=hour, origin=origin, entries=0, receipts=0)
        session.add(row)
    row.entries += len(contents)
    row.receipts += sum(content.kind == RECEIPT for content in contents)
    session.flush()


def copied_hours(session: Session, since: int) -> list[CopiedHourCount]:
    """What the copied logs got in each hour from a moment on, all members together."""
    entries, receipts = sa.func.sum(CopiedHour.entries), sa.func.sum(CopiedHour.receipts)
    query = sa.select(CopiedHour.hour, entries, receipts).where(CopiedHour.hour >= since)
    rows = session.execute(query.group_by(CopiedHour.hour).order_by(CopiedHour.hour))
    return [CopiedHourCount(hour, int(total), int(calls)) for hour, total, calls in rows]


def find_copied(session: Session, digest: bytes, *, limit: int) -> list[CopiedLeaf]:
    """The entries of other members' logs with a digest."""
    query = sa.select(CopiedEntry).where(CopiedEntry.digest == digest)
    rows = session.scalars(query.order_by(CopiedEntry.origin, CopiedEntry.index).limit(limit))
    return [CopiedLeaf(row.origin, row.index, row.leaf) for row in rows]


def copied_leaf(session: Session, origin: str, index: int) -> CopiedLeaf | None:
    """One leaf of a copied log, or None."""
    row = session.get(CopiedEntry, (origin, index))
    return None if row is None else CopiedLeaf(row.origin, row.index, row.leaf)


def copied_size(session: Session, origin: str) -> int:
    """The number of copied leaves of a log."""
    row = session.get(CopiedLog, origin)
    return 0 if row is None else row.size


def copied_leaves(session: Session, origin: str, start: int, end: int) -> list[bytes]:
    """The copied leaves of a log from one index up to but not including another."""
    query = sa.select(CopiedEntry.leaf).where(
        CopiedEntry.origin == origin, CopiedEntry.index >= start, CopiedEntry.index < end
    )
    return list(session.scalars(query.order_by(CopiedEntry.index)))
