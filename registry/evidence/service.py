"""The log's life: entries wait in the transaction of what they record, enter the tree in order, are
checkpointed, anchored and cosigned.

``append`` costs one insert, so a metered call pays almost nothing for its evidence;
``integrate_pending`` (every second) does the hashing for many entries at once. A checkpoint follows
within 5 s of an entry, an anchor within 60 s.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core import schema
from chain.core.canonical import dumps
from chain.core.crypto import keccak256
from chain.core.database import PreparedStatement
from chain.core.errors import (
    BadSignature,
    Conflict,
    NotFound,
    QiaolianError,
    Unavailable,
    VerificationError,
)
from chain.ethereum.eip712 import Domain, Statement
from chain.ethereum.proved_records import StorageKey, key_record, member_record
from chain.ethereum.records import KeyRecord, LogRecord, MemberRecord
from chain.ethereum.storage_proofs import StorageProof
from chain.ethereum.view import ProvedStorage
from chain.log import checkpoint, merkle
from chain.log.checkpoint import Checkpoint, log_origin
from chain.outbox import Priority, enqueue, next_attempt, outcome, refused
from chain.statements.members import Algorithm, KeyPurpose, Role
from registry.evidence import copies
from registry.evidence.store import (
    ENTRIES,
    PENDING,
    SUBTREES,
    ForkRow,
    LogAnchor,
    LogEntry,
    LogHead,
    PendingEntry,
    WitnessedHead,
)
from registry.members.keys import keys_of
from registry.pages import Page, PageRequest, page_of

LOG_EPOCH = 0
CHECKPOINT_SECONDS = 5
ANCHOR_SECONDS = 50
"""An entry is anchored within 60 s: this, and the time a transaction takes."""
MAX_INTEGRATED = 5_000
MAX_HEADS = 8
MAX_NOTE_CHARACTERS = 10_000
MAX_LEAVES = 1_000
WITNESS_SECONDS = 3.0
"""How long a start waits for a supervisor to tell what it saw."""
RESTORE_GUARD = "evidence.standing"
"""Port: refuses while this database is not known to be as new as what others hold of it."""
LOG_KEY = "LogKey"
"""Kind of the entry with which a log begins to be signed under another key; its digest is the
public key.
"""
_MARK = "— "


def append(session: Session, *, kind: str, digest: bytes, at: int) -> None:
    """Record that something with this digest was said; the leaf holds nothing that could be read
    back.

    Runs in the caller's transaction: either both are kept or neither.
    """
    leaf = dumps({"at": at, "digest": "0x" + digest.hex(), "kind": kind})
    session.execute(sa.insert(PendingEntry).values(digest=digest, leaf=leaf))


def append_all(session: Session, entries: Sequence[tuple[str, bytes]], *, at: int) -> None:
    """``append`` of several (kind, digest) at once, for paths that must be quick."""
    rows = [
        {"digest": digest, "leaf": dumps({"at": at, "digest": "0x" + digest.hex(), "kind": kind})}
        for kind, digest in entries
    ]
    _APPEND.execute(session, rows)


_APPEND = PreparedStatement(sa.insert(PENDING))


def append_statement(session: Session, statement: Statement, domain: Domain, *, at: int) -> None:
    """Record a signed statement by its EIP-712 digest."""
    append(session, kind=type(statement).__name__, digest=statement.digest(domain), at=at)


def append_if_missing(session: Session, *, kind: str, digest: bytes, at: int) -> None:
    """``append`` of what was said before, unless the log has it: a restored log may end before it."""
    if not any(
        session.execute(sa.select(table.c.digest).where(table.c.digest == digest).limit(1)).first()
        for table in (ENTRIES, PENDING)
    ):
        append(session, kind=kind, digest=digest, at=at)


def integrate_pending(session: Session) -> merkle.Frontier:
    """Move waiting entries into the tree; the tree's frontier then."""
    frontier = _frontier(session)
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


