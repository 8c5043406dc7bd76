"""Tables of the evidence log and of what this node witnessed of others' logs."""

from __future__ import annotations

from typing import cast

import sqlalchemy as sa
from sqlalchemy import LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from chain.core.database import Base


class PendingEntry(Base):
    """A leaf on its way into the tree: written in the transaction of what it records, entered by
    the log worker in this order.
    """

    __tablename__ = "evidence_pending"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    leaf: Mapped[bytes] = mapped_column(LargeBinary)


class LogEntry(Base):
    """A leaf of the tree at its index."""

    __tablename__ = "evidence_entry"
    index: Mapped[int] = mapped_column("entry_index", primary_key=True, autoincrement=False)
    digest: Mapped[bytes] = mapped_column(LargeBinary, index=True)
    leaf: Mapped[bytes] = mapped_column(LargeBinary)


class Subtree(Base):
    """The hash of a complete subtree; written once."""

    __tablename__ = "evidence_subtree"
    level: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    index: Mapped[int] = mapped_column("subtree_index", primary_key=True, autoincrement=False)
    hash: Mapped[bytes] = mapped_column(LargeBinary)


class LogHead(Base):
    """A checkpoint this log published, with the witnesses' lines that came back."""

    __tablename__ = "evidence_head"
    size: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    root: Mapped[bytes] = mapped_column(LargeBinary)
    note: Mapped[str]
    cosignatures: Mapped[str] = mapped_column(default="")
    made_at: Mapped[int]


class LogAnchor(Base):
    """An anchor on the chain: done only when header, seals and storage proof are stored here."""

    __tablename__ = "evidence_anchor"
    size: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    root: Mapped[bytes] = mapped_column(LargeBinary)
    operation: Mapped[str]
    asked_at: Mapped[int]
    height: Mapped[int | None]
    header: Mapped[bytes | None] = mapped_column(LargeBinary)
    proof: Mapped[str | None]


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


class ForkRow(Base):
    """Two signed heads of one log that contradict each other: evidence for anyone."""

    __tablename__ = "evidence_fork"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    origin: Mapped[str]
    first: Mapped[str]
    second: Mapped[str]
    found_at: Mapped[int]


PENDING = cast(sa.Table, PendingEntry.__table__)
ENTRIES = cast(sa.Table, LogEntry.__table__)
SUBTREES = cast(sa.Table, Subtree.__table__)
COPIED = cast(sa.Table, CopiedEntry.__table__)
