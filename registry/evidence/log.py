"""The node's own log: entries and the tree over them.

``append`` inserts one row in the transaction of what it records, so that a metered call pays almost
nothing for its evidence. ``integrate_pending`` (every second) hashes many entries at once and moves
them into the tree in order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.canonical import dumps
from chain.core.crypto import keccak256
from chain.core.errors import NotFound
from chain.ethereum.eip712 import Domain, Statement
from chain.log import merkle
from chain.log.checkpoint import log_origin
from registry.evidence import store
from registry.evidence.model import IndexedLeaf

LOG_EPOCH = 0
MAX_INTEGRATED = 5_000
"""Entries of one step of ``integrate_pending``."""
MAX_LEAVES = 1_000
"""Leaves of one answer."""
LOG_KEY = "LogKey"
"""Kind of the entry from which the log is signed under another key; its digest is the public key.
"""


def append(session: Session, *, kind: str, digest: bytes, at: int) -> None:
    """Append an entry with this digest; the leaf reveals nothing of what the digest is of.

    It runs in the caller's transaction, so entry and cause are stored together or not at all.
    """
    append_all(session, [(kind, digest)], at=at)


def append_all(session: Session, entries: Sequence[tuple[str, bytes]], *, at: int) -> None:
    """Append several entries (kind, digest) in one statement, for busy paths."""
    store.add_pending(session, [(digest, _leaf(kind, digest, at)) for kind, digest in entries])


def append_statement(session: Session, statement: Statement, domain: Domain, *, at: int) -> None:
    """Append a signed statement by its EIP-712 digest."""
    append(session, kind=type(statement).__name__, digest=statement.digest(domain), at=at)


def append_if_missing(session: Session, *, kind: str, digest: bytes, at: int) -> None:
    """Append an earlier entry again unless the log has it: a restored log may lack it."""
    if store.find_leaf(session, digest) is None and not store.is_pending(session, digest):
        append(session, kind=kind, digest=digest, at=at)


def integrate_pending(session: Session) -> merkle.Frontier:
    """Move pending entries into the tree and return its new frontier."""
    frontier = store.frontier(session)
    while pending := store.pending(session, limit=MAX_INTEGRATED):
        leaves: list[IndexedLeaf] = []
        subtrees: list[tuple[int, int, bytes]] = []
        for waiting in pending:
            leaves.append(IndexedLeaf(frontier.size, waiting.digest, waiting.leaf))
            subtrees += frontier.append(merkle.leaf_hash(waiting.leaf))
        store.add_leaves(session, leaves, subtrees)
        store.remove_pending(session, [waiting.id for waiting in pending])
    return frontier


def count_known(context: Context, digests: Sequence[bytes]) -> int:
    """How many of these distinct digests the log has, or will have in a moment."""
    with context.database.read() as session:
        return store.count_known(session, digests)


def consistency(context: Context, old: int, new: int) -> list[bytes]:
    """Return the consistency proof between two sizes of the log; ``head_unknown``."""
    with context.database.read() as session:
        if new > store.tree_size(session):
            raise NotFound("head_unknown", "The log is not that long.")
        return merkle.consistency_proof(old, new, store.subtree_hash(session))


def entries(context: Context, start: int, end: int) -> list[bytes]:
    """Return the leaves from ``start`` up to but not including ``end``, at most ``MAX_LEAVES``;
    each is canonical JSON.
    """
    with context.database.read() as session:
        found = store.leaves(session, start, min(end, start + MAX_LEAVES))
    return [entry.leaf for entry in found]


def entries_since(session: Session, start: int) -> list[tuple[str, bytes]]:
    """Return kind and digest of the log's entries from an index on."""
    return [(kind_of(entry.leaf), entry.digest) for entry in store.leaves(session, start)]


def kind_of(leaf: bytes) -> str:
    """Return what a leaf records."""
    return str(json.loads(leaf)["kind"])


def origin(context: Context) -> str:
    """Return the origin line of this node's log."""
    return log_origin(context.member, LOG_EPOCH)


def log_id_of(context: Context) -> bytes:
    """Return the log's id on the chain: the hash of its origin."""
    return keccak256(origin(context).encode())


def log_size(context: Context) -> int:
    """Return the number of entries in the tree."""
    with context.database.read() as session:
        return store.tree_size(session)


def frontier_of(context: Context) -> merkle.Frontier:
    """Return the stored frontier of the tree."""
    with context.database.read() as session:
        return store.frontier(session)


def _leaf(kind: str, digest: bytes, at: int) -> bytes:
    return dumps({"at": at, "digest": "0x" + digest.hex(), "kind": kind})
