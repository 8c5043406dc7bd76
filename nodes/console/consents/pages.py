"""The consents stored at this bank: validity, withdrawal, what a call would be refused for."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from chain.statements.members import Role
from nodes.console.access import READERS, get_context, record, require
from nodes.console.accounts.model import Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.consents.views import EXPORT_COLUMNS, consent_view, export_cells
from nodes.console.exports import csv_response
from nodes.console.i18n import N_, gettext, in_language
from nodes.console.navigation import Entry
from nodes.console.paging import all_rows, console_page
from nodes.console.rendering import render
from registry.credit import consents as service
from registry.pages import PageRequest

router = APIRouter()
_BANK = Role.BANK
NAVIGATION = (Entry("/consents", N_("Consents"), READERS, _BANK),)
_reader = require(*READERS, nodes=_BANK)
Subject = Annotated[str, Query(max_length=256)]


@router.get("/consents")
def consents(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(_reader)],
    subject: Subject = "",
) -> Response:
    context, language = get_context(request), request.state.language
    record(request, visit, Act(ActKind.VIEW, "consents"))
    found = service.reviewed(context, page, subject=subject.strip())
    return render(
        request,
        "consents/list.html",
        rows=[consent_view(context, row, language) for row in found.rows],
        next=found.next,
        subject=subject,
    )


@router.get("/consents.csv")
def export(
    request: Request, visit: Annotated[Visit, Depends(_reader)], subject: Subject = ""
) -> Response:
    context, language = get_context(request), request.state.language
    record(request, visit, Act(ActKind.EXPORT, "consents"))
    rows = all_rows(lambda page: service.reviewed(context, page, subject=subject.strip()))
    with in_language(language):
        headers = [gettext(label) for label in EXPORT_COLUMNS]
        cells = [export_cells(consent_view(context, row, language)) for row in rows]
    return csv_response("consents", headers, cells)
