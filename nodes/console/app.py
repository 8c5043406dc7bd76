"""The console's application: pages behind the gate, one router for each folder."""

from __future__ import annotations

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from chain.core.errors import QiaolianError
from nodes import problems
from nodes.config import Console, NodeConfig
from nodes.console.domains import NAVIGATION, ROUTERS, SUBJECT_NAVIGATION
from nodes.console.errors import error_page
from nodes.console.forms import check_csrf
from nodes.console.gate import ConsoleGate
from nodes.console.permissions import Permissions
from nodes.console.rendering import environment


def create_console(config: NodeConfig, settings: Console) -> FastAPI:
    """The application of a node's console. Whoever runs it sets ``state.context`` before the first
    request.
    """
    app = FastAPI(
        title=f"Console of {config.name}",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(check_csrf)],
    )
    app.state.config = config
    app.state.settings = settings
    app.state.templates = environment()
    app.state.permissions = Permissions(ROUTERS)
    app.state.navigation = NAVIGATION
    app.state.subject_navigation = SUBJECT_NAVIGATION
    for router in ROUTERS:
        app.include_router(router)
    app.add_exception_handler(QiaolianError, _refused)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_middleware(ConsoleGate, config=config, settings=settings)
    return app


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, RequestValidationError):
        ours = problems.invalid(error.errors())
    elif isinstance(error, HTTPException):
        ours = problems.of_status(error.status_code, str(error.detail))
    else:
        ours = problems.translate_error(error)
    return await run_in_threadpool(error_page, request, ours)
