"""A bank's spending by agreement and month, against caps."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from chain.statements.members import Role
from exchange.spending import service
from exchange.spending.model import Spending
from nodes.console.access import READERS, get_context, record, require
from nodes.console.accounts.model import Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.exports import csv_response
from nodes.console.i18n import N_, gettext, in_language
from nodes.console.navigation import Entry
from nodes.console.paging import console_page
from nodes.console.rendering import render
from nodes.console.spending.views import EXPORT_COLUMNS, chart, export_cells, row_view
from registry.list_limits import MAX_ROWS
from registry.pages import PageRequest

router = APIRouter()
_BUYERS = Role.BANK
NAVIGATION = (Entry("/spending", N_("Spending"), READERS, _BUYERS),)
_reader = require(*READERS, nodes=_BUYERS)
MAX_PAGES = 50


@router.get("/spending")
def spending(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(_reader)],
) -> Response:
    context = get_context(request)
    record(request, visit, Act(ActKind.VIEW, "spending"))
    found, following = service.spending(context, page)
    months = list(found.months)
    with in_language(request.state.language):
        option = chart(found)
    return render(
        request,
        "spending/page.html",
        rows=[row_view(context, row, months) for row in found.agreements],
        months=list(found.by_month.items()),
        total=found.total,
        left=sum(row.left for row in found.agreements),
        option=option,
        next=following,
    )


@router.get("/spending.csv")
def export(request: Request, visit: Annotated[Visit, Depends(_reader)]) -> Response:
    context = get_context(request)
    record(request, visit, Act(ActKind.EXPORT, "spending"))
    rows, cursor, months = [], "", list[str]()
    for _ in range(MAX_PAGES):
        found: Spending
        found, following = service.spending(context, PageRequest(MAX_ROWS, cursor))
        months = list(found.months)
        rows += [export_cells(row_view(context, row, months)) for row in found.agreements]
        if following is None:
            break
        cursor = following
    with in_language(request.state.language):
        headers = [*(gettext(label) for label in EXPORT_COLUMNS), *months]
    return csv_response("spending", headers, rows)
