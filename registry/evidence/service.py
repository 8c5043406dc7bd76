"""The log's life: entries wait in the transaction of what they record, enter the tree in order, are checkpointed, anchored and cosigned.

``append`` costs one insert, so a metered call pays almost nothing for its evidence; ``enter_pending`` (every second) does the hashing for many
entries at once. A checkpoint follows within 5 s of an entry, an anchor within 60 s.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain import checkpoint, merkle
from chain.canonical import dumps
from chain.checkpoint import Checkpoint, log_origin
from chain.context import Context
from chain.crypto import keccak256
from chain.eip712 import Domain, Statement
from chain.errors import Conflict, NotFound, VerificationError
from chain.outbox import enqueue, outcome
from chain.proofs import StorageProof
from chain.statements import Algorithm, KeyPurpose
from chain.words import KeyWord
from registry.evidence.store import Fork, LogAnchor, LogEntry, LogHead, PendingEntry, Subtree, WitnessedHead

INCARNATION = 0
CHECKPOINT_SECONDS = 5
ANCHOR_SECONDS = 60
MOST_ENTERED = 5_000


def append(session: Session, *, kind: str, digest: bytes, at: int) -> None:
    """Record that something with this digest was said; the leaf holds nothing that could be read back.

    Runs in the caller's transaction: either both are kept or neither.
    """
    leaf = dumps({"at": at, "digest": "0x" + digest.hex(), "kind": kind})
    session.execute(sa.insert(PendingEntry).values(digest=digest, leaf=leaf))


def append_statement(session: Session, statement: Statement, domain: Domain, *, at: int) -> None:
    """Record a signed statement by its EIP-712 digest."""
    append(session, kind=type(statement).__name__, digest=statement.digest(domain), at=at)


def enter_pending(session: Session) -> int:
    """Move waiting entries into the tree; how many."""
    pending = list(session.execute(sa.select(PendingEntry).order_by(PendingEntry.id).limit(MOST_ENTERED)).scalars())
    if not pending:
        return 0
    frontier = _frontier(session)
    entries, subtrees = [], []
    for each in pending:
        entries.append({"index": frontier.size, "digest": each.digest, "leaf": each.leaf})
        for level, index, value in frontier.append(merkle.leaf_hash(each.leaf)):
            subtrees.append({"level": level, "index": index, "hash": value})
    session.execute(sa.insert(LogEntry), entries)
    session.execute(sa.insert(Subtree), subtrees)
    session.execute(sa.delete(PendingEntry).where(PendingEntry.id <= pending[-1].id))
    return len(pending)


def make_checkpoint(context: Context) -> Checkpoint | None:
    """Sign the current head unless it is signed already; None while the log is empty."""

    def change(session: Session) -> Checkpoint | None:
        while enter_pending(session) == MOST_ENTERED:
            continue
        size = _size(session)
        if size == 0:
            return None
        head = session.get(LogHead, size)
        if head is not None:
            return Checkpoint(origin(context), size, head.root)
        made = Checkpoint(origin(context), size, _frontier(session).root())
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


def anchor_if_due(context: Context, *, at_once: bool = False) -> bool:
    """Ask for the latest head to be anchored when the last anchor is a minute old; whether one was asked for."""

    def change(session: Session) -> bool:
        head = session.scalars(sa.select(LogHead).order_by(LogHead.size.desc()).limit(1)).first()
        last = session.scalars(sa.select(LogAnchor).order_by(LogAnchor.size.desc()).limit(1)).first()
        if head is None or (last is not None and last.size >= head.size):
            return False
        if last is not None and not at_once and context.now() - last.asked_at < ANCHOR_SECONDS:
            return False
        operation = f"anchor/{INCARNATION}/{head.size}"
        session.add(LogAnchor(size=head.size, root=head.root, operation=operation, asked_at=context.now()))
        enqueue(
            session,
            sender=context.transaction_address,
            operation_id=operation,
            contract="EvidenceLog",
            function="anchor",
            arguments=[INCARNATION, head.size, head.root],
        )
        return True

    return context.database.write(change)


def settle_anchors(context: Context) -> int:
    """Store header, seals and storage proof of anchors that are in a block; only then is an anchor done. How many became so."""
    done = 0
    with context.database.read() as session:
        waiting = list(session.scalars(sa.select(LogAnchor).where(LogAnchor.height.is_(None)).order_by(LogAnchor.size)))
        final = [
            each for each in waiting if (outcome(session, each.operation).height or 2**60) <= context.view.head.height
        ]
    if not final:
        return 0
    # The chain keeps the latest size and root only, so the newest anchor's proof serves every older one.
    newest = final[-1]
    log_id = log_id_of(context)
    size_proof = context.view.proof("EvidenceLog", "logs", log_id)
    root_proof = context.view.proof("EvidenceLog", "roots", log_id, height=size_proof.header.height)
    proofs = json.dumps([_proof_json(size_proof.proof), _proof_json(root_proof.proof)])
    if root_proof.proof.value != int.from_bytes(newest.root, "big"):
        return 0

    def change(session: Session) -> None:
        nonlocal done
        for each in final:
            row = session.get(LogAnchor, each.size)
            if row is not None:
                row.height, done = size_proof.header.height, done + 1
                if each.size == newest.size:
                    row.header, row.proof = size_proof.header.header_rlp, proofs

    context.database.write(change)
    return done


@dataclass(frozen=True)
class AnchoredEntry:
    """A log entry with everything a verifier needs: its place, path, checkpoint, and the anchor's proof under a sealed header."""

    index: int
    leaf: bytes
    path: list[bytes]
    size: int
    note: str
    header: bytes
    proofs: list[StorageProof]