def make_checkpoint(context: Context) -> Checkpoint | None:
    """Sign the current head unless it is signed already; None while the log is empty.

    Raises:
        Conflict: ``log_behind_chain`` when the chain anchors a head this database does not have: a
            used place is never signed twice.
    """
    if not context.ports.get("evidence.checked"):
        require_current(context)
        context.ports["evidence.checked"] = True

    def change(session: Session) -> Checkpoint | None:
        frontier = integrate_pending(session)
        size = frontier.size
        if size == 0:
            return None
        head = session.get(LogHead, size)
        if head is not None and not checkpoint.signed_by(head.note, context.log_signer.public_key):
            # The log's key was replaced: its first head under the new key extends the last one
            # under the old key.
            append(session, kind=LOG_KEY, digest=context.log_signer.public_key, at=context.now())
            frontier = integrate_pending(session)
            size, head = frontier.size, None
        if head is not None:
            return Checkpoint(origin(context), size, head.root)
        made = Checkpoint(origin(context), size, frontier.root())
        session.add(
            LogHead(
                size=size,
                root=made.root,
                note=checkpoint.sign(made, context.log_signer),
                cosignatures="",
                made_at=context.now(),
            )
        )
        return made

    return context.database.write(change)


def require_current(context: Context) -> None:
    """The head that the chain anchors is one of this database's own; only a database put back to an
    older state lacks it.

    Raises:
        Conflict: ``log_behind_chain``; Unavailable: ``chain_view_stale``.
    """
    head = anchored_head(context)
    if head is not None:
        _require_own(
            context, head.size, head.root, code="log_behind_chain", holder="The chain anchors"
        )


def anchored_head(context: Context) -> Checkpoint | None:
    """The head of this log that the chain anchors, proved; ``chain_view_stale``."""
    log_id = log_id_of(context)
    size, root = context.view.proved_values(
        [
            StorageKey("EvidenceLog", "logs", (log_id,)),
            StorageKey("EvidenceLog", "roots", (log_id,)),
        ]
    )
    anchored = LogRecord.decode(size.value).size
    return (
        Checkpoint(origin(context), anchored, root.value.to_bytes(32, "big")) if anchored else None
    )


async def require_witnessed(context: Context) -> None:
    """The head that each supervisor last saw of this log is one of this database's own.

    A supervisor that does not answer is not waited for; one that shows no head signed with this
    log's key has seen nothing.

    Raises:
        Conflict: ``log_behind_witness``.
    """
    supervisors = await supervisors_of(context)
    for note in await asyncio.gather(
        *(_witnessed_by(context, supervisor) for supervisor in supervisors)
    ):
        if note is not None:
            await asyncio.to_thread(
                _require_own,
                context,
                note.size,
                note.root,
                code="log_behind_witness",
                holder="A supervisor has seen",
            )


def cosigned(context: Context) -> tuple[int | None, int | None]:
    """When this log was cosigned last, and when the first checkpoint was made that is longer than
    any cosigned one, in Unix seconds; None where there is none.
    """
    with context.database.read() as session:
        last = session.scalars(
            sa.select(LogHead)
            .where(LogHead.cosignatures != "")
            .order_by(LogHead.size.desc())
            .limit(1)
        ).first()
        later = sa.select(sa.func.min(LogHead.made_at)).where(
            LogHead.size > (0 if last is None else last.size)
        )
        waiting: int | None = session.scalar(later)
    if last is None:
        return None, waiting
    return checkpoint.cosigned_at(last.cosignatures), waiting


def supervised(context: Context) -> bool:
    """Whether a configured peer is a supervisor by the directory; False while that cannot be
    proved.
    """
    members = _other_members(context)
    try:
        records = context.view.proved(map(member_record, members))
    except Unavailable:
        return False
    return any(records.member(member).has_role(Role.SUPERVISOR) for member in members)


async def supervisors_of(context: Context) -> list[str]:
    """The configured peers that the directory shows to be supervisors."""
    members = _other_members(context)
    words = await context.view.aproved_values(
        [StorageKey("MemberDirectory", "members", (member,)) for member in members]
    )
    return [
        member
        for member, word in zip(members, words, strict=True)
        if MemberRecord.decode(word.value).has_role(Role.SUPERVISOR)
    ]


def _other_members(context: Context) -> list[str]:
    return [member for member in context.settings.get("peers", ()) if member != context.member]


