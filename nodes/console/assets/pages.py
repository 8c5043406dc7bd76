"""The catalogue of all members: search with facets, one asset and its course, export."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import Field
from starlette.responses import Response

from chain.context import Context
from chain.core.errors import QiaolianError
from chain.ethereum.eip712 import encode_code
from chain.statements.members import Role
from exchange.catalogue import service
from exchange.catalogue.model import CatalogueFilter
from nodes.console.access import READERS, get_context, record, require, require_reader
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.assets.own_views import changes_view, own_view
from nodes.console.assets.views import (
    EXPORT_COLUMNS,
    CourseView,
    asset_detail,
    asset_view,
    course_view,
    export_cells,
    facet_views,
    query_of,
)
from nodes.console.errors import error_view
from nodes.console.exports import csv_response
from nodes.console.forms import ConsoleForm, FileForm, file_name, submit
from nodes.console.i18n import N_, gettext, in_language
from nodes.console.names import reason_choices
from nodes.console.navigation import Entry
from nodes.console.operations.views import operation_path
from nodes.console.paging import all_rows, console_page
from nodes.console.publishing import service as publishing
from nodes.console.rendering import render
from registry.access import hex_bytes
from registry.assets import catalogue, changes, serving, status
from registry.assets.model import VersionChanges
from registry.pages import PageRequest
from registry.reasons import reason_code

router = APIRouter()
NAVIGATION = (Entry("/assets", N_("Catalogue"), READERS),)


_officer = require(PersonRole.CHIEF_DATA_OFFICER, nodes=Role.DEPARTMENT)


_publisher = require(PersonRole.CLERK, PersonRole.CHIEF_DATA_OFFICER, nodes=Role.DEPARTMENT)


class RepublishForm(ConsoleForm):
    """The changes that were shown, by their fingerprint."""

    fingerprint: Annotated[str, Field(pattern=r"^0x[0-9a-f]{64}$")]


class CancelForm(ConsoleForm):
    """Why an asset is taken off the network."""

    reason: Annotated[str, Field(min_length=1, max_length=64)]


def wanted_assets(
    q: Annotated[str, Query(max_length=100)] = "",
    holder: Annotated[str, Query(max_length=18)] = "",
    category: Annotated[str, Query(max_length=100)] = "",
    grade: Annotated[str, Query(pattern="^[1-5]?$")] = "",
    state: Annotated[str, Query(max_length=10)] = "",
    price: Annotated[str, Query(max_length=10)] = "",
    unit: Annotated[str, Query(max_length=8)] = "",
    column: Annotated[str, Query(max_length=128)] = "",
    min_days: Annotated[str, Query(pattern="^[0-9]{0,5}$")] = "",
) -> CatalogueFilter:
    """What a request looks for, for ``Depends``; an empty field of the form matches everything."""
    return CatalogueFilter(
        text=q.strip(),
        holder=holder.strip(),
        category=category,
        grade=int(grade or 0),
        state=state,
        price=price,
        unit=unit,
        column=column.strip(),
        min_days=int(min_days or 0),
    )


@router.get("/assets")
def assets(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    wanted: Annotated[CatalogueFilter, Depends(wanted_assets)],
    visit: Annotated[Visit, Depends(require_reader)],
) -> Response:
    context, language = get_context(request), request.state.language
    record(request, visit, Act(ActKind.VIEW, "catalogue"))
    found, facets = service.search(context, page, wanted), service.facets(context, wanted)
    return render(
        request,
        "assets/list.html",
        rows=[asset_view(context, row, language) for row in found.rows],
        next=found.next,
        total=facets.total,
        facets=facet_views(context, facets, wanted),
        query=query_of(wanted),
        wanted=wanted,
    )


@router.get("/assets.csv")
def export(
    request: Request,
    wanted: Annotated[CatalogueFilter, Depends(wanted_assets)],
    visit: Annotated[Visit, Depends(require_reader)],
) -> Response:
    context, language = get_context(request), request.state.language
    record(request, visit, Act(ActKind.EXPORT, "catalogue"))
    rows = all_rows(lambda page: service.search(context, page, wanted))
    with in_language(language):
        headers = [gettext(label) for label in EXPORT_COLUMNS]
    cells = (export_cells(asset_view(context, row, language)) for row in rows)
    return csv_response("assets", headers, cells)


@router.get("/assets/{asset_id}")
async def asset(
    request: Request, asset_id: str, visit: Annotated[Visit, Depends(require_reader)]
) -> Response:
    context, identifier = get_context(request), hex_bytes(asset_id)
    entry = await run_in_threadpool(catalogue.find, context, identifier)
    await run_in_threadpool(record, request, visit, Act(ActKind.VIEW, "asset", asset_id))
    language = request.state.language
    own, live = entry.record.holder == context.member, entry.cancelled_at is None
    course = await _course(context, request, identifier) if live and not own else None
    held = await run_in_threadpool(own_view, context, identifier, language) if own else None
    return await run_in_threadpool(
        render,
        request,
        "assets/detail.html",
        shown=asset_detail(entry),
        course=course,
        own=held,
        cancels=own and live and visit.holds(PersonRole.CHIEF_DATA_OFFICER),
        publishes=live and visit.holds(PersonRole.CLERK, PersonRole.CHIEF_DATA_OFFICER),
        reasons=reason_choices(language),
    )


async def _course(context: Context, request: Request, asset_id: bytes) -> CourseView | None:
    """A bank's access to the asset; other organisations only ask for grants."""
    if not context.roles & (Role.BANK | Role.DEPARTMENT):
        return None
    found = await service.course(context, asset_id)
    return course_view("0x" + asset_id.hex(), found, request.state.language)