def anchored_entry(context: Context, digest: bytes) -> AnchoredEntry:
    """The entry with this digest under the newest anchor that is done.

    Raises:
        NotFound: ``entry_unknown``; Conflict: ``entry_not_anchored`` when no anchor includes it yet.
    """
    with context.database.read() as session:
        entry = session.scalars(sa.select(LogEntry).where(LogEntry.digest == digest).order_by(LogEntry.index)).first()
        if entry is None:
            raise NotFound("entry_unknown", "This node's log has no such entry.")
        anchor = session.scalars(
            sa.select(LogAnchor).where(LogAnchor.header.is_not(None)).order_by(LogAnchor.size.desc()).limit(1)
        ).first()
        if anchor is None or anchor.size <= entry.index or anchor.header is None or anchor.proof is None:
            raise Conflict(
                "entry_not_anchored", "The entry is not anchored yet.", hint="Anchors follow within a minute."
            )
        head = session.get_one(LogHead, anchor.size)
        return AnchoredEntry(
            index=entry.index,
            leaf=entry.leaf,
            path=merkle.inclusion_proof(entry.index, anchor.size, _subtree(session)),
            size=anchor.size,
            note=head.note + head.cosignatures,
            header=anchor.header,
            proofs=[_proof_from(each) for each in json.loads(anchor.proof)],
        )


# --- Witnessing -----------------------------------------------------------------------------------------------------------------


def latest_head(context: Context) -> dict[str, Any]:
    """The newest checkpoint, for witnesses."""
    with context.database.read() as session:
        head = session.scalars(sa.select(LogHead).order_by(LogHead.size.desc()).limit(1)).first()
        if head is None:
            return {"note": None}
        return {"note": head.note, "cosignatures": head.cosignatures, "size": head.size}


def consistency(context: Context, old: int, new: int) -> list[bytes]:
    """The path from one head to a later one."""
    with context.database.read() as session:
        if new > _size(session):
            raise NotFound("head_unknown", "The log is not that long.")
        return merkle.consistency_proof(old, new, _subtree(session))


def take_cosignature(context: Context, witness: str, size: int, line: str) -> None:
    """Keep a witness' line with the checkpoint it is for, after checking it."""
    key = witness_key(context, witness)

    def change(session: Session) -> None:
        head = session.get(LogHead, size)
        if head is None:
            raise NotFound("head_unknown", "There is no such checkpoint.")
        if f"— {witness} " in head.cosignatures:
            return
        checkpoint.verify(head.note + line, log_key=context.log_signer.public_key, witnesses={witness: key})
        head.cosignatures += line

    context.database.write(change)