async def _witnessed_by(context: Context, supervisor: str) -> Checkpoint | None:
    try:
        async with asyncio.timeout(WITNESS_SECONDS):
            answer = await context.peers.get(supervisor, "/v1/peer/log/seen")
        note = answer["note"]
        head = None if note is None else read_own(context, note)
    except (QiaolianError, TimeoutError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return head if head is not None and head.origin == origin(context) else None


def read_own(context: Context, note: str) -> Checkpoint:
    """A head of this node's log, under a key it is or was signed with; ``checkpoint_signature``,
    ``checkpoint_malformed``.
    """
    return checkpoint.verify(note, log_key=_own_key(context, note), witnesses={}).checkpoint


def _own_key(context: Context, note: str) -> bytes:
    """The own key that signed a head; the present one when none did."""
    return next(
        (key for key in context.own_log_keys if checkpoint.signed_by(note, key)),
        context.log_signer.public_key,
    )


def _require_own(context: Context, size: int, root: bytes, *, code: str, holder: str) -> None:
    with context.database.read() as session:
        head, own = session.get(LogHead, size), size_of(session)
    if head is None or head.root != root:
        raise Conflict(
            code,
            f"{holder} a head of this log at {size} entries that this database, with {own}, does not have.",
            hint="The database is older than the log: stop the node and run `qiaolian node recover`, see docs/operations.md.",
        )


def last_witnessed(context: Context, member: str) -> dict[str, Any]:
    """The last head of a member's log that this node witnessed, for that member to compare its own
    books with.
    """
    with context.database.read() as session:
        row = session.get(WitnessedHead, log_origin(member, LOG_EPOCH))
        return {"note": None if row is None else row.note}


def anchor_if_due(
    context: Context, *, seconds: float = ANCHOR_SECONDS, at_once: bool = False
) -> bool:
    """Ask for the latest head to be anchored when the last anchor is ``seconds`` old; whether one
    was asked for.
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
    """Store header, seals and storage proof of each anchor that is in a block; only then is it
    done. How many became so.

    Each is kept with its own proof: a statement under a key that ended later needs an anchor from
    before the end.
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
"""The contract's refusals of an anchor that say that the chain knows this log otherwise."""


def _require_same_log(context: Context, anchor: LogAnchor, code: str) -> None:
    """Stop for a refused anchor only where the head that the chain is proved to anchor is none of
    this log's own.

    A chain node's word for the refusal alone stops nothing: the anchor is asked for again.
    """
    try:
        require_current(context)
    except Conflict as error:
        raise Conflict(
            "anchor_refused",
            f"The chain refused to anchor this log at {anchor.size} entries ({code}).",
            hint="The chain is ahead of this database: stop the node and run `qiaolian node recover`, see docs/operations.md.",
        ) from error


@dataclass(frozen=True)
class _ProvedAnchor:
    height: int
    header: bytes | None = None
    proofs: str | None = None


def _proved_rows(
    context: Context, final: Sequence[tuple[LogAnchor, int]]
) -> dict[int, _ProvedAnchor]:
    """What is stored of each anchor. The chain keeps the latest size and root only: one that a
    later anchor overtook in its block, or on an engine that keeps no old state, has no proof, and
    the later one's serves it.
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
    """The anchor proved in its own block, which shows it however soon the next one follows; at the
    head where the engine has no older state.
    """
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
    """A log entry with everything a verifier needs: its place, path, checkpoint, and the anchor's
    proof under a sealed header.
    """

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
    """The entry with this digest; see ``anchored_entries``."""
    return anchored_entries(context, [digest])[0]


def anchored_entries(
    context: Context,
    digests: Sequence[bytes],
    *,
    before: int = 0,
    up_to: int = 0,
    log_keys: Mapping[bytes, int] | None = None,
) -> list[AnchoredEntry]:
    """The entries with these digests, all under one anchor that is done: the best witnessed, of
    those the earliest.

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
        hint="What is anchored later proves nothing for an ended key; anchors follow within a minute of an entry.",
    )


def _anchors_after(session: Session, index: int, up_to: int) -> list[int]:
    """Sizes of proved anchors that include the entry: best witnessed first, of those the earliest."""
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
    """The anchor with its head and log key, if it was made before the height and under a key that
    was live then.
    """
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
        path=merkle.inclusion_proof(entry.index, anchor.size, _subtree(session)),
        size=anchor.size,
        note=head.note + head.cosignatures,
        header=anchor.header,
        proofs=_proofs_of(anchor),
        key=key,
    )


