"""Anchors of the node's own log on the chain, and the entries they prove.

An anchor follows within 60 s of an entry. It is complete once header, seals and storage proof are
stored with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import (
    Conflict,
    NotFound,
    QiaolianError,
)
from chain.ethereum.records import LogRecord
from chain.ethereum.storage_proofs import StorageProof
from chain.ethereum.view import ProvedStorage
from chain.log import checkpoint, merkle
from chain.outbox import Priority, enqueue, next_attempt, outcome, refused
from registry.evidence.checkpoints import require_current
from registry.evidence.log import LOG_EPOCH, log_id_of, subtree_hash
from registry.evidence.store import (
    LogAnchor,
    LogEntry,
    LogHead,
    PendingEntry,
)

ANCHOR_SECONDS = 50
"""Leaves 10 s for the transaction, so that an entry is anchored within 60 s."""


def anchor_if_due(
    context: Context, *, seconds: float = ANCHOR_SECONDS, at_once: bool = False
) -> bool:
    """Queue an anchor of the latest head if the last anchor is ``seconds`` old.

    Returns whether an anchor was queued.
    """

    def change(session: Session) -> bool:
        head = session.scalars(sa.select(LogHead).order_by(LogHead.size.desc()).limit(1)).first()
        last = session.scalars(
            sa.select(LogAnchor).order_by(LogAnchor.size.desc()).limit(1)
        ).first()
        if head is None or (
            last is not None and last.size >= head.size and not refused(session, last.operation)
        ):
            return False
        if (
            last is not None
            and not at_once
            and context.now() - last.asked_at < min(seconds, ANCHOR_SECONDS)
        ):
            return False
        operation = next_attempt(session, f"anchor/{LOG_EPOCH}/{head.size}")
        session.merge(
            LogAnchor(size=head.size, root=head.root, operation=operation, asked_at=context.now())
        )
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
    """Store header, seals and storage proof of each anchor in a block; only then is it complete.

    Returns how many were completed. Each anchor has its own proof, since a statement under a key
    that has ended needs an anchor from before the end.
    """
    done = 0
    with context.database.read() as session:
        waiting = list(
            session.scalars(
                sa.select(LogAnchor).where(LogAnchor.height.is_(None)).order_by(LogAnchor.size)
            )
        )
        outcomes = [(log_anchor, outcome(session, log_anchor.operation)) for log_anchor in waiting]
    head = context.view.head.height
    for anchor, status in outcomes:
        if status.code in _OTHER_LOG and (status.height or 0) <= head:
            _require_same_log(context, anchor, status.code)
    final = [
        (log_anchor, status.height)
        for log_anchor, status in outcomes
        if status.state == "done" and status.height is not None and status.height <= head
    ]
    if not final:
        return 0
    rows = _proved_rows(context, final)

    def change(session: Session) -> None:
        nonlocal done
        for size, proved in rows.items():
            row = session.get(LogAnchor, size)
            if row is not None:
                row.height, row.header, row.proof, done = (
                    proved.height,
                    proved.header,
                    proved.proofs,
                    done + 1,
                )

    context.database.write(change)
    return done


_OTHER_LOG = ("log_shrinks", "root_conflict")
"""Reverts of an anchor that mean the chain has another history of this log."""


def _require_same_log(context: Context, anchor: LogAnchor, code: str) -> None:
    """Raise for a refused anchor only if this log lacks the head that the chain provably anchors.

    A refusal that only the RPC node reports is not enough: the anchor is queued again.
    """
    try:
        require_current(context)
    except Conflict as error:
        raise Conflict(
            "anchor_refused",
            f"The chain refused to anchor this log at {anchor.size} entries ({code}).",
            hint="The chain is ahead of this database: stop the node and run `qiaolian node "
            "recover`, see docs/operations.md.",
        ) from error


@dataclass(frozen=True)
class _ProvedAnchor:
    height: int
    header: bytes | None = None
    proofs: str | None = None


def _proved_rows(
    context: Context, final: Sequence[tuple[LogAnchor, int]]
) -> dict[int, _ProvedAnchor]:
    """Return the row to store for each anchor.

    The contract stores the latest size and root only. An anchor that a later one replaced in the
    same block, or on an engine without old state, has no proof; the later anchor's proof covers it.
    """
    rows: dict[int, _ProvedAnchor] = {}
    for anchor, height in reversed(final):
        proved = _proved(context, anchor, height)
        if proved is not None:
            rows[anchor.size] = proved
        elif rows:
            rows[anchor.size] = _ProvedAnchor(height)
    return rows


def _proved(context: Context, anchor: LogAnchor, height: int) -> _ProvedAnchor | None:
    """Prove an anchor in its own block, or at the head if the engine has no older state."""
    try:
        size, root = _anchor_values(context, height)
    except QiaolianError:
        size, root = _anchor_values(context, None)
    if root.proof.value != int.from_bytes(anchor.root, "big"):
        return None
    return _ProvedAnchor(
        size.header.height,
        size.header.header_rlp,
        json.dumps([_proof_json(size.proof), _proof_json(root.proof)]),
    )


def _anchor_values(context: Context, height: int | None) -> tuple[ProvedStorage, ProvedStorage]:
    log_id = log_id_of(context)
    size = context.view.proof("EvidenceLog", "logs", log_id, height=height)
    return size, context.view.proof("EvidenceLog", "roots", log_id, height=size.header.height)


@dataclass(frozen=True)
class AnchoredEntry:
    """A log entry with its index, inclusion path, checkpoint and the anchor's storage proof."""

    index: int
    leaf: bytes
    path: list[bytes]
    size: int
    note: str
    header: bytes
    proofs: list[StorageProof]
    key: bytes
    """The log key that signed the checkpoint."""


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
                return [_anchored(session, entry, *found) for entry in entries]
    raise Conflict(
        "key_ended",
        "A key ended before an anchor showed what it had signed.",
        hint="What is anchored later proves nothing for an ended key; "
        "anchors follow within a minute of an entry.",
    )


