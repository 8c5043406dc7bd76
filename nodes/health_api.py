"""``/healthz`` (the process runs), ``/readyz`` (what fails), ``/metrics``, ``/v1/node`` (who this
is) and ``/v1/peer/ping``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel

from chain.context import Context
from chain.core.errors import Unavailable
from nodes.metrics import Metrics
from nodes.problems import CONTENT_TYPE, problem
from nodes.readiness import (
    NotReady,
    Readiness,
    for_strangers,
)
from nodes.version import VERSION
from registry.access import Principal, get_context, get_principal, require_local, require_member
from registry.openapi import LARGE_BODY


class NodeIdentity(BaseModel):
    """Who this node is, for anyone."""

    member: str
    name: str
    roles: list[str]
    version: str
    chain_id: int
    genesis_hash: str


class Running(BaseModel):
    """The process answers."""

    status: Literal["running"]


class PingAnswer(BaseModel):
    """The member that this node takes the caller for."""

    member: str


class PingBodyAnswer(PingAnswer):
    """The same, and the size of the body."""

    bytes: int


router = APIRouter(tags=["node"])

_MAY_SCRAPE = require_local("system", "administrator", "auditor")


@router.get("/healthz", summary="The process runs", response_model=Running)
async def healthz() -> dict[str, str]:
    return {"status": "running"}


@router.get(
    "/readyz",
    summary="The node can do its work; if not, what fails",
    response_model=Readiness,
    responses={503: {"model": NotReady, "description": "The node is not ready"}},
)
async def readyz(request: Request) -> Response:
    readiness: Readiness = await request.app.state.health.readiness()
    caller = get_principal(request)
    if caller is None or caller.kind != "local":
        readiness = for_strangers(readiness)
    if readiness.ready:
        return JSONResponse(readiness.model_dump(mode="json"))
    down = [part for part in readiness.dependencies if part.required and not part.up]
    _, body = problem(
        Unavailable(
            "not_ready",
            f"Failing: {', '.join(f'{part.name} ({part.code})' for part in down)}.",
            hint=down[0].hint,
            **readiness.model_dump(mode="json"),
        ),
        member=request.app.state.config.member,
    )
    return Response(body, status_code=503, media_type=CONTENT_TYPE.decode())


@router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
def metrics(request: Request, _caller: Annotated[Principal, Depends(_MAY_SCRAPE)]) -> Response:
    series: Metrics = request.app.state.metrics
    return PlainTextResponse(series.text(), media_type="text/plain; version=0.0.4")


@router.get("/v1/node", summary="Who this node is", response_model=NodeIdentity)
async def node(
    request: Request, context: Annotated[Context, Depends(get_context)]
) -> dict[str, Any]:
    config = request.app.state.config
    deployment = context.ledger.deployment
    return {
        "member": config.member,
        "name": config.name,
        "roles": list(config.roles),
        "version": VERSION,
        "chain_id": deployment.chain_id,
        "genesis_hash": "0x" + deployment.genesis_hash.hex(),
    }


@router.get(
    "/v1/peer/ping",
    summary="A member's node asks whether it is heard",
    response_model=PingAnswer,
)
async def ping(request: Request) -> dict[str, str]:
    return {"member": (await require_member(request)).member}


@router.post(
    "/v1/peer/ping",
    summary="The same with a body",
    response_model=PingBodyAnswer,
    openapi_extra=LARGE_BODY,
)
async def ping_body(request: Request) -> dict[str, Any]:
    return {"member": (await require_member(request)).member, "bytes": len(await request.body())}