def has_anchored(context: Context, size: int) -> bool:
    """Whether a proved anchor of this log includes its first ``size`` entries."""
    query = (
        sa.select(LogAnchor.size)
        .where(LogAnchor.header.is_not(None), LogAnchor.size >= size)
        .limit(1)
    )
    with context.database.read() as session:
        return not size or session.scalar(query) is not None


def is_anchored_by(context: Context, key: bytes) -> bool:
    """Whether the newest proved anchor of this log is of a head that this key signed."""
    query = (
        sa.select(LogHead.note)
        .join(LogAnchor, LogAnchor.size == LogHead.size)
        .where(LogAnchor.header.is_not(None))
    )
    with context.database.read() as session:
        note = session.scalar(query.order_by(LogHead.size.desc()).limit(1))
    return note is not None and checkpoint.signed_by(note, key)


# --- Witnessing -----------------------------------------------------------------------------------


def latest_head(context: Context) -> dict[str, Any]:
    """The newest checkpoint."""
    with context.database.read() as session:
        head = session.scalars(sa.select(LogHead).order_by(LogHead.size.desc()).limit(1)).first()
        if head is None:
            return {"note": None}
        return {"note": head.note, "cosignatures": head.cosignatures, "size": head.size}


def heads_for(context: Context, witness: str) -> dict[str, Any]:
    """The newest checkpoint, and the anchored ones this witness has not cosigned: bundles are made
    from those.

    A node that does not know yet whether its books are the newest shows no head: an older one would
    look like a log that shrank.
    """
    if RESTORE_GUARD in context.ports:
        context.ports[RESTORE_GUARD]()
    query = (
        sa.select(LogHead.note)
        .join(LogAnchor, LogAnchor.size == LogHead.size)
        .where(LogHead.cosignatures.not_like(f"%{_MARK}{witness} %"))
        .order_by(LogHead.size.desc())
        .limit(MAX_HEADS)
    )
    with context.database.read() as session:
        return {**latest_head(context), "anchored": list(session.scalars(query))}


def consistency(context: Context, old: int, new: int) -> list[bytes]:
    """The path from one head to a later one."""
    with context.database.read() as session:
        if new > size_of(session):
            raise NotFound("head_unknown", "The log is not that long.")
        return merkle.consistency_proof(old, new, _subtree(session))


def entries(context: Context, start: int, end: int) -> list[dict[str, Any]]:
    """Leaves ``start`` to ``end`` (not included), at most a thousand."""
    query = sa.select(LogEntry).where(
        LogEntry.index >= start, LogEntry.index < min(end, start + MAX_LEAVES)
    )
    with context.database.read() as session:
        return [json.loads(row.leaf) for row in session.scalars(query.order_by(LogEntry.index))]


def store_cosignature(context: Context, witness: str, size: int, line: str) -> None:
    """Keep a witness' line with the checkpoint it is for, after checking it."""
    keys = [key for key, word in log_keys(context, witness).items() if word.live]

    def change(session: Session) -> None:
        head = session.get(LogHead, size)
        if head is None:
            raise NotFound("head_unknown", "There is no such checkpoint.")
        if f"{_MARK}{witness} " in head.cosignatures:
            return
        if line.count("\n") != 1 or not any(
            _is_cosigned(context, head.note, line, witness, key) for key in keys
        ):
            raise BadSignature(
                "checkpoint_signature", "The line is not the witness' own cosignature."
            )
        head.cosignatures += line

    context.database.write(change)


def _is_cosigned(context: Context, note: str, line: str, witness: str, key: bytes) -> bool:
    read = checkpoint.verify(note + line, log_key=_own_key(context, note), witnesses={witness: key})
    return witness in read.witnesses and not read.ignored


