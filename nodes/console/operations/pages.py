"""Status of a queued contract call. The page refreshes itself until the call is final, and
survives a reload, because the state is the outbox's.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from chain import outbox
from nodes.console.access import get_context, require_reader
from nodes.console.accounts.model import Visit
from nodes.console.forms import local_path
from nodes.console.navigation import Entry
from nodes.console.operations.views import operation_view
from nodes.console.rendering import render

router = APIRouter()
NAVIGATION: tuple[Entry, ...] = ()


@router.get("/operations/{operation:path}")
def operation(
    request: Request,
    operation: str,
    visit: Annotated[Visit, Depends(require_reader)],
    back: str = "/",
) -> Response:
    context = get_context(request)
    with context.database.read() as session:
        found = outbox.outcome(session, operation)
    template = "progress" if request.headers.get("hx-request") == "true" else "detail"
    return render(
        request,
        f"operations/{template}.html",
        shown=operation_view(operation, found, request.state.language),
        back=local_path(back),
    )
