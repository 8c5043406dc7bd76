"""The download of a request for a signature."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import Response

from nodes.console.access import record, require_person
from nodes.console.accounts.model import Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.forms import ConsoleForm
from nodes.console.navigation import Entry
from nodes.console.signing.views import request_file

router = APIRouter()
NAVIGATION: tuple[Entry, ...] = ()


class RequestForm(ConsoleForm):
    """The request that the page made."""

    request: str


@router.post("/signing/request")
def download(
    request: Request,
    form: Annotated[RequestForm, Form()],
    visit: Annotated[Visit, Depends(require_person)],
) -> Response:
    data = request_file(form.request)
    record(request, visit, Act(ActKind.EXPORT, "sign-request"))
    return Response(
        data,
        media_type="application/json",
        headers={"content-disposition": 'attachment; filename="sign-request.json"'},
    )