async def witness(context: Context, member: str) -> int | None:
    """Check another member's newest head, and its anchored ones, against the last one seen; cosign
    each and hand the lines back.

    The newest size is the answer. A head that does not agree with what was seen is kept as a fork
    and refused. A supervisor cosigns only what it holds every leaf of (``copies``).
    """
    note, anchored = read_heads(await context.peers.get(member, "/v1/peer/log/head"))
    if note is None:
        return None
    keys = await asyncio.to_thread(log_keys, context, member)
    newest = _read_head(member, note, keys)
    if not newest.by_live_key:
        raise Conflict(
            "log_key_ended",
            "A member shows the head of its log under a key that has ended.",
            hint=_LOG_KEY_HINT,
        )
    await _require_not_shrunk(context, newest.checkpoint, note)
    heads = {
        head.checkpoint.size: head
        for head in (newest, *(_read_head(member, older, keys) for older in anchored))
    }
    # What an ended key signed counts as a part of what the live key signed, so that comes first.
    for head in sorted(
        heads.values(), key=lambda head: (not head.by_live_key, head.checkpoint.size)
    ):
        await _cosign(context, member, head)
    return newest.checkpoint.size


def read_heads(answer: Any) -> tuple[str | None, list[str]]:
    """The newest checkpoint and the anchored ones of another member's answer;
    ``log_head_malformed``.
    """
    shown: dict[str, Any] = answer if isinstance(answer, dict) else {}
    note, anchored = shown.get("note", ""), shown.get("anchored", [])
    if (
        not (note is None or _is_note(note))
        or not isinstance(anchored, list)
        or not all(map(_is_note, anchored))
    ):
        raise Conflict(
            "log_head_malformed",
            "A member's node does not show the head of its log in the form expected.",
            hint="Its operator should look at its log.",
        )
    return note, anchored[:MAX_HEADS]


