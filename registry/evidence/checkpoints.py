"""Signed checkpoints of the node's own log, and the cosignatures that witnesses add to them.

A checkpoint follows within 5 s of an entry. None is signed while the chain anchors a head that this
database does not have.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import BadSignature, Conflict, NotFound
from chain.ethereum.proved_records import (
    ProvedRecords,
    StorageKey,
    log_record,
    log_root_record,
)
from chain.log import checkpoint
from chain.log.checkpoint import Checkpoint
from registry.evidence import store
from registry.evidence.keys import log_keys
from registry.evidence.log import LOG_KEY, append, integrate_pending, log_id_of, origin
from registry.evidence.model import HeadsToCosign, LogSummary, SignedHead
from registry.evidence.peers import MAX_HEADS

CHECKPOINT_SECONDS = 5


@dataclass
class AnchorComparison:
    """Whether this process has checked that its log holds the head that the chain anchors."""

    passed: bool = False


def make_checkpoint(context: Context) -> Checkpoint | None:
    """Sign the current head unless it is signed already; None while the log is empty.

    Raises:
        Conflict: ``log_behind_chain`` when the chain anchors a head this database does not have: a
            sequence position in use is never signed twice.
    """
    comparison = context.services.get(AnchorComparison, AnchorComparison)
    if not comparison.passed:
        require_current(context)
        comparison.passed = True

    return context.database.write(lambda session: _sign_head(context, session))


def _sign_head(context: Context, session: Session) -> Checkpoint | None:
    frontier = integrate_pending(session)
    if frontier.size == 0:
        return None
    head = store.find_head(session, frontier.size)
    if head is not None and not checkpoint.signed_by(head.note, context.log_signer.public_key):
        # The log's key was replaced: its first head under the new key extends the last one under
        # the old key.
        append(session, kind=LOG_KEY, digest=context.log_signer.public_key, at=context.now())
        frontier, head = integrate_pending(session), None
    if head is not None:
        return Checkpoint(origin(context), frontier.size, head.root)
    made = Checkpoint(origin(context), frontier.size, frontier.root())
    store.save_head(session, signed_head(context, made))
    return made


def signed_head(context: Context, head: Checkpoint) -> SignedHead:
    """Sign a head of this log with its current key."""
    note = checkpoint.sign(head, context.log_signer)
    return SignedHead(head.size, head.root, note, made_at=context.now())


def require_current(context: Context) -> None:
    """Require that this database has the head that the chain anchors.

    A database restored from a backup may lack it.

    Raises:
        Conflict: ``log_behind_chain``; Unavailable: ``chain_view_stale``.
    """
    head = anchored_head(context)
    if head is not None:
        require_own_head(
            context, head.size, head.root, code="log_behind_chain", holder="The chain anchors"
        )


def anchored_head(context: Context) -> Checkpoint | None:
    """Return the proved head of this log that the chain anchors; ``chain_view_stale``."""
    return anchored_head_in(context, context.view.proved(head_records(context)))


def head_records(context: Context) -> tuple[StorageKey, StorageKey]:
    """Return the records of this log's anchored head."""
    log_id = log_id_of(context)
    return log_record(log_id), log_root_record(log_id)


def anchored_head_in(context: Context, records: ProvedRecords) -> Checkpoint | None:
    """Return the head of this log that the chain anchors, by its records; None before the first."""
    log_id = log_id_of(context)
    size = records.log(log_id).size
    return Checkpoint(origin(context), size, records.log_root(log_id)) if size else None


def cosigned(context: Context) -> tuple[int | None, int | None]:
    """Return when this log was last cosigned and since when a checkpoint waits for a cosignature.

    Both are in Unix seconds, None where there is none.
    """
    with context.database.read() as session:
        last = store.latest_cosigned_head(session)
        waiting = store.first_head_after(session, 0 if last is None else last.size)
    if last is None:
        return None, waiting
    return checkpoint.cosigned_at(last.cosignatures), waiting


def read_own(context: Context, note: str) -> Checkpoint:
    """Read a head of this node's log that one of its present or former keys signed.

    Raises:
        VerificationError: ``checkpoint_signature``, ``checkpoint_malformed``.
    """
    return checkpoint.verify(note, log_key=signing_key(context, note), witnesses={}).checkpoint


def signing_key(context: Context, note: str) -> bytes:
    """Return this node's log key that signed a note, or the current key if none did."""
    return next(
        (key for key in context.own_log_keys if checkpoint.signed_by(note, key)),
        context.log_signer.public_key,
    )


def require_own_head(context: Context, size: int, root: bytes, *, code: str, holder: str) -> None:
    with context.database.read() as session:
        head, own = store.find_head(session, size), store.tree_size(session)
    if head is None or head.root != root:
        raise Conflict(
            code,
            f"{holder} a head of this log at {size} entries that this "
            f"database, with {own}, does not have.",
            hint="The database is older than the log: stop the node and run `qiaolian node "
            "recover`, see docs/operations.md.",
        )


def summary(context: Context) -> LogSummary:
    """Return the state of this node's log."""
    with context.database.read() as session:
        return LogSummary(origin(context), store.tree_size(session), store.latest_head(session))


def latest_head(context: Context) -> SignedHead | None:
    """Return the newest checkpoint with its cosignatures; None while the log is empty."""
    with context.database.read() as session:
        return store.latest_head(session)


def heads_for(context: Context, witness: str) -> HeadsToCosign:
    """Return the newest checkpoint and the anchored ones that this witness has not cosigned.

    Bundles use anchored checkpoints. A node whose database may be older than its log returns no
    head, since an older head would look like a log that shrank.
    """
    if context.require_current_database is not None:
        context.require_current_database()
    with context.database.read() as session:
        anchored = store.anchored_notes_without(session, witness, limit=MAX_HEADS)
        return HeadsToCosign(store.latest_head(session), anchored)


def store_cosignature(context: Context, witness: str, size: int, line: str) -> None:
    """Verify a witness' cosignature and store it with its checkpoint."""
    keys = [key for key, record in log_keys(context, witness).items() if record.live]

    def change(session: Session) -> None:
        head = store.find_head(session, size)
        if head is None:
            raise NotFound("head_unknown", "There is no such checkpoint.")
        if store.is_cosigned_by(head, witness):
            return
        if line.count("\n") != 1 or not any(
            _is_cosigned(context, head.note, line, witness, key) for key in keys
        ):
            raise BadSignature(
                "checkpoint_signature", "The line is not the witness' own cosignature."
            )
        store.add_cosignature(session, size, line)

    context.database.write(change)


def _is_cosigned(context: Context, note: str, line: str, witness: str, key: bytes) -> bool:
    read = checkpoint.verify(
        note + line, log_key=signing_key(context, note), witnesses={witness: key}
    )
    return witness in read.witnesses and not read.ignored
