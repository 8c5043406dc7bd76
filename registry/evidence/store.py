"""Tables of the node's own log: entries, the tree over them, checkpoints and anchors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import sqlalchemy as sa
from sqlalchemy import LargeBinary
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base, PreparedStatement
from chain.core.errors import NotFound
from chain.log import merkle
from registry.evidence.model import Anchor, AnchorProof, IndexedLeaf, PendingLeaf, SignedHead


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


PENDING = cast(sa.Table, PendingEntry.__table__)
ENTRIES = cast(sa.Table, LogEntry.__table__)
SUBTREES = cast(sa.Table, Subtree.__table__)


# --- Entries and the tree -------------------------------------------------------------------------

_APPEND = PreparedStatement(sa.insert(PENDING))
_INTEGRATE = PreparedStatement(sa.insert(ENTRIES))
_GROW = PreparedStatement(sa.insert(SUBTREES))
_REMOVE = PreparedStatement(sa.delete(PENDING).where(PENDING.c.id == sa.bindparam("entered")))
_PENDING = sa.select(PENDING).order_by(PENDING.c.id)
_HASH = sa.select(SUBTREES.c.hash).where(
    SUBTREES.c.level == sa.bindparam("level"), SUBTREES.c.subtree_index == sa.bindparam("index")
)


def add_pending(session: Session, leaves: Sequence[tuple[bytes, bytes]]) -> None:
    """Append leaves (digest, leaf) that wait for the tree."""
    _APPEND.execute(session, [{"digest": digest, "leaf": leaf} for digest, leaf in leaves])


def pending(session: Session, *, limit: int | None = None) -> list[PendingLeaf]:
    """Leaves that wait for the tree, in order."""
    rows = session.connection().execute(_PENDING if limit is None else _PENDING.limit(limit))
    return [PendingLeaf(row.id, row.digest, row.leaf) for row in rows]


def is_pending(session: Session, digest: bytes) -> bool:
    """Whether a leaf with this digest waits for the tree."""
    query = sa.select(PENDING.c.digest).where(PENDING.c.digest == digest).limit(1)
    return session.execute(query).first() is not None


def remove_pending(session: Session, ids: Iterable[int]) -> None:
    """Remove leaves from those that wait."""
    # By id: another process of this node may have committed a smaller id since.
    if rows := [{"entered": id_} for id_ in ids]:
        _REMOVE.execute(session, rows)


def add_leaves(
    session: Session,
    leaves: Sequence[IndexedLeaf],
    subtrees: Sequence[tuple[int, int, bytes]],
) -> None:
    """Store leaves of the tree, and the subtrees (level, index, hash) that they complete."""
    _INTEGRATE.execute(
        session,
        [
            {"entry_index": entry.index, "digest": entry.digest, "leaf": entry.leaf}
            for entry in leaves
        ],
    )
    _GROW.execute(
        session,
        [
            {"level": level, "subtree_index": index, "hash": value}
            for level, index, value in subtrees
        ],
    )


def find_leaf(session: Session, digest: bytes) -> IndexedLeaf | None:
    """The first leaf of the tree with this digest, or None."""
    query = sa.select(LogEntry).where(LogEntry.digest == digest).order_by(LogEntry.index)
    row = session.scalars(query.limit(1)).first()
    return None if row is None else _leaf(row)


def count_known(session: Session, digests: Sequence[bytes]) -> int:
    """How many of these distinct digests the tree has, or will have once pending leaves are in."""
    known: set[bytes] = set()
    for start in range(0, len(digests), _IN_ONE_QUERY):
        some = digests[start : start + _IN_ONE_QUERY]
        known |= set(session.scalars(sa.select(LogEntry.digest).where(LogEntry.digest.in_(some))))
        known |= set(
            session.scalars(sa.select(PendingEntry.digest).where(PendingEntry.digest.in_(some)))
        )
    return len(known)


_IN_ONE_QUERY = 500


def leaves(session: Session, start: int, end: int | None = None) -> list[IndexedLeaf]:
    """The leaves of the tree from one index on, up to but not including another."""
    query = sa.select(LogEntry).where(LogEntry.index >= start)
    if end is not None:
        query = query.where(LogEntry.index < end)
    return list(map(_leaf, session.scalars(query.order_by(LogEntry.index))))


def tree_size(session: Session) -> int:
    """The number of leaves in the tree."""
    last = session.scalar(sa.select(sa.func.max(LogEntry.index)))
    return 0 if last is None else last + 1


def frontier(session: Session) -> merkle.Frontier:
    """The stored frontier of the tree."""
    size = tree_size(session)
    hashes, start = [], 0
    subtree = subtree_hash(session)
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            hashes.append(subtree(level, start >> level))
            start += 1 << level
    return merkle.Frontier(size, hashes)


def subtree_hash(session: Session) -> merkle.SubtreeHash:
    """What reads the hash of a complete subtree; ``head_unknown``."""

    def read(level: int, index: int) -> bytes:
        values = {"level": level, "index": index}
        found: bytes | None = session.connection().execute(_HASH, values).scalar_one_or_none()
        if found is None:
            raise NotFound("head_unknown", "The log does not reach that far.")
        return found

    return read


def _leaf(row: LogEntry) -> IndexedLeaf:
    return IndexedLeaf(row.index, row.digest, row.leaf)


# --- Checkpoints ----------------------------------------------------------------------------------

_COSIGNED_BY = "— {} "
"""How a witness' line begins."""


