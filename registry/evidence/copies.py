"""A supervisor's copies of other members' logs.

A supervisor cosigns a head only when it has every leaf under it. A member that loses its disk
restores its log from such a copy, and the supervisor can prove that nothing was removed. Leaves are
digests of salted content: a copy shows number and times of entries, and nothing of their content.
"""

from __future__ import annotations

from chain.context import Context
from chain.core.errors import VerificationError
from chain.log import merkle
from chain.log.checkpoint import Checkpoint, log_origin
from registry.evidence import peers, witness_store
from registry.evidence.log import LOG_EPOCH
from registry.evidence.model import CopiedHourCount, CopiedLeaf, CopiedLeaves

MAX_COPIED = 1_000
"""Leaves of one answer."""
MAX_FOUND = 20
"""Entries that are shown of one digest."""


async def copy(context: Context, member: str, head: Checkpoint) -> None:
    """Copy a member's leaves up to a head that it signed.

    A batch is stored only when it is proved to be under that head.

    Raises:
        Conflict: ``log_copy_differs``; Unavailable: when the member cannot be asked (what was
            copied stays).
    """
    frontier = await context.database.aread(
        lambda session: witness_store.copied_frontier(session, head.origin)
    )
    while frontier.size < head.size:
        start = frontier.size
        end = min(head.size, start + MAX_COPIED)
        leaves = await peers.fetch_leaves(context, member, start, end)
        for leaf in leaves:
            extend(frontier, leaf)
        await _require_under(context, member, frontier, head)
        await _store(context, head.origin, leaves, frontier)


async def _store(
    context: Context, origin: str, leaves: list[bytes], frontier: merkle.Frontier
) -> None:
    await context.database.awrite(
        lambda session: witness_store.add_copied(session, origin, leaves, frontier)
    )


def extend(frontier: merkle.Frontier, leaf: bytes) -> list[tuple[int, int, bytes]]:
    """Add a leaf; the subtrees that it completes."""
    return list(frontier.append(merkle.leaf_hash(leaf)))


async def _require_under(
    context: Context, member: str, frontier: merkle.Frontier, head: Checkpoint
) -> None:
    path: list[bytes] = []
    try:
        if frontier.size != head.size:
            path = await peers.fetch_consistency(context, member, frontier.size, head.size)
        merkle.require_consistent(frontier.size, frontier.root(), head.size, head.root, path)
    except (VerificationError, ValueError) as error:
        raise peers.differs() from error


def copied_leaves(context: Context, origin: str, start: int, end: int) -> CopiedLeaves:
    """What is held of a log: its size, and the leaves ``start`` to ``end`` (not included), at most
    a thousand.
    """
    with context.database.read() as session:
        size = witness_store.copied_size(session, origin)
        last = min(end, start + MAX_COPIED)
        return CopiedLeaves(size, witness_store.copied_leaves(session, origin, start, last))


def hours(context: Context, since: int) -> list[CopiedHourCount]:
    """What the copied logs got in each hour from a moment on, all members together."""
    with context.database.read() as session:
        return witness_store.copied_hours(session, since)


def find(context: Context, digest: bytes) -> list[CopiedLeaf]:
    """Entries of other members' logs that are of a statement or event with this digest."""
    with context.database.read() as session:
        return witness_store.find_copied(session, digest, limit=MAX_FOUND)


def at(context: Context, member: str, index: int) -> CopiedLeaf | None:
    """The copied leaf at an index of a member's log, or None."""
    with context.database.read() as session:
        return witness_store.copied_leaf(session, log_origin(member, LOG_EPOCH), index)