def _is_note(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_NOTE_CHARACTERS


async def _require_not_shrunk(context: Context, newest: Checkpoint, note: str) -> None:
    last = await context.database.aread(lambda session: session.get(WitnessedHead, newest.origin))
    if last is not None and newest.size < last.size:
        await _refuse_fork(context, last, newest.origin, note)


@dataclass(frozen=True)
class _Head:
    """Another member's signed head."""

    checkpoint: Checkpoint
    note: str
    by_live_key: bool
    """Whether the key that signed it is live; one that has ended proves nothing that a live key did
    not sign too.
    """


_LOG_KEY_HINT = "Its operator should look at its log key: qiaolian node key show."


def _read_head(member: str, note: str, keys: Mapping[bytes, KeyRecord]) -> _Head:
    key = next((key for key in keys if checkpoint.signed_by(note, key)), next(iter(keys)))
    head = checkpoint.verify(note, log_key=key, witnesses={}).checkpoint
    if head.origin != log_origin(member, LOG_EPOCH):
        raise Conflict("log_origin_wrong", "A member's checkpoint is of another log.")
    return _Head(head, note, keys[key].live)


async def _cosign(context: Context, member: str, head: _Head) -> None:
    """Cosign one head. An older one than the last seen must be a prefix of it; the last seen only
    grows.
    """
    shown = head.checkpoint
    last = await context.database.aread(lambda session: session.get(WitnessedHead, shown.origin))
    if last is not None:
        await _require_agrees(context, member, last, head)
    if context.roles & Role.SUPERVISOR:
        await copies.copy(context, member, shown)
    line = checkpoint.cosign(head.note, context.member, context.log_signer, timestamp=context.now())
    if last is None or shown.size >= last.size:
        row = {
            "origin": shown.origin,
            "size": shown.size,
            "root": shown.root,
            "note": head.note,
            "cosignature": line,
            "seen_at": context.now(),
        }
        await context.database.awrite(lambda session: session.merge(WitnessedHead(**row)))
    await context.peers.post(
        member, "/v1/peer/log/cosignatures", {"size": shown.size, "line": line}
    )


async def _require_agrees(context: Context, member: str, last: WitnessedHead, head: _Head) -> None:
    shown = head.checkpoint
    if not head.by_live_key and shown.size > last.size:
        raise Conflict(
            "log_key_ended",
            "A head under an ended key is ahead of what the live key signed.",
            hint=_LOG_KEY_HINT,
        )
    old, new = sorted([(last.size, last.root), (shown.size, shown.root)])
    path: list[bytes] = []
    if old[0] != new[0]:
        answer = await context.peers.get(
            member, f"/v1/peer/log/consistency?old={old[0]}&new={new[0]}"
        )
        try:
            path = [schema.hash32(item) for item in answer["path"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Conflict(
                "log_no_consistency", "A member gives no consistency path between its heads."
            ) from error
    try:
        merkle.require_consistent(*old, *new, path)
    except VerificationError as error:
        if not head.by_live_key:
            # Whoever stole the key could have signed it: it says nothing against the log's holder.
            raise Conflict(
                "log_key_ended",
                "A head under an ended key is no part of the log.",
                hint=_LOG_KEY_HINT,
            ) from error
        await _refuse_fork(context, last, shown.origin, head.note, error)


async def _refuse_fork(
    context: Context, last: WitnessedHead, name: str, note: str, cause: Exception | None = None
) -> NoReturn:
    fork = {"origin": name, "first": last.note, "second": note, "found_at": context.now()}
    await context.database.awrite(lambda session: _store_fork(session, fork))
    raise Conflict(
        "log_forked",
        "A member's log does not extend what it showed before.",
        hint="Both checkpoints are kept.",
    ) from cause


def _store_fork(session: Session, fork: dict[str, Any]) -> None:
    """Keep a pair of heads once."""
    known = sa.select(ForkRow.id).where(
        ForkRow.first == fork["first"], ForkRow.second == fork["second"]
    )
    if session.scalars(known).first() is None:
        session.add(ForkRow(**fork))


def forks(context: Context, page: PageRequest) -> Page[dict[str, Any]]:
    """Forks this witness caught, the latest first: both signed notes, for anyone to check;
    ``cursor_malformed``.
    """
    with context.database.read() as session:
        return page_of(session, sa.select(ForkRow), (ForkRow.id,), page).map(_fork)


def _fork(row: ForkRow) -> dict[str, Any]:
    return {"origin": row.origin, "first": row.first, "second": row.second, "foundAt": row.found_at}


def log_keys(context: Context, member: str) -> dict[bytes, KeyRecord]:
    """A member's Ed25519 log keys with their proved records, ended ones too: those that the
    directory's events and the configuration name.

    Raises:
        NotFound: ``log_key_unknown`` when none of them is live.
    """
    configured: dict[str, str] = context.settings.get("log_keys", {})
    named = [bytes.fromhex(configured[member][2:])] if member in configured else []
    candidates = list(dict.fromkeys([*named, *keys_of(context, member, KeyPurpose.LOG)]))
    words = [
        KeyRecord.decode(word.value)
        for word in context.view.proved_values([key_record(key) for key in candidates])
    ]
    found = {
        key: word
        for key, word in zip(candidates, words, strict=True)
        if (word.member, word.purpose, word.algorithm)
        == (member, KeyPurpose.LOG, Algorithm.ED25519)
    }
    if not any(word.live for word in found.values()):
        raise NotFound("log_key_unknown", "No live log key of this member is known here.")
    return found


def origin(context: Context) -> str:
    """This node's log."""
    return log_origin(context.member, LOG_EPOCH)


def log_id_of(context: Context) -> bytes:
    """The log's id on the chain."""
    return keccak256(origin(context).encode())


def log_size(context: Context) -> int:
    """Entries in the tree."""
    with context.database.read() as session:
        return size_of(session)


def size_of(session: Session) -> int:
    """The same, of a session."""
    last = session.scalar(sa.select(sa.func.max(LogEntry.index)))
    return 0 if last is None else last + 1


def frontier_of(context: Context) -> merkle.Frontier:
    """The tree's frontier as it is stored."""
    with context.database.read() as session:
        return _frontier(session)


def _frontier(session: Session) -> merkle.Frontier:
    size = size_of(session)
    hashes, start = [], 0
    subtree = _subtree(session)
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            hashes.append(subtree(level, start >> level))
            start += 1 << level
    return merkle.Frontier(size, hashes)


def _subtree(session: Session) -> merkle.SubtreeHash:
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


__all__ = [
    "AnchoredEntry",
    "anchor_if_due",
    "anchored_entries",
    "anchored_entry",
    "append",
    "append_statement",
    "complete_anchors",
    "consistency",
    "entries",
    "forks",
    "heads_for",
    "integrate_pending",
    "last_witnessed",
    "latest_head",
    "log_size",
    "make_checkpoint",
    "require_current",
    "require_witnessed",
    "store_cosignature",
    "witness",
]
