"""Anchors of the node's own log on the chain.

An anchor follows within 60 s of an entry. It is complete once header, seals and the storage proofs
of the log's size and root are stored with it (``inclusion`` then proves entries by it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Conflict, QiaolianError
from chain.ethereum.proved_records import log_record, log_root_record
from chain.log import checkpoint
from chain.outbox import Priority, enqueue, next_attempt, outcome, refused
from registry.evidence import store
from registry.evidence.checkpoints import require_current
from registry.evidence.log import LOG_EPOCH, log_id_of
from registry.evidence.model import Anchor, AnchorProof

ANCHOR_SECONDS = 50
"""Leaves 10 s for the transaction, so that an entry is anchored within 60 s."""


def anchor_if_due(
    context: Context, *, seconds: float = ANCHOR_SECONDS, at_once: bool = False
) -> bool:
    """Queue an anchor of the latest head if the last anchor is ``seconds`` old.

    Returns whether an anchor was queued.
    """

    def change(session: Session) -> bool:
        head, last = store.latest_head(session), store.latest_anchor(session)
        if head is None:
            return False
        if last is not None:
            if last.size >= head.size and not refused(session, last.operation):
                return False
            if not at_once and context.now() - last.asked_at < min(seconds, ANCHOR_SECONDS):
                return False
        operation = next_attempt(session, f"anchor/{LOG_EPOCH}/{head.size}")
        store.save_anchor(session, Anchor(head.size, head.root, operation, context.now()))
        enqueue(
            session,
            sender=context.transaction_address,
            operation_id=operation,
            contract="EvidenceLog",
            function="anchor",
            arguments=[LOG_EPOCH, head.size, head.root],
            priority=Priority.URGENT,
        )
        return True

    return context.database.write(change)


def complete_anchors(context: Context) -> int:
    """Store header, seals and storage proofs of each anchor in a block; only then is it complete.

    Returns how many were completed. Each anchor has its own proof, since a statement under a key
    that has ended needs an anchor from before the end.
    """
    with context.database.read() as session:
        waiting = store.waiting_anchors(session)
        outcomes = [(anchor, outcome(session, anchor.operation)) for anchor in waiting]
    head = context.view.head.height
    for anchor, ended in outcomes:
        if ended.code in _OTHER_LOG and (ended.height or 0) <= head:
            _require_same_log(context, anchor, ended.code)
    reported = [
        (anchor, ended.height)
        for anchor, ended in outcomes
        if ended.state == "done" and ended.height is not None and ended.height <= head
    ]
    completed = _completed(context, reported)
    if completed:
        context.database.write(lambda session: _store(session, completed))
    return len(completed)


_OTHER_LOG = ("log_shrinks", "root_conflict")
"""Reverts of an anchor that mean the chain has another history of this log."""


def _require_same_log(context: Context, anchor: Anchor, code: str) -> None:
    """Raise for a refused anchor only if this log lacks the head that the chain provably anchors.

    A refusal that only the RPC node reports is not enough: the anchor is queued again.
    """
    try:
        require_current(context)
    except Conflict as error:
        raise Conflict(
            "anchor_refused",
            f"The chain refused to anchor this log at {anchor.size} entries ({code}).",
            hint="The chain is ahead of this database: stop the node and run "
            "`qiaolian node recover`, see docs/operations.md.",
        ) from error


def _completed(
    context: Context, reported: Sequence[tuple[Anchor, int]]
) -> dict[int, AnchorProof | int]:
    """The proof of each anchor by its size, or the block of one that needs none.

    The contract stores the latest size and root only. An anchor that a later one replaced in the
    same block, or on an engine without old state, has no proof; the later anchor's proof covers it.
    """
    completed: dict[int, AnchorProof | int] = {}
    for anchor, height in reversed(reported):
        proof = _prove(context, height)
        if proof.shows(anchor.size, anchor.root):
            completed[anchor.size] = proof
        elif completed:
            completed[anchor.size] = height
    return completed


def _prove(context: Context, height: int) -> AnchorProof:
    """What the log's records were in a block, or are at the head if the engine has no older
    state.
    """
    log_id = log_id_of(context)
    size, root = log_record(log_id), log_root_record(log_id)
    try:
        proved = context.view.proofs([size, root], height=height)
    except QiaolianError:
        proved = context.view.proofs([size, root])
    header = proved.header
    return AnchorProof(header.height, header.header_rlp, proved.proofs[size], proved.proofs[root])


def _store(session: Session, completed: Mapping[int, AnchorProof | int]) -> None:
    for size, proof in completed.items():
        if isinstance(proof, AnchorProof):
            store.complete_anchor(session, size, proof.height, proof)
        else:
            store.complete_anchor(session, size, proof, None)


def latest(context: Context) -> Anchor | None:
    """Return the anchor of the largest size, complete or queued; None before the first."""
    with context.database.read() as session:
        return store.latest_anchor(session)


def has_anchored(context: Context, size: int) -> bool:
    """Return whether a proved anchor includes the log's first ``size`` entries."""
    with context.database.read() as session:
        return not size or store.is_proved(session, size)


def is_complete(context: Context) -> bool:
    """Whether a proved anchor includes every entry that has a checkpoint."""
    with context.database.read() as session:
        head = store.latest_head(session)
        return head is None or store.is_proved(session, head.size)


def is_anchored_by(context: Context, key: bytes) -> bool:
    """Return whether this key signed the head of the newest proved anchor."""
    with context.database.read() as session:
        note = store.latest_proved_note(session)
    return note is not None and checkpoint.signed_by(note, key)
