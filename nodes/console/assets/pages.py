"""The catalogue of all members: search, one asset, export."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from nodes.console.access import READERS, get_context, record, require_reader
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.assets.views import EXPORT_COLUMNS, asset_view, export_cells
from nodes.console.exports import csv_response
from nodes.console.i18n import N_, gettext, in_language
from nodes.console.navigation import Entry
from nodes.console.paging import all_rows, console_page
from nodes.console.rendering import render
from registry.access import hex_bytes
from registry.assets import catalogue
from registry.pages import PageRequest

router = APIRouter()
NAVIGATION = (Entry("/assets", N_("Catalogue"), READERS),)

SearchText = Annotated[str, Query(max_length=100)]


@router.get("/assets")
def assets(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(require_reader)],
    q: SearchText = "",
    holder: Annotated[str, Query(max_length=18)] = "",
) -> Response:
    record(request, visit, Act(ActKind.VIEW, "catalogue"))
    found = catalogue.search(get_context(request), page, text=q.strip(), holder=holder.strip())
    return render(
        request,
        "assets/list.html",
        rows=[asset_view(row) for row in found.rows],
        next=found.next,
        q=q,
        holder=holder,
    )


@router.get("/assets.csv")
def export(
    request: Request,
    visit: Annotated[Visit, Depends(require_reader)],
    q: SearchText = "",
    holder: Annotated[str, Query(max_length=18)] = "",
) -> Response:
    context = get_context(request)
    record(request, visit, Act(ActKind.EXPORT, "catalogue"))
    rows = all_rows(
        lambda page: catalogue.search(context, page, text=q.strip(), holder=holder.strip())
    )
    with in_language(request.state.language):
        headers = [gettext(label) for label in EXPORT_COLUMNS]
    return csv_response("assets", headers, (export_cells(asset_view(row)) for row in rows))


@router.get("/assets/{asset_id}")
def asset(
    request: Request, asset_id: str, visit: Annotated[Visit, Depends(require_reader)]
) -> Response:
    entry = catalogue.find(get_context(request), hex_bytes(asset_id))
    record(request, visit, Act(ActKind.VIEW, "asset", asset_id))
    others = entry.record.holder != get_context(request).member and entry.cancelled_at is None
    return render(
        request,
        "assets/detail.html",
        shown=asset_view(entry),
        requests=others and visit.holds(PersonRole.CLERK),
    )
