"""The first page and the language switch."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import Response

from nodes.console.access import require_visit
from nodes.console.accounts.model import Visit
from nodes.console.forms import ConsoleForm, local_path, see_other
from nodes.console.gate import cookie
from nodes.console.i18n import LANGUAGES
from nodes.console.navigation import Entry
from nodes.console.rendering import render

router = APIRouter()
NAVIGATION: tuple[Entry, ...] = ()

_LANGUAGE_SECONDS = 365 * 86_400


class LanguageForm(ConsoleForm):
    """Which language to show, and the page to return to."""

    language: str
    target: str = "/"


@router.get("/")
def home(request: Request, visit: Annotated[Visit, Depends(require_visit)]) -> Response:
    if visit.subject is not None:
        return see_other("/my")
    return render(request, "layout/home.html")


@router.post("/language")
def choose_language(request: Request, form: Annotated[LanguageForm, Form()]) -> Response:
    answer = see_other(local_path(form.target))
    if form.language in LANGUAGES:
        name, secure = request.state.cookies.language, request.state.secure
        answer.headers.append(
            "set-cookie", cookie(name, form.language, secure=secure, seconds=_LANGUAGE_SECONDS)
        )
    return answer
