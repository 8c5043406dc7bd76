"""Error pages: code, what happened, whose turn it is and what to do, in the person's language."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from chain.core.error_codes import error_codes
from chain.core.errors import QiaolianError, Refuser
from nodes.console.i18n import CHINESE, N_
from nodes.console.rendering import render

_TURNS = {
    Refuser.NODE: N_("You can continue from here."),
    Refuser.PEER: N_("It is the other organisation's turn."),
    Refuser.PROXY: N_("It is the turn of whoever runs the network between the nodes."),
    Refuser.CHAIN: N_("It is the chain's turn; the node continues by itself."),
    Refuser.CLOCK: N_("It is your administrator's turn: two clocks differ too much."),
}
_OUR_FAULT = N_("It is the turn of whoever runs this node.")


@dataclass(frozen=True, slots=True)
class ErrorView:
    """What an error page shows."""

    code: str
    status: int
    happened: str
    next_step: str
    turn: str
    refused_by: str


def error_view(error: QiaolianError, language: str) -> ErrorView:
    """The page of an error: its own sentence in English, the registry's in Chinese."""
    entry = error_codes().get(error.code)
    happened, next_step = error.sentence, error.hint
    if entry is not None:
        if language == CHINESE:
            happened, next_step = entry.sentence.zh, entry.next_step.zh
        elif not next_step:
            next_step = entry.next_step.en
    by = error.refused_by
    return ErrorView(
        code=error.code,
        status=error.status,
        happened=happened,
        next_step=next_step,
        turn=_OUR_FAULT if error.status >= 500 and by.kind is Refuser.NODE else _TURNS[by.kind],
        refused_by="" if by.kind is Refuser.NODE else str(by),
    )


def error_page(request: Request, error: QiaolianError) -> Response:
    """The answer to a request that was refused. Who is not logged in is sent to the log-in page;
    a form is never stored for later.
    """
    if error.code == "login_needed":
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        query = {"next": target} if request.method == "GET" else {"expired": "1"}
        log_in = "/my/login" if request.url.path.startswith("/my") else "/login"
        return RedirectResponse(f"{log_in}?{urlencode(query)}", status_code=303)
    if error.code == "second_factor_needed":
        return RedirectResponse("/login/code", status_code=303)
    view = error_view(error, request.state.language)
    page = render(request, "layout/error.html", status=error.status, error=view)
    if error.status in (429, 503):
        page.headers["retry-after"] = "5"
    return page