@router.get("/assets/{asset_id}/changes")
def source_changes(
    request: Request, asset_id: str, visit: Annotated[Visit, Depends(_publisher)]
) -> Response:
    context, identifier = get_context(request), hex_bytes(asset_id)
    own = serving.latest_own_version(context, identifier)
    record(request, visit, Act(ActKind.VIEW, "asset", asset_id))
    found, error = None, None
    try:
        found = changes.compare(context, identifier, VersionChanges())
    except QiaolianError as refused:
        error = error_view(refused, request.state.language)
    return render(
        request,
        "assets/changes.html",
        asset_id=asset_id,
        name=own.require_record().name,
        uploaded=serving.source_files(context).find(own.source) is not None,
        shown=None if found is None else changes_view(found),
        error=error,
    )


@router.post("/assets/{asset_id}/changes")
async def republish(
    request: Request,
    asset_id: str,
    form: Annotated[RepublishForm, Form()],
    visit: Annotated[Visit, Depends(_publisher)],
) -> Response:
    context, fingerprint = get_context(request), hex_bytes(form.fingerprint)

    def work(_key: str) -> str:
        made = changes.republish(
            context, hex_bytes(asset_id), VersionChanges(), fingerprint=fingerprint
        )
        return operation_path(made.operation, back=f"/assets/{asset_id}")

    subject = f"{asset_id[:34]}-{form.fingerprint[2:34]}"
    act = Act(ActKind.PUBLISH, "asset", subject)
    return await submit(request, visit, act, work, action="asset.publish")


@router.post("/publish/upload/asset/{asset_id}")
async def replace_file(
    request: Request,
    asset_id: str,
    form: Annotated[FileForm, Form(media_type="multipart/form-data")],
    visit: Annotated[Visit, Depends(_publisher)],
) -> Response:
    context = get_context(request)

    def work(_key: str) -> str:
        own = serving.latest_own_version(context, hex_bytes(asset_id))
        publishing.replace_published_file(context, own.source, file_name(form.file), form.file.file)
        return f"/assets/{asset_id}/changes"

    return await submit(request, visit, Act(ActKind.CHANGE, "asset", asset_id), work)


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
