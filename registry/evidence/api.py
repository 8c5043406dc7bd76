"""The log's endpoints for members: head, consistency, cosignatures."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from chain.context import Context
from chain.core.errors import Forbidden
from chain.log.checkpoint import log_origin
from registry.access import (
    NonNegativeInt,
    Principal,
    field,
    get_context,
    page_request,
    require_local,
    require_member,
    strict_json,
)
from registry.evidence import anchors, checkpoints, copies, witness
from registry.evidence import log as evidence_log
from registry.evidence.model import Fork
from registry.openapi import strict_body
from registry.pages import ListAnswer, PageRequest

router = APIRouter(tags=["evidence"])


class ForkRow(BaseModel):
    """Two signed heads of one log that cannot both be true; ``foundAt`` in Unix seconds."""

    origin: str
    first: str
    second: str
    foundAt: int


class ForkList(ListAnswer):
    """A page of forks."""

    forks: list[ForkRow]


class LogHeads(BaseModel):
    """The newest checkpoint as a signed note, null before the first, and those to be cosigned."""

    note: str | None
    cosignatures: str = ""
    size: int = 0
    anchored: list[str]


class WitnessedHead(BaseModel):
    """The last head of the caller's log, as a signed note."""

    note: str | None


class ConsistencyPath(BaseModel):
    """Hashes that prove that one head continues another (RFC 6962, 2.1.2)."""

    path: list[str]


class Taken(BaseModel):
    """The cosignature is stored."""

    taken: bool


class LogEntries(BaseModel):
    """Leaves of the log, in order."""

    entries: list[dict[str, Any]]


class CopiedEntries(BaseModel):
    """The size of the copy, and leaves of it."""

    size: int
    entries: list[dict[str, Any]]


class LogState(BaseModel):
    """The log's origin and size, and its newest checkpoint as a signed note."""

    origin: str
    size: int
    note: str | None
    cosignatures: str = ""


class AnchoredSize(BaseModel):
    """The size of the checkpoint; 0 if there was nothing new."""

    size: int


def fork_row(fork: Fork) -> ForkRow:
    """A fork as the API shows it."""
    return ForkRow(origin=fork.origin, first=fork.first, second=fork.second, foundAt=fork.found_at)


@router.get(
    "/v1/peer/log/head",
    summary="Newest checkpoint, and anchored ones the caller has not cosigned",
    response_model=LogHeads,
    response_model_exclude_unset=True,
)
def head(
    context: Context = Depends(get_context), caller: Principal = Depends(require_member)
) -> LogHeads:
    heads = checkpoints.heads_for(context, caller.member)
    anchored = list(heads.anchored)
    if heads.newest is None:
        return LogHeads(note=None, anchored=anchored)
    newest = heads.newest
    return LogHeads(
        note=newest.note, cosignatures=newest.cosignatures, size=newest.size, anchored=anchored
    )


@router.get(
    "/v1/peer/log/seen",
    summary="The last head of the caller's own log that this node witnessed",
    response_model=WitnessedHead,
)
def seen(
    context: Context = Depends(get_context), caller: Principal = Depends(require_member)
) -> WitnessedHead:
    return WitnessedHead(note=witness.last_witnessed(context, caller.member))


@router.get(
    "/v1/peer/log/consistency",
    summary="Path from an older head to a newer one",
    response_model=ConsistencyPath,
)
def consistency(
    old: NonNegativeInt,
    new: NonNegativeInt,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_member),
) -> ConsistencyPath:
    path = evidence_log.consistency(context, old, new)
    return ConsistencyPath(path=["0x" + value.hex() for value in path])


@router.post(
    "/v1/peer/log/cosignatures",
    summary="A witness returns its cosignature",
    openapi_extra=strict_body(size=12, line="— 11440703QL00000177 AAAA\n"),
    response_model=Taken,
)
async def cosignatures(
    request: Request,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> Taken:
    body = await strict_json(request)
    size, line = field(body, "size", int), field(body, "line", str)
    await run_in_threadpool(checkpoints.store_cosignature, context, caller.member, size, line)
    return Taken(taken=True)


@router.get(
    "/v1/peer/log/entries",
    summary="A range of the log's leaves, for members that may audit it",
    response_model=LogEntries,
)
def entries(
    start: NonNegativeInt,
    end: NonNegativeInt,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> LogEntries:
    if "supervisor" not in caller.roles:
        raise Forbidden(
            "log_not_open", "A log's entries are open to supervisors; others see its heads."
        )
    leaves = evidence_log.entries(context, start, end)
    return LogEntries(entries=list(map(json.loads, leaves)))


@router.get(
    "/v1/peer/log/copied",
    summary="What this supervisor holds of the caller's own log, for a caller that lost it",
    response_model=CopiedEntries,
)
def copied(
    start: NonNegativeInt,
    end: NonNegativeInt,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> CopiedEntries:
    origin = log_origin(caller.member, evidence_log.LOG_EPOCH)
    found = copies.copied_leaves(context, origin, start, end)
    return CopiedEntries(size=found.size, entries=list(map(json.loads, found.leaves)))


@router.get(
    "/v1/log/forks",
    summary="Forks of others' logs this node caught as a witness",
    response_model=ForkList,
)
def forks(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("auditor", "administrator")),
) -> ForkList:
    found = witness.forks(context, page)
    return ForkList(forks=list(map(fork_row, found.rows)), next=found.next)


@router.get(
    "/v1/log",
    summary="State of this node's own log",
    response_model=LogState,
    response_model_exclude_unset=True,
)
def state(
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("auditor", "administrator", "clerk")),
) -> LogState:
    found = checkpoints.summary(context)
    if found.newest is None:
        return LogState(origin=found.origin, size=found.size, note=None)
    newest = found.newest
    return LogState(
        origin=found.origin,
        size=newest.size,
        note=newest.note,
        cosignatures=newest.cosignatures,
    )


@router.post("/v1/log/anchor", summary="Checkpoint and anchor now", response_model=AnchoredSize)
def anchor(
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("administrator", "auditor")),
) -> AnchoredSize:
    made = checkpoints.make_checkpoint(context)
    anchors.anchor_if_due(context, at_once=True)
    return AnchoredSize(size=made.size if made else 0)
