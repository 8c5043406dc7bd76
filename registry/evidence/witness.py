"""Witnessing other members' logs: check that each head extends the last one seen, then cosign it.

Two heads that contradict each other are stored as a fork, for anyone to check.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from chain.context import Context
from chain.core.errors import Conflict, VerificationError
from chain.ethereum.records import KeyRecord
from chain.log import checkpoint, merkle
from chain.log.checkpoint import Checkpoint, log_origin
from chain.statements.members import Role
from registry.evidence import copies, peers, witness_store
from registry.evidence.keys import log_keys
from registry.evidence.log import LOG_EPOCH
from registry.evidence.model import Fork, WitnessedCheckpoint
from registry.pages import Page, PageRequest


def last_witnessed(context: Context, member: str) -> str | None:
    """Return the note of the last head of a member's log that this node witnessed, for the member
    to compare.
    """
    with context.database.read() as session:
        head = witness_store.find_witnessed(session, log_origin(member, LOG_EPOCH))
    return None if head is None else head.note


def witnessed(context: Context) -> list[WitnessedCheckpoint]:
    """Return the last head of each other member's log that this node cosigned, by origin."""
    with context.database.read() as session:
        return witness_store.witnessed(session)


async def witness(context: Context, member: str) -> int | None:
    """Check another member's newest and anchored heads against the last one seen, and cosign them.

    Returns the newest size. An inconsistent head is stored as a fork and refused. A supervisor
    cosigns a head only when it has a copy of every leaf under it (``copies``).
    """
    shown = await peers.fetch_heads(context, member)
    if shown.newest is None:
        return None
    keys = await asyncio.to_thread(log_keys, context, member)
    newest = _read_head(member, shown.newest, keys)
    if not newest.by_live_key:
        raise Conflict(
            "log_key_ended",
            "A member shows the head of its log under a key that has ended.",
            hint=_LOG_KEY_HINT,
        )
    await _require_not_shrunk(context, newest.checkpoint, shown.newest)
    heads = {
        head.checkpoint.size: head
        for head in (newest, *(_read_head(member, older, keys) for older in shown.anchored))
    }
    # A head under an ended key counts only as a prefix of one under a live key: check those first.
    for head in sorted(
        heads.values(), key=lambda head: (not head.by_live_key, head.checkpoint.size)
    ):
        await _cosign(context, member, head)
    return newest.checkpoint.size


async def _require_not_shrunk(context: Context, newest: Checkpoint, note: str) -> None:
    last = await _last_seen(context, newest.origin)
    if last is not None and newest.size < last.size:
        await _refuse_fork(context, last, newest.origin, note)


@dataclass(frozen=True)
class _Head:
    """Another member's signed head."""

    checkpoint: Checkpoint
    note: str
    by_live_key: bool
    """Whether the signing key is live. An ended key proves nothing that a live key did not sign."""


_LOG_KEY_HINT = "Its operator should look at its log key: qiaolian node key show."


def _read_head(member: str, note: str, keys: Mapping[bytes, KeyRecord]) -> _Head:
    key = next((key for key in keys if checkpoint.signed_by(note, key)), next(iter(keys)))
    head = checkpoint.verify(note, log_key=key, witnesses={}).checkpoint
    if head.origin != log_origin(member, LOG_EPOCH):
        raise Conflict("log_origin_wrong", "A member's checkpoint is of another log.")
    return _Head(head, note, keys[key].live)


async def _cosign(context: Context, member: str, head: _Head) -> None:
    """Cosign one head. An older head must be a prefix of the last one seen."""
    shown = head.checkpoint
    last = await _last_seen(context, shown.origin)
    if last is not None:
        await _require_agrees(context, member, last, head)
    if context.roles & Role.SUPERVISOR:
        await copies.copy(context, member, shown)
    line = checkpoint.cosign(head.note, context.member, context.log_signer, timestamp=context.now())
    if last is None or shown.size >= last.size:
        seen = WitnessedCheckpoint(
            origin=shown.origin,
            size=shown.size,
            root=shown.root,
            note=head.note,
            cosignature=line,
            seen_at=context.now(),
        )
        await context.database.awrite(lambda session: witness_store.save_witnessed(session, seen))
    await peers.send_cosignature(context, member, shown.size, line)


async def _require_agrees(
    context: Context, member: str, last: WitnessedCheckpoint, head: _Head
) -> None:
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
        try:
            path = await peers.fetch_consistency(context, member, old[0], new[0])
        except ValueError as error:
            raise Conflict(
                "log_no_consistency", "A member gives no consistency path between its heads."
            ) from error
    try:
        merkle.require_consistent(*old, *new, path)
    except VerificationError as error:
        if not head.by_live_key:
            # A thief of the key could have signed it: no evidence against the log's holder.
            raise Conflict(
                "log_key_ended",
                "A head under an ended key is no part of the log.",
                hint=_LOG_KEY_HINT,
            ) from error
        await _refuse_fork(context, last, shown.origin, head.note, error)


async def _refuse_fork(
    context: Context,
    last: WitnessedCheckpoint,
    name: str,
    note: str,
    cause: Exception | None = None,
) -> NoReturn:
    fork = Fork(name, last.note, note, context.now())
    await context.database.awrite(lambda session: witness_store.add_fork(session, fork))
    raise Conflict(
        "log_forked",
        "A member's log does not extend what it showed before.",
        hint="Both checkpoints are stored.",
    ) from cause


async def _last_seen(context: Context, name: str) -> WitnessedCheckpoint | None:
    return await context.database.aread(lambda session: witness_store.find_witnessed(session, name))


def forks(context: Context, page: PageRequest) -> Page[Fork]:
    """List the forks this witness found, latest first, with both signed notes;
    ``cursor_malformed``.
    """
    with context.database.read() as session:
        return witness_store.forks_page(session, page)
