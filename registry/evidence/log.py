"""The node's own log: entries and the tree over them.

``append`` inserts one row in the transaction of what it records, so that a metered call pays almost
nothing for its evidence. ``integrate_pending`` (every second) hashes many entries at once and moves
them into the tree in order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.canonical import dumps
from chain.core.crypto import keccak256
from chain.core.database import PreparedStatement
from chain.core.errors import (
    NotFound,
)
from chain.ethereum.eip712 import Domain, Statement
from chain.log import merkle
from chain.log.checkpoint import log_origin
from registry.evidence.store import (
    ENTRIES,
    PENDING,
    SUBTREES,
    LogEntry,
    PendingEntry,
)

LOG_EPOCH = 0


MAX_INTEGRATED = 5_000


MAX_LEAVES = 1_000


LOG_KEY = "LogKey"
"""Kind of the entry from which the log is signed under another key; its digest is the public key.

"""


def append(session: Session, *, kind: str, digest: bytes, at: int) -> None:
    """Append an entry with this digest; the leaf reveals nothing of what the digest is of.

    It runs in the caller's transaction, so entry and cause are stored together or not at all.
    """
    leaf = dumps({"at": at, "digest": "0x" + digest.hex(), "kind": kind})
    session.execute(sa.insert(PendingEntry).values(digest=digest, leaf=leaf))


def append_all(session: Session, entries: Sequence[tuple[str, bytes]], *, at: int) -> None:
    """Append several entries (kind, digest) in one statement, for busy paths."""
    rows = [
        {"digest": digest, "leaf": dumps({"at": at, "digest": "0x" + digest.hex(), "kind": kind})}
        for kind, digest in entries
    ]
    _APPEND.execute(session, rows)


_APPEND = PreparedStatement(sa.insert(PENDING))


def append_statement(session: Session, statement: Statement, domain: Domain, *, at: int) -> None:
    """Append a signed statement by its EIP-712 digest."""
    append(session, kind=type(statement).__name__, digest=statement.digest(domain), at=at)


def append_if_missing(session: Session, *, kind: str, digest: bytes, at: int) -> None:
    """Append an earlier entry again unless the log has it: a restored log may lack it."""
    if not any(
        session.execute(sa.select(table.c.digest).where(table.c.digest == digest).limit(1)).first()
        for table in (ENTRIES, PENDING)
    ):
        append(session, kind=kind, digest=digest, at=at)


def integrate_pending(session: Session) -> merkle.Frontier:
    """Move pending entries into the tree and return its new frontier."""
    frontier = stored_frontier(session)
    while pending := session.connection().execute(_PENDING).all():
        entries, subtrees = [], []
        for row in pending:
            entries.append({"entry_index": frontier.size, "digest": row.digest, "leaf": row.leaf})
            for level, index, value in frontier.append(merkle.leaf_hash(row.leaf)):
                subtrees.append({"level": level, "subtree_index": index, "hash": value})
        _INTEGRATE.execute(session, entries)
        _GROW.execute(session, subtrees)
        # By id: another process of this node may have committed a smaller id since.
        _INTEGRATED.execute(session, [{"entered": row.id} for row in pending])
    return frontier


_PENDING = sa.select(PENDING).order_by(PENDING.c.id).limit(MAX_INTEGRATED)


_INTEGRATE = PreparedStatement(sa.insert(ENTRIES))


_GROW = PreparedStatement(sa.insert(SUBTREES))


_INTEGRATED = PreparedStatement(sa.delete(PENDING).where(PENDING.c.id == sa.bindparam("entered")))


def consistency(context: Context, old: int, new: int) -> list[bytes]:
    """Return the consistency proof between two sizes of the log; ``head_unknown``."""
    with context.database.read() as session:
        if new > size_of(session):
            raise NotFound("head_unknown", "The log is not that long.")
        return merkle.consistency_proof(old, new, subtree_hash(session))


def entries(context: Context, start: int, end: int) -> list[dict[str, Any]]:
    """Return the leaves from ``start`` up to but not including ``end``, at most ``MAX_LEAVES``."""
    query = sa.select(LogEntry).where(
        LogEntry.index >= start, LogEntry.index < min(end, start + MAX_LEAVES)
    )
    with context.database.read() as session:
        return [json.loads(row.leaf) for row in session.scalars(query.order_by(LogEntry.index))]


def origin(context: Context) -> str:
    """Return the origin line of this node's log."""
    return log_origin(context.member, LOG_EPOCH)


def log_id_of(context: Context) -> bytes:
    """Return the log's id on the chain: the hash of its origin."""
    return keccak256(origin(context).encode())


def log_size(context: Context) -> int:
    """Return the number of entries in the tree."""
    with context.database.read() as session:
        return size_of(session)


def size_of(session: Session) -> int:
    """Return the number of entries in the tree, read in a session."""
    last = session.scalar(sa.select(sa.func.max(LogEntry.index)))
    return 0 if last is None else last + 1


def frontier_of(context: Context) -> merkle.Frontier:
    """Return the stored frontier of the tree."""
    with context.database.read() as session:
        return stored_frontier(session)


def stored_frontier(session: Session) -> merkle.Frontier:
    size = size_of(session)
    hashes, start = [], 0
    subtree = subtree_hash(session)
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            hashes.append(subtree(level, start >> level))
            start += 1 << level
    return merkle.Frontier(size, hashes)


def subtree_hash(session: Session) -> merkle.SubtreeHash:
    def read(level: int, index: int) -> bytes:
        found: bytes | None = (
            session.connection()
            .execute(_HASH, {"level": level, "index": index})
            .scalar_one_or_none()
        )
        if found is None:
            raise NotFound("head_unknown", "The log does not reach that far.")
        return found

    return read


_HASH = sa.select(SUBTREES.c.hash).where(
    SUBTREES.c.level == sa.bindparam("level"), SUBTREES.c.subtree_index == sa.bindparam("index")
)
