"""Which peers are supervisors, and what they last witnessed of the node's own log."""

from __future__ import annotations

import asyncio

from chain.context import Context
from chain.core.errors import (
    QiaolianError,
    Unavailable,
)
from chain.ethereum.proved_records import ProvedRecords, StorageKey, member_record
from chain.log.checkpoint import Checkpoint
from chain.statements.members import Role
from registry.evidence import peers
from registry.evidence.checkpoints import read_own, require_own_head
from registry.evidence.log import origin

WITNESS_SECONDS = 3.0
"""How long a starting node waits for a supervisor to report the head it last witnessed."""


async def require_witnessed(context: Context) -> None:
    """Require that this database has the head of this log that each supervisor last witnessed.

    A supervisor that does not answer in time is skipped, and so is one that shows no head signed
    with this log's key.

    Raises:
        Conflict: ``log_behind_witness``.
    """
    supervisors = await supervisors_of(context)
    for note in await asyncio.gather(
        *(_witnessed_by(context, supervisor) for supervisor in supervisors)
    ):
        if note is not None:
            await asyncio.to_thread(
                require_own_head,
                context,
                note.size,
                note.root,
                code="log_behind_witness",
                holder="A supervisor has seen",
            )


def supervised(context: Context) -> bool:
    """Return whether a configured peer is proved to be a supervisor; False while unproved."""
    try:
        records = context.view.proved(supervisor_records(context))
    except Unavailable:
        return False
    return bool(supervisors_in(context, records))


async def supervisors_of(context: Context) -> list[str]:
    """Return the configured peers that are supervisors by the directory's proved records."""
    return supervisors_in(context, await context.view.aproved(supervisor_records(context)))


def supervisor_records(context: Context) -> list[StorageKey]:
    """Return the records that ``supervisors_in`` asks."""
    return [member_record(member) for member in _other_members(context)]


def supervisors_in(context: Context, records: ProvedRecords) -> list[str]:
    """Return the configured peers that are supervisors by their member records."""
    members = _other_members(context)
    return [member for member in members if records.member(member).has_role(Role.SUPERVISOR)]


def _other_members(context: Context) -> list[str]:
    return [member for member in context.witness_peers if member != context.member]


async def _witnessed_by(context: Context, supervisor: str) -> Checkpoint | None:
    try:
        async with asyncio.timeout(WITNESS_SECONDS):
            note = await peers.fetch_witnessed(context, supervisor)
        head = None if note is None else read_own(context, note)
    except (QiaolianError, TimeoutError, ValueError):
        return None
    return head if head is not None and head.origin == origin(context) else None
