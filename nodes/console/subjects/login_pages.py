"""Log-in of firms and citizens with a certified one-time key; open to everybody."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from chain.core.errors import BadInput, NotFound, QiaolianError
from chain.core.zone import local_time
from chain.statements.login import SubjectLogin
from chain.statements.signing_files import SignRequest
from nodes.console.access import get_context, get_visit
from nodes.console.accounts.pages import (
    clear_ended_session,
    client_address,
    end_former,
    set_session,
)
from nodes.console.acts import service as acts
from nodes.console.acts.model import Act, ActKind, Actor
from nodes.console.errors import error_view
from nodes.console.forms import ConsoleForm, local_path, see_other
from nodes.console.i18n import N_
from nodes.console.navigation import Entry
from nodes.console.rendering import render
from nodes.console.signing.views import (
    SignedForm,
    request_file,
    sign_request,
    signature_of,
    signed_statement,
)
from nodes.console.subjects import service

router = APIRouter()
NAVIGATION: tuple[Entry, ...] = ()


class KeyForm(ConsoleForm):
    """The address of the key to log in with."""

    key: str


class RequestForm(ConsoleForm):
    """The request that the page made."""

    request: str


@router.get("/my/login")
def login_page(
    request: Request, expired: Annotated[str, Query(max_length=1)] = "", next: str = "/my"
) -> Response:
    _require_open(request)
    visit = get_visit(request)
    if visit is not None and visit.subject is not None:
        return see_other(local_path(next))
    answer = _key_page(request, expired=bool(expired))
    clear_ended_session(request, answer)
    return answer


@router.post("/my/login/challenge")
def challenge(request: Request, form: Annotated[KeyForm, Form()]) -> Response:
    _require_open(request)
    origin = _origin(request)
    try:
        statement = service.challenge(
            get_context(request), key=form.key.lower(), origin=origin, browser=request.state.csrf
        )
    except BadInput as error:
        return _key_page(request, error=error, key=form.key)
    about = {
        N_("You log in at"): origin,
        N_("With the key"): statement.key,
        N_("Sign it before"): local_time(statement.expires_at),
    }
    view = sign_request(get_context(request), statement, about=about, described={"origin": origin})
    return render(request, "subjects/challenge.html", view=view)


@router.post("/my/login/request")
def download(request: Request, form: Annotated[RequestForm, Form()]) -> Response:
    _require_open(request)
    data = request_file(form.request)
    if not isinstance(SignRequest.from_bytes(data).statement, SubjectLogin):
        raise BadInput("sign_request_malformed", "The request is not for a log-in.")
    return Response(
        data,
        media_type="application/json",
        headers={"content-disposition": 'attachment; filename="sign-request.json"'},
    )


@router.post("/my/login")
async def log_in(
    request: Request, form: Annotated[SignedForm, Form(media_type="multipart/form-data")]
) -> Response:
    _require_open(request)
    context = get_context(request)
    try:
        statement = signed_statement(form, SubjectLogin)
        signature = await signature_of(context, form, statement)
        opened = await _opened(request, statement, signature)
    except QiaolianError as error:
        return await asyncio.to_thread(_key_page, request, error=error)
    answer = see_other("/my")
    set_session(request, answer, opened.token)
    return answer


@router.get("/my/help")
def help_page(request: Request) -> Response:
    _require_open(request)
    return render(request, "subjects/help.html")


async def _opened(
    request: Request, statement: SubjectLogin, signature: bytes
) -> service.SubjectEntry:
    context = get_context(request)

    def work() -> service.SubjectEntry:
        opened = service.log_in(
            context,
            statement,
            signature,
            origin=_origin(request),
            browser=request.state.csrf,
            address=client_address(request),
        )
        end_former(request)
        person = opened.visit.account
        actor = Actor(person.id, person.login, person.name, "POST /my/login")
        acts.record(context, actor, Act(ActKind.LOG_IN, "session"))
        return opened

    return await run_in_threadpool(work)


def _key_page(
    request: Request,
    *,
    error: QiaolianError | None = None,
    key: str = "",
    expired: bool = False,
) -> Response:
    view = None if error is None else error_view(error, request.state.language)
    status = 200 if error is None else error.status
    return render(
        request, "subjects/login.html", status=status, error=view, key=key, expired=expired
    )


def _origin(request: Request) -> str:
    """The console's address as the browser has it."""
    scheme = "https" if request.state.secure else "http"
    return f"{scheme}://{request.headers.get('host', '')}"


def _require_open(request: Request) -> None:
    """``page_unknown`` where the organisation serves no subjects."""
    if not request.app.state.settings.subjects:
        raise NotFound("page_unknown", "This console has no pages for firms and citizens.")
