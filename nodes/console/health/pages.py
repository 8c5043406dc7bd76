"""Whether this node can do its work: every part with its code and what to do."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from nodes.console.access import record, require_person
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.health.views import part_views
from nodes.console.i18n import N_
from nodes.console.navigation import Entry
from nodes.console.rendering import render
from nodes.health import Health

router = APIRouter()
NAVIGATION = (Entry("/health", N_("Node's state"), tuple(PersonRole)),)


@router.get("/health")
async def health(request: Request, visit: Annotated[Visit, Depends(require_person)]) -> Response:
    await run_in_threadpool(record, request, visit, Act(ActKind.VIEW, "health"))
    checks: Health = request.app.state.health
    found = await checks.readiness()
    partial = request.headers.get("hx-request") == "true"
    return render(
        request,
        "health/parts.html" if partial else "health/page.html",
        ready=found.ready,
        parts=await run_in_threadpool(part_views, found, request.state.language),
    )
