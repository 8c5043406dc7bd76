"""Recovery of log entries that a restored backup lacks, from the supervisors' copies.

1. The chain reports the last anchored head and each supervisor the last head it cosigned. All must
   answer: a head that is not reported could be signed a second time.
2. A supervisor's copy is appended to the own tree. It is accepted only if every head of step 1 is a
   root of the tree at its size: then tree, copy, anchor and cosignatures agree.
3. Entries, heads and dependent rows are stored in one transaction. The log continues at its next
   index under the same origin.

If no copy is long enough, or the histories differ, nothing is changed.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Conflict, QiaolianError
from chain.log import merkle
from chain.log.checkpoint import Checkpoint
from registry.evidence import checkpoints, peers, store
from registry.evidence import log as evidence_log
from registry.evidence import supervisors as evidence_supervisors
from registry.evidence.copies import MAX_COPIED, extend
from registry.evidence.model import IndexedLeaf


@dataclass(frozen=True)
class LostEntries:
    """Verified lost entries: leaves from index ``start``, their subtrees and proving heads."""

    start: int
    leaves: Sequence[bytes]
    subtrees: Sequence[tuple[int, int, bytes]]
    heads: Sequence[Checkpoint]

    @property
    def size(self) -> int:
        """Return the size of the log with these entries."""
        return self.start + len(self.leaves)


async def find_lost_entries(context: Context) -> LostEntries | None:
    """Return the entries that this database lacks of its own log; None when it lacks none.

    Raises:
        Conflict: ``log_entries_missing`` when no copy reaches the last known head, ``log_diverged``
            when this database holds another history;
            Unavailable: ``chain_view_stale``, or a supervisor that cannot be asked;
                VerificationError: ``checkpoint_signature`` and others, of a supervisor that shows a
                head this log did not sign.
    """
    records = await context.view.aproved(
        [
            *evidence_supervisors.supervisor_records(context),
            *checkpoints.head_records(context),
        ]
    )
    supervisors = evidence_supervisors.supervisors_in(context, records)
    anchor = checkpoints.anchored_head_in(context, records)
    seen = dict(
        zip(
            supervisors,
            await asyncio.gather(
                *(_witnessed_by(context, supervisor) for supervisor in supervisors)
            ),
            strict=True,
        )
    )
    known = [item for item in (anchor, *seen.values()) if item is not None]
    lost = [item for item in known if not await asyncio.to_thread(_is_own, context, item)]
    if not lost:
        return None
    frontier = await asyncio.to_thread(evidence_log.frontier_of, context)
    if min(item.size for item in lost) <= frontier.size:
        raise Conflict(
            "log_diverged",
            "This database's log holds other entries than those the chain "
            "or a supervisor has seen at the same places.",
            hint="It cannot be continued. Restore another copy of the database.",
            size=frontier.size,
        )
    heads = sorted({item.size: item for item in lost}.values(), key=lambda item: item.size)
    return await _from_copies(
        context,
        [supervisor for supervisor in supervisors if seen[supervisor]],
        frontier,
        heads,
        lost,
    )


async def _from_copies(
    context: Context,
    supervisors: Sequence[str],
    frontier: merkle.Frontier,
    heads: Sequence[Checkpoint],
    lost: Sequence[Checkpoint],
) -> LostEntries:
    refusal: QiaolianError | None = None
    for supervisor in supervisors:
        try:
            leaves = await _copy_of(context, supervisor, frontier.size, heads[-1].size)
            return _checked(merkle.Frontier(frontier.size, frontier.hashes), leaves, heads, lost)
        except QiaolianError as error:
            refusal = error
    raise Conflict(
        "log_entries_missing",
        f"No supervisor holds this log's entries up to {heads[-1].size}, the last size that is "
        f"known of it; this database has {frontier.size}.",
        hint="Restore a newer copy of the database, or try again when the supervisors have theirs.",
        cause=refusal.code if refusal else "",
    ) from refusal


async def _copy_of(context: Context, supervisor: str, start: int, end: int) -> list[bytes]:
    leaves: list[bytes] = []
    while start + len(leaves) < end:
        at = start + len(leaves)
        leaves += await peers.fetch_copied(context, supervisor, at, min(end, at + MAX_COPIED))
    return leaves


def _checked(
    frontier: merkle.Frontier,
    leaves: Sequence[bytes],
    heads: Sequence[Checkpoint],
    lost: Sequence[Checkpoint],
) -> LostEntries:
    """The leaves, if every head that is known of the log is the root of the tree at its size."""
    start, subtrees, roots = frontier.size, [], {}
    wanted = {item.size for item in lost}
    for leaf in leaves:
        subtrees += extend(frontier, leaf)
        if frontier.size in wanted:
            roots[frontier.size] = frontier.root()
    if any(roots.get(item.size) != item.root for item in lost):
        raise Conflict(
            "log_copy_differs",
            "A supervisor's copy of this log is not what the chain and the witnesses' heads prove.",
        )
    return LostEntries(start, leaves, subtrees, heads)


async def _witnessed_by(context: Context, supervisor: str) -> Checkpoint | None:
    """The last head a supervisor cosigned; unlike at a start, one that cannot be asked or read ends
    the search.
    """
    note = await peers.fetch_witnessed(context, supervisor)
    if note is None:
        return None
    head = checkpoints.read_own(context, note)
    if head.origin != evidence_log.origin(context):
        raise Conflict("log_origin_wrong", "A supervisor shows a head of another log.")
    return head


def _is_own(context: Context, head: Checkpoint) -> bool:
    with context.database.read() as session:
        own = store.find_head(session, head.size)
    return own is not None and own.root == head.root


def restore_entries(context: Context, session: Session, found: LostEntries) -> None:
    """Store what ``find_lost_entries`` found, in the caller's transaction. Heads are signed again,
    byte for byte as they were (RFC 8032).

    Entries that were waiting when the backup was made and are in the recovered part do not enter
    twice; anchors that were under way then can only be refused by a chain that is further, and are
    forgotten: the next one covers them.
    """
    if store.tree_size(session) != found.start:
        raise Conflict(
            "log_moved",
            "The log has grown since it was compared.",
            hint="Stop the node, then recover again.",
        )
    leaves = [
        IndexedLeaf(found.start + place, _digest_of(leaf), leaf)
        for place, leaf in enumerate(found.leaves)
    ]
    store.add_leaves(session, leaves, found.subtrees)
    _drop_waiting(session, Counter(found.leaves))
    for head in found.heads:
        store.save_head(session, checkpoints.signed_head(context, head))
    store.delete_waiting_anchors(session, up_to=found.size)


def _digest_of(leaf: bytes) -> bytes:
    return bytes.fromhex(json.loads(leaf)["digest"][2:])


def _drop_waiting(session: Session, entered: Counter[bytes]) -> None:
    dropped = []
    for waiting in store.pending(session):
        if entered[waiting.leaf]:
            entered[waiting.leaf] -= 1
            dropped.append(waiting.id)
    store.remove_pending(session, dropped)