def _anchors_after(session: Session, index: int, up_to: int) -> list[int]:
    """Return sizes of proved anchors that include the entry: most cosigned first, then earliest."""
    query = sa.select(LogAnchor.size, LogHead.cosignatures).join(
        LogHead, LogHead.size == LogAnchor.size
    )
    query = query.where(LogAnchor.header.is_not(None), LogAnchor.size > index)
    if up_to:
        query = query.where(LogAnchor.height <= up_to)
    rows = session.execute(query).all()
    return [
        row.size for row in sorted(rows, key=lambda row: (-row.cosignatures.count("\n"), row.size))
    ]


def _usable(
    session: Session, size: int, keys: Mapping[bytes, int], before: int
) -> tuple[LogAnchor, LogHead, bytes] | None:
    """Return anchor, head and log key if anchored before the height under a key live then."""
    anchor, head = session.get_one(LogAnchor, size), session.get_one(LogHead, size)
    anchored_at = LogRecord.decode(_proofs_of(anchor)[0].value).anchored_at
    if before and anchored_at >= before:
        return None
    for key, end in keys.items():
        if checkpoint.signed_by(head.note, key) and not (end and anchored_at >= end):
            return anchor, head, key
    return None


def _proofs_of(anchor: LogAnchor) -> list[StorageProof]:
    return [_proof_from(load) for load in json.loads(anchor.proof or "[]")]


def _entry(session: Session, digest: bytes) -> LogEntry:
    entry = session.scalars(
        sa.select(LogEntry).where(LogEntry.digest == digest).order_by(LogEntry.index)
    ).first()
    if entry is not None:
        return entry
    if (
        session.scalars(sa.select(PendingEntry).where(PendingEntry.digest == digest)).first()
        is not None
    ):
        raise Conflict(
            "entry_not_anchored",
            "The entry is not anchored yet.",
            hint="Anchors follow within a minute.",
        )
    raise NotFound("entry_unknown", "This node's log has no such entry.")


def _anchored(
    session: Session, entry: LogEntry, anchor: LogAnchor, head: LogHead, key: bytes
) -> AnchoredEntry:
    assert anchor.header is not None
    return AnchoredEntry(
        index=entry.index,
        leaf=entry.leaf,
        path=merkle.inclusion_proof(entry.index, anchor.size, subtree_hash(session)),
        size=anchor.size,
        note=head.note + head.cosignatures,
        header=anchor.header,
        proofs=_proofs_of(anchor),
        key=key,
    )


def has_anchored(context: Context, size: int) -> bool:
    """Return whether a proved anchor includes the log's first ``size`` entries."""
    query = (
        sa.select(LogAnchor.size)
        .where(LogAnchor.header.is_not(None), LogAnchor.size >= size)
        .limit(1)
    )
    with context.database.read() as session:
        return not size or session.scalar(query) is not None


def is_anchored_by(context: Context, key: bytes) -> bool:
    """Return whether this key signed the head of the newest proved anchor."""
    query = (
        sa.select(LogHead.note)
        .join(LogAnchor, LogAnchor.size == LogHead.size)
        .where(LogAnchor.header.is_not(None))
    )
    with context.database.read() as session:
        note = session.scalar(query.order_by(LogHead.size.desc()).limit(1))
    return note is not None and checkpoint.signed_by(note, key)


def _proof_json(proof: StorageProof) -> dict[str, Any]:
    return {
        "address": proof.address,
        "slot": proof.slot.hex(),
        "value": str(proof.value),
        "account": [value.hex() for value in proof.account_proof],
        "storage": [value.hex() for value in proof.storage_proof],
    }


def _proof_from(value: dict[str, Any]) -> StorageProof:
    return StorageProof(
        address=value["address"],
        slot=bytes.fromhex(value["slot"]),
        value=int(value["value"]),
        account_proof=tuple(bytes.fromhex(item) for item in value["account"]),
        storage_proof=tuple(bytes.fromhex(item) for item in value["storage"]),
    )
