"""Proofs that entries of the node's own log are anchored on the chain: an entry's path in the tree,
the signed checkpoint over the tree, and the proof of its anchor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Conflict, NotFound
from chain.log import checkpoint, merkle
from registry.evidence import store
from registry.evidence.model import AnchorProof, IndexedLeaf, SignedHead


@dataclass(frozen=True)
class AnchoredEntry:
    """A log entry with its index, inclusion path, checkpoint and the anchor's storage proof."""

    index: int
    leaf: bytes
    path: list[bytes]
    size: int
    note: str
    anchor: AnchorProof
    key: bytes
    """The log key that signed the checkpoint."""


@dataclass(frozen=True, slots=True)
class _UsableAnchor:
    proof: AnchorProof
    head: SignedHead
    key: bytes
    """The log key that signed the head."""


def anchored_entry(context: Context, digest: bytes) -> AnchoredEntry:
    """Return the entry with this digest; see ``anchored_entries``."""
    return anchored_entries(context, [digest])[0]


def anchored_entries(
    context: Context,
    digests: Sequence[bytes],
    *,
    before: int = 0,
    up_to: int = 0,
    log_keys: Mapping[bytes, int] | None = None,
) -> list[AnchoredEntry]:
    """Return the entries with these digests under one complete anchor.

    Of several anchors, the one with most cosignatures is used, then the earliest.

    Args:
        before: the anchor's block is below it, e.g. a key's end; 0 for any.
        up_to: the newest header the anchor may be proved under; 0 for any.
        log_keys: this log's keys with the heights they ended at (0 while live); without them, those
            it is or was signed with.

    Raises:
        NotFound: ``entry_unknown``; Conflict: ``entry_not_anchored`` when no anchor includes them
            all yet, ``key_ended`` when one does, but none ``before``, or none under a log key that
            was live then.
    """
    keys = log_keys or dict.fromkeys(context.own_log_keys, 0)
    with context.database.read() as session:
        entries = [_entry(session, digest) for digest in digests]
        last = max(log_entry.index for log_entry in entries)
        sizes = _anchors_after(session, last, up_to)
        if not sizes:
            raise Conflict(
                "entry_not_anchored",
                "The entry is not anchored yet.",
                hint="Anchors follow within a minute.",
            )
        for size in sizes:
            found = _usable(session, size, keys, before)
            if found is not None:
                return [_anchored(session, entry, found) for entry in entries]
    raise Conflict(
        "key_ended",
        "A key ended before an anchor showed what it had signed.",
        hint="What is anchored later proves nothing for an ended key; "
        "anchors follow within a minute of an entry.",
    )


def _anchors_after(session: Session, index: int, up_to: int) -> list[int]:
    """Return sizes of proved anchors that include the entry: most cosigned first, then earliest."""
    found = store.proved_anchors_after(session, index, up_to=up_to)
    return [size for size, _ in sorted(found, key=lambda item: (-item[1].count("\n"), item[0]))]


def _usable(
    session: Session, size: int, keys: Mapping[bytes, int], before: int
) -> _UsableAnchor | None:
    """Return the anchor of a size if it is from before the height, under a key live then."""
    anchor, head = store.find_anchor(session, size), store.find_head(session, size)
    if anchor is None or anchor.proof is None or head is None:
        return None
    anchored_at = anchor.proof.anchored_at
    if before and anchored_at >= before:
        return None
    for key, end in keys.items():
        if checkpoint.signed_by(head.note, key) and not (end and anchored_at >= end):
            return _UsableAnchor(anchor.proof, head, key)
    return None


def _entry(session: Session, digest: bytes) -> IndexedLeaf:
    entry = store.find_leaf(session, digest)
    if entry is not None:
        return entry
    if store.is_pending(session, digest):
        raise Conflict(
            "entry_not_anchored",
            "The entry is not anchored yet.",
            hint="Anchors follow within a minute.",
        )
    raise NotFound("entry_unknown", "This node's log has no such entry.")


def _anchored(session: Session, entry: IndexedLeaf, found: _UsableAnchor) -> AnchoredEntry:
    head = found.head
    return AnchoredEntry(
        index=entry.index,
        leaf=entry.leaf,
        path=merkle.inclusion_proof(entry.index, head.size, store.subtree_hash(session)),
        size=head.size,
        note=head.note + head.cosignatures,
        anchor=found.proof,
        key=found.key,
    )
