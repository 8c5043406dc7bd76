"""The catalogue of all members: search, one asset, export."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from pydantic import Field
from starlette.responses import Response

from chain.ethereum.eip712 import encode_code
from chain.statements.members import Role
from nodes.console.access import READERS, get_context, record, require, require_reader
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.assets.views import EXPORT_COLUMNS, asset_view, export_cells, own_view
from nodes.console.exports import csv_response
from nodes.console.forms import ConsoleForm, submit
from nodes.console.i18n import N_, gettext, in_language
from nodes.console.names import reason_choices
from nodes.console.navigation import Entry
from nodes.console.operations.views import operation_path
from nodes.console.paging import all_rows, console_page
from nodes.console.rendering import render
from registry.access import hex_bytes
from registry.assets import catalogue, status
from registry.pages import PageRequest
from registry.reasons import reason_code

router = APIRouter()
NAVIGATION = (Entry("/assets", N_("Catalogue"), READERS),)

_officer = require(PersonRole.CHIEF_DATA_OFFICER, nodes=Role.DEPARTMENT)


class CancelForm(ConsoleForm):
    """Why an asset is taken off the network."""

    reason: Annotated[str, Field(min_length=1, max_length=64)]


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
    context = get_context(request)
    own, live = entry.record.holder == context.member, entry.cancelled_at is None
    return render(
        request,
        "assets/detail.html",
        shown=asset_view(entry),
        requests=not own and live and visit.holds(PersonRole.CLERK),
        own=own_view(context, entry.asset_id, request.state.language) if own else None,
        cancels=own and live and visit.holds(PersonRole.CHIEF_DATA_OFFICER),
        reasons=reason_choices(request.state.language),
    )


@router.post("/assets/{asset_id}/cancellation")
async def cancel(
    request: Request,
    asset_id: str,
    form: Annotated[CancelForm, Form()],
    visit: Annotated[Visit, Depends(_officer)],
) -> Response:
    context = get_context(request)

    def work(_key: str) -> str:
        reason = encode_code(reason_code(form.reason))
        operation = status.cancel(context, hex_bytes(asset_id), reason)
        return operation_path(operation, back=f"/assets/{asset_id}")

    act = Act(ActKind.REVOKE, "asset", asset_id)
    return await submit(request, visit, act, work, action="asset.cancel")
