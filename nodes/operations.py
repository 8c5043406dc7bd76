"""Status of queued contract calls: endpoints that answer 202 name such an operation."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from chain import outbox
from chain.context import Context
from chain.core.errors import Unavailable
from registry.access import Principal, get_context, require_local

router = APIRouter(tags=["node"])


class OperationAnswer(BaseModel):
    """Status of a contract call; the code and its context are those of a refusal."""

    operation: str
    state: str
    transaction: str | None
    height: int | None
    code: str | None
    context: dict[str, Any]


_LOCAL = require_local("system", "clerk", "officer", "auditor", "administrator")


@router.get(
    "/v1/operations/{operation_id:path}",
    summary="Outcome or status of a promised contract call",
    response_model=OperationAnswer,
)
async def operation(
    operation_id: str,
    context: Annotated[Context, Depends(get_context)],
    _caller: Annotated[Principal, Depends(_LOCAL)],
    wait: Annotated[float, Query(ge=0, le=30, description="Seconds to wait for the end")] = 0,
) -> dict[str, Any]:
    found = await _outcome(context, operation_id, wait)
    return {
        "operation": operation_id,
        "state": found.state,
        "transaction": None if found.tx_hash is None else "0x" + found.tx_hash.hex(),
        "height": found.height,
        "code": found.code,
        "context": dict(found.context),
    }


async def _outcome(context: Context, operation_id: str, seconds: float) -> outbox.OperationStatus:
    """Return the call's status, after waiting for the final one if asked to.

    A caller that waited reads its own write next: the node's view has reached the call's block.
    """
    if not seconds:
        return await context.database.aread(lambda session: outbox.outcome(session, operation_id))
    deadline = time.monotonic() + seconds
    try:
        found = await outbox.wait(context.database, operation_id, seconds)
    except Unavailable as error:
        if error.code != "outbox_timeout":
            raise
        return await context.database.aread(lambda session: outbox.outcome(session, operation_id))
    if found.height is not None:
        with contextlib.suppress(Unavailable):
            left = max(0.0, deadline - time.monotonic())
            await asyncio.to_thread(context.view.wait_for_height, found.height, left)
    return found