def find_head(session: Session, size: int) -> SignedHead | None:
    """The checkpoint of a size, or None."""
    row = session.get(LogHead, size)
    return None if row is None else _head(row)


def latest_head(session: Session) -> SignedHead | None:
    """The newest checkpoint, or None."""
    return _first_head(session, sa.select(LogHead))


def latest_cosigned_head(session: Session) -> SignedHead | None:
    """The newest checkpoint with a cosignature, or None."""
    return _first_head(session, sa.select(LogHead).where(LogHead.cosignatures != ""))


def first_head_after(session: Session, size: int) -> int | None:
    """When the first checkpoint above a size was made, or None."""
    return session.scalar(sa.select(sa.func.min(LogHead.made_at)).where(LogHead.size > size))


def save_head(session: Session, head: SignedHead) -> None:
    """Store a checkpoint."""
    session.merge(
        LogHead(
            size=head.size,
            root=head.root,
            note=head.note,
            cosignatures=head.cosignatures,
            made_at=head.made_at,
        )
    )


def add_cosignature(session: Session, size: int, line: str) -> None:
    """Add a witness' line to a checkpoint."""
    session.get_one(LogHead, size).cosignatures += line


def is_cosigned_by(head: SignedHead, witness: str) -> bool:
    """Whether a checkpoint has a witness' line."""
    return _COSIGNED_BY.format(witness) in head.cosignatures


def anchored_notes_without(session: Session, witness: str, *, limit: int) -> list[str]:
    """Notes of the newest anchored checkpoints that a witness has not cosigned."""
    query = (
        sa.select(LogHead.note)
        .join(LogAnchor, LogAnchor.size == LogHead.size)
        .where(LogHead.cosignatures.not_like(f"%{_COSIGNED_BY.format(witness)}%"))
        .order_by(LogHead.size.desc())
        .limit(limit)
    )
    return list(session.scalars(query))


def _first_head(session: Session, query: sa.Select[LogHead]) -> SignedHead | None:
    row = session.scalars(query.order_by(LogHead.size.desc()).limit(1)).first()
    return None if row is None else _head(row)


def _head(row: LogHead) -> SignedHead:
    return SignedHead(
        size=row.size,
        root=row.root,
        note=row.note,
        cosignatures=row.cosignatures,
        made_at=row.made_at,
    )


# --- Anchors --------------------------------------------------------------------------------------


def find_anchor(session: Session, size: int) -> Anchor | None:
    """The anchor of a size, or None."""
    row = session.get(LogAnchor, size)
    return None if row is None else _anchor(row)


def latest_anchor(session: Session) -> Anchor | None:
    """The anchor of the largest size, or None."""
    query = sa.select(LogAnchor).order_by(LogAnchor.size.desc()).limit(1)
    row = session.scalars(query).first()
    return None if row is None else _anchor(row)


def waiting_anchors(session: Session) -> list[Anchor]:
    """Anchors that are not complete, the smallest first."""
    query = sa.select(LogAnchor).where(LogAnchor.height.is_(None)).order_by(LogAnchor.size)
    return list(map(_anchor, session.scalars(query)))


def save_anchor(session: Session, anchor: Anchor) -> None:
    """Store an anchor that was queued; a complete one of the same size stays complete."""
    session.merge(
        LogAnchor(
            size=anchor.size,
            root=anchor.root,
            operation=anchor.operation,
            asked_at=anchor.asked_at,
        )
    )


def complete_anchor(session: Session, size: int, height: int, proof: AnchorProof | None) -> None:
    """Store an anchor's block, and its proof unless a later anchor's covers it."""
    row = session.get_one(LogAnchor, size)
    row.height = height
    if proof is not None:
        row.header, row.proof = proof.header, proof.to_json()


def is_proved(session: Session, size: int) -> bool:
    """Whether a proved anchor includes the first so many entries."""
    query = sa.select(LogAnchor.size).where(LogAnchor.header.is_not(None), LogAnchor.size >= size)
    return session.scalar(query.limit(1)) is not None


def latest_proved_note(session: Session) -> str | None:
    """The note of the newest checkpoint with a proved anchor, or None."""
    query = (
        sa.select(LogHead.note)
        .join(LogAnchor, LogAnchor.size == LogHead.size)
        .where(LogAnchor.header.is_not(None))
    )
    return session.scalar(query.order_by(LogHead.size.desc()).limit(1))


def proved_anchors_after(session: Session, index: int, *, up_to: int = 0) -> list[tuple[int, str]]:
    """Size and cosignatures of each proved anchor that includes an entry.

    Args:
        up_to: the newest header that an anchor may be proved under; 0 for any.
    """
    query = sa.select(LogAnchor.size, LogHead.cosignatures).join(
        LogHead, LogHead.size == LogAnchor.size
    )
    query = query.where(LogAnchor.header.is_not(None), LogAnchor.size > index)
    if up_to:
        query = query.where(LogAnchor.height <= up_to)
    return [(size, cosignatures) for size, cosignatures in session.execute(query)]


def delete_waiting_anchors(session: Session, *, up_to: int) -> None:
    """Forget anchors up to a size that are not complete."""
    session.execute(sa.delete(LogAnchor).where(LogAnchor.height.is_(None), LogAnchor.size <= up_to))


def _anchor(row: LogAnchor) -> Anchor:
    proof = None
    if row.height is not None and row.header is not None and row.proof is not None:
        proof = AnchorProof.from_json(row.height, row.header, row.proof)
    return Anchor(row.size, row.root, row.operation, row.asked_at, row.height, proof)