async def witness(context: Context, member: str) -> int | None:
    """Check another member's newest head against the last one cosigned, cosign it, and hand the line back; its size.

    A head that is no extension is kept as a fork and refused.
    """
    answer = await context.peers.get(member, "/v1/peer/log/head")
    if answer["note"] is None:
        return None
    name = log_origin(member, INCARNATION)
    read = checkpoint.verify(answer["note"], log_key=log_key(context, member), witnesses={})
    head = read.checkpoint
    if head.origin != name:
        raise Conflict("log_origin_wrong", "A member's checkpoint is of another log.")
    with context.database.read() as session:
        last = session.get(WitnessedHead, name)
    if last is not None and last.size == head.size and last.root == head.root:
        return head.size
    if last is not None:
        await _require_extends(context, member, last, head, answer["note"])
    line = checkpoint.cosign(answer["note"], context.member, context.log_signer, timestamp=context.now())
    row = {
        "origin": name,
        "size": head.size,
        "root": head.root,
        "note": answer["note"],
        "cosignature": line,
        "seen_at": context.now(),
    }
    await context.database.awrite(lambda session: session.merge(WitnessedHead(**row)))
    await context.peers.post(member, "/v1/peer/log/cosignatures", {"size": head.size, "line": line})
    return head.size


async def _require_extends(context: Context, member: str, last: WitnessedHead, head: Checkpoint, note: str) -> None:
    try:
        if head.size < last.size:
            raise Conflict("log_forked", "A member's log shrank.")
        answer = await context.peers.get(member, f"/v1/peer/log/consistency?old={last.size}&new={head.size}")
        path = [bytes.fromhex(each[2:]) for each in answer["path"]]
        merkle.require_consistent(last.size, last.root, head.size, head.root, path)
    except (VerificationError, Conflict) as error:
        fork = {"origin": head.origin, "first": last.note, "second": note, "found_at": context.now()}
        await context.database.awrite(lambda session: session.add(Fork(**fork)))
        raise Conflict(
            "log_forked", "A member's log does not extend what it showed before.", hint="Both checkpoints are kept."
        ) from error


def log_key(context: Context, member: str) -> bytes:
    """A member's Ed25519 log key: configured, and proved from the directory to be live."""
    configured: dict[str, str] = context.settings.get("log_keys", {})
    key = bytes.fromhex(configured.get(member, "0x")[2:])
    word = KeyWord.decode(context.view.word("MemberDirectory", "keys", key).value) if len(key) == 32 else None
    if word is None or not word.live or word.member != member or word.purpose != KeyPurpose.LOG:
        raise NotFound("log_key_unknown", "No live log key of this member is known here.")
    if word.algorithm != Algorithm.ED25519:
        raise NotFound("log_key_unknown", "The member's log key is of another algorithm.")
    return key


witness_key = log_key
"""A witness cosigns with its own log key."""


def origin(context: Context) -> str:
    """This node's log."""
    return log_origin(context.member, INCARNATION)


def log_id_of(context: Context) -> bytes:
    """The log's id on the chain."""
    return keccak256(origin(context).encode())


def log_size(context: Context) -> int:
    """Entries in the tree."""
    with context.database.read() as session:
        return _size(session)


def _size(session: Session) -> int:
    last = session.scalar(sa.select(sa.func.max(LogEntry.index)))
    return 0 if last is None else last + 1


def _frontier(session: Session) -> merkle.Frontier:
    size = _size(session)
    hashes, start = [], 0
    subtree = _subtree(session)
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            hashes.append(subtree(level, start >> level))
            start += 1 << level
    return merkle.Frontier(size, hashes)


def _subtree(session: Session) -> merkle.SubtreeHash:
    def read(level: int, index: int) -> bytes:
        row = session.get(Subtree, (level, index))
        if row is None:
            raise NotFound("head_unknown", "The log does not reach that far.")
        return row.hash

    return read


def _proof_json(proof: StorageProof) -> dict[str, Any]:
    return {
        "address": proof.address,
        "slot": proof.slot.hex(),
        "value": str(proof.value),
        "account": [each.hex() for each in proof.account_proof],
        "storage": [each.hex() for each in proof.storage_proof],
    }


def _proof_from(value: dict[str, Any]) -> StorageProof:
    return StorageProof(
        address=value["address"],
        slot=bytes.fromhex(value["slot"]),
        value=int(value["value"]),
        account_proof=tuple(bytes.fromhex(each) for each in value["account"]),
        storage_proof=tuple(bytes.fromhex(each) for each in value["storage"]),
    )


__all__ = [
    "AnchoredEntry",
    "anchor_if_due",
    "anchored_entry",
    "append",
    "append_statement",
    "consistency",
    "enter_pending",
    "latest_head",
    "log_size",
    "make_checkpoint",
    "settle_anchors",
    "take_cosignature",
    "witness",
]
