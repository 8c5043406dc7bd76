"""Copies of other members' logs: a supervisor cosigns a head only when it holds every leaf under it.

A member that loses its disk gets its log back from such a copy, leaf by leaf, and anybody who asks the supervisor can be shown that nothing of it was
dropped. Leaves are digests of salted content: a copy tells how much was said and when, which a supervisor may see anyway, and nothing of what.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain import merkle, schema
from chain.canonical import dumps
from chain.checkpoint import Checkpoint
from chain.context import Context
from chain.database import Prepared
from chain.errors import Conflict, QiaolianError, VerificationError
from registry.evidence.store import COPIED, CopiedEntry, CopiedLog

MOST_COPIED = 1_000
MAX_LEAF_BYTES = 1_000
"""A leaf is a time, a digest and a kind: about 150 bytes."""
_FIELDS = {"at", "digest", "kind"}


async def copy(context: Context, member: str, head: Checkpoint) -> None:
    """Copy a member's leaves up to a head that it signed. Each part is kept only when it is proved to lie under that head.

    Raises:
        Conflict: ``log_copy_differs``; Unavailable: when the member cannot be asked (what was copied stays).
    """
    frontier = await asyncio.to_thread(_frontier, context, head.origin)
    while frontier.size < head.size:
        start = frontier.size
        end = min(head.size, start + MOST_COPIED)
        leaves = leaves_of(await context.peers.get(member, f"/v1/peer/log/entries?start={start}&end={end}"), start, end)
        for leaf in leaves:
            extend(frontier, leaf)
        await _require_under(context, member, frontier, head)
        rows = [{"origin": head.origin, "entry_index": start + place, "leaf": leaf} for place, leaf in enumerate(leaves)]
        kept = {"origin": head.origin, "size": frontier.size, "hashes": b"".join(frontier.hashes)}

        def change(session: Session, rows: list[dict[str, Any]] = rows, kept: dict[str, Any] = kept) -> None:
            _KEEP.run(session, rows)
            session.merge(CopiedLog(**kept))

        await context.database.awrite(change)


_KEEP = Prepared(sa.insert(COPIED))


def leaves_of(answer: Any, start: int, end: int) -> list[bytes]:
    """The leaves an answer holds, as the log hashed them: one at least, none beyond what was asked for; ``log_copy_differs``."""
    told = answer.get("entries") if isinstance(answer, dict) else None
    if not isinstance(told, list) or not 0 < len(told) <= end - start:
        raise _differs()
    if not all(isinstance(each, dict) and set(each) == _FIELDS for each in told):
        raise _differs()
    try:
        leaves = [dumps(each) for each in told]
    except QiaolianError as error:
        raise _differs() from error
    if any(len(leaf) > MAX_LEAF_BYTES for leaf in leaves):
        raise _differs()
    return leaves


def extend(frontier: merkle.Frontier, leaf: bytes) -> list[tuple[int, int, bytes]]:
    """Add a leaf; the subtrees that it completes."""
    return list(frontier.append(merkle.leaf_hash(leaf)))


async def _require_under(context: Context, member: str, frontier: merkle.Frontier, head: Checkpoint) -> None:
    path: list[bytes] = []
    try:
        if frontier.size != head.size:
            answer = await context.peers.get(member, f"/v1/peer/log/consistency?old={frontier.size}&new={head.size}")
            path = [schema.hash32(each) for each in answer["path"]]
        merkle.require_consistent(frontier.size, frontier.root(), head.size, head.root, path)
    except (VerificationError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise _differs() from error


def copied(context: Context, origin: str, start: int, end: int) -> dict[str, Any]:
    """What is held of a log: its size, and the leaves ``start`` to ``end`` (not included), at most a thousand."""
    query = sa.select(CopiedEntry.leaf).where(
        CopiedEntry.origin == origin, CopiedEntry.index >= start, CopiedEntry.index < min(end, start + MOST_COPIED)
    )
    with context.database.read() as session:
        kept = session.get(CopiedLog, origin)
        leaves = session.scalars(query.order_by(CopiedEntry.index))
        return {"size": 0 if kept is None else kept.size, "entries": [json.loads(each) for each in leaves]}


def _frontier(context: Context, origin: str) -> merkle.Frontier:
    with context.database.read() as session:
        kept = session.get(CopiedLog, origin)
    if kept is None:
        return merkle.Frontier()
    return merkle.Frontier(kept.size, [kept.hashes[place : place + 32] for place in range(0, len(kept.hashes), 32)])


def _differs() -> Conflict:
    return Conflict(
        "log_copy_differs",
        "The leaves that were handed over are not those under the log's signed head.",
        hint="Nothing of them is kept. Ask the log's holder, or another supervisor.",
    )
