"""Calls by file: upload, see the cost, start, watch, stop, resume, take the results."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Path, Query, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from pydantic import ConfigDict, Field
from starlette.responses import Response

from chain.context import Context
from chain.statements.members import Role
from exchange.call_files import service
from exchange.call_files.model import CallFileRequest, RowState
from nodes.console.access import get_context, record, require
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.call_files.views import (
    RESULT_COLUMNS,
    file_page,
    result_cells,
    row_view,
    viewed,
)
from nodes.console.calls.views import call_terms
from nodes.console.exports import csv_response
from nodes.console.forms import ConsoleForm, submit
from nodes.console.i18n import N_, gettext, in_language
from nodes.console.navigation import Entry
from nodes.console.paging import console_page
from nodes.console.rendering import render
from registry.access import hex_bytes
from registry.pages import PageRequest

router = APIRouter()
_BUYERS = Role.BANK
_ROLES = (PersonRole.CLERK, PersonRole.AUDITOR)
NAVIGATION = (Entry("/call-files", N_("Calls by file"), _ROLES, _BUYERS),)
FileId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
_FAILED = (RowState.INVALID, RowState.REFUSED, RowState.VOID)

_clerk = require(PersonRole.CLERK, nodes=_BUYERS)
_reader = require(*_ROLES, nodes=_BUYERS)


class FileForm(ConsoleForm):
    """A file that is uploaded."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    columns: Annotated[list[str], Field(min_length=1, max_length=256)]
    table: UploadFile


@router.get("/call-files")
def files(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(_reader)],
) -> Response:
    context, language = get_context(request), request.state.language
    record(request, visit, Act(ActKind.VIEW, "call-files"))
    found = service.listing(context, page)
    rows = [file_page(context, file, progress, language) for file, progress in found.rows]
    return render(request, "call_files/list.html", rows=rows, next=found.next)


@router.get("/call-files/new")
def file_form(
    request: Request,
    visit: Annotated[Visit, Depends(_clerk)],
    agreement: Annotated[str, Query(max_length=66)],
) -> Response:
    terms = call_terms(get_context(request), agreement, request.state.language)
    record(request, visit, Act(ActKind.VIEW, "agreement", agreement))
    return render(request, "call_files/form.html", terms=terms)


@router.post("/call-files/new")
async def upload(
    request: Request,
    form: Annotated[FileForm, Form(media_type="multipart/form-data")],
    visit: Annotated[Visit, Depends(_clerk)],
    agreement: Annotated[str, Query(max_length=66)],
) -> Response:
    context = get_context(request)
    wanted = CallFileRequest(
        name=_name_of(form.table),
        agreement_id=hex_bytes(agreement),
        columns=form.columns,
        content=await form.table.read(),
    )

    def work(_key: str) -> str:
        return f"/call-files/{service.add(context, wanted).file.id}"

    return await submit(request, visit, Act(ActKind.CHANGE, "agreement", agreement), work)


def _name_of(table: UploadFile) -> str:
    """The file's own name without folders, as far as it can be shown."""
    name = PurePath((table.filename or "").replace("\\", "/")).name
    return "".join(letter for letter in name if letter.isprintable())[:100]


@router.get("/call-files/{file_id}")
def file(
    request: Request,
    file_id: FileId,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(_reader)],
    failed: bool = False,
) -> Response:
    context, language = get_context(request), request.state.language
    partial = request.headers.get("hx-request") == "true"
    if not partial:
        record(request, visit, Act(ActKind.VIEW, "call-file", file_id))
    shown, cost = viewed(context, service.view(context, file_id), language)
    states = _FAILED if failed else ()
    found = service.rows(context, file_id, page, states=states)
    with in_language(language):
        rows = [row_view(row, language) for row in found.rows]
    return render(
        request,
        "call_files/progress.html" if partial else "call_files/detail.html",
        shown=shown,
        cost=cost,
        rows=rows,
        next=found.next,
        failed=failed,
        cursor=page.cursor,
        clerk=visit.holds(PersonRole.CLERK),
    )


@router.get("/call-files/{file_id}/results.csv")
def results(
    request: Request, file_id: FileId, visit: Annotated[Visit, Depends(_reader)]
) -> Response:
    context, language = get_context(request), request.state.language
    shown = service.view(context, file_id).file
    record(request, visit, Act(ActKind.EXPORT, "call-file", file_id))
    columns = tuple(shown.columns)
    with in_language(language):
        headers = [*(gettext(label) for label in RESULT_COLUMNS), *columns]
        cells = result_cells(service.results(context, file_id), columns, language)
        return csv_response(f"results-{shown.name}", headers, cells)


@router.post("/call-files/{file_id}/{action}")
async def act(
    request: Request,
    file_id: FileId,
    action: Annotated[str, Path(pattern="^(start|stop|removal)$")],
    form: Annotated[ConsoleForm, Form()],
    visit: Annotated[Visit, Depends(_clerk)],
) -> Response:
    context = get_context(request)
    shown = await run_in_threadpool(service.view, context, file_id)
    kind = ActKind.USE if action == "start" else ActKind.CHANGE
    done = Act(kind, "agreement", "0x" + shown.file.agreement_id.hex())

    def work(_key: str) -> str:
        return _carry_out(context, file_id, action)

    return await submit(request, visit, done, work)


def _carry_out(context: Context, file_id: str, action: str) -> str:
    if action == "removal":
        service.remove(context, file_id)
        return "/call-files"
    (service.start if action == "start" else service.stop)(context, file_id)
    return f"/call-files/{file_id}"
