"""Who used what of this organisation's assets."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from chain.statements.members import Role
from exchange.metering import records
from exchange.settlement import bundles
from exchange.usage import service
from nodes.console.access import READERS, get_context, record, require
from nodes.console.accounts.model import Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.exports import csv_response
from nodes.console.i18n import N_, gettext, in_language
from nodes.console.names import asset_name
from nodes.console.navigation import Entry
from nodes.console.paging import all_rows, console_page
from nodes.console.rendering import render
from nodes.console.usage import views
from registry.access import hex_bytes
from registry.pages import PageRequest, page_by_rank

router = APIRouter()
_PROVIDERS = Role.DEPARTMENT
NAVIGATION = (Entry("/usage", N_("Who used what"), READERS, _PROVIDERS),)

_reader = require(*READERS, nodes=_PROVIDERS)
Date = Annotated[str, Query(max_length=10)]


@router.get("/usage")
def usage(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(_reader)],
    since: Date = "",
    until: Date = "",
) -> Response:
    context = get_context(request)
    record(request, visit, Act(ActKind.VIEW, "usage"))
    period = service.period_of(context, since=since, until=until)
    since, until = views.date_of(period.since), views.last_day(period)
    assets = service.assets(context, period)
    found = page_by_rank(assets, lambda used: (used.counts.served, used.asset_id), page)
    rows = [
        views.CountsView(
            asset_name(context, used.asset_id),
            "0x" + used.asset_id.hex(),
            used.counts,
            since,
            until,
        )
        for used in found.rows
    ]
    return render(request, "usage/list.html", rows=rows, next=found.next, since=since, until=until)


@router.get("/usage/{asset_id}")
def usage_of_asset(
    request: Request,
    asset_id: str,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(_reader)],
    since: Date = "",
    until: Date = "",
    by: Literal["day", "month"] = "day",
) -> Response:
    context = get_context(request)
    record(request, visit, Act(ActKind.VIEW, "usage", asset_id))
    period = service.period_of(context, since=since, until=until)
    report = service.report(context, hex_bytes(asset_id), period)
    buyers = page_by_rank(report.buyers, lambda used: (used.counts.served, used.agreement_id), page)
    shown = views.usage_view(context, report, buyers.rows)
    times = shown.days if by == "day" else shown.months
    with in_language(request.state.language):
        chart = views.usage_chart(times, gettext(N_("Served")), gettext(N_("Refused")))
    return render(
        request,
        "usage/detail.html",
        shown=shown,
        times=times,
        next=buyers.next,
        by=by,
        chart_option=chart,
        since=views.date_of(period.since),
        until=views.last_day(period),
    )


@router.get("/usage/{asset_id}/export.csv")
def export(
    request: Request,
    asset_id: str,
    visit: Annotated[Visit, Depends(_reader)],
    since: Date = "",
    until: Date = "",
) -> Response:
    context, identifier = get_context(request), hex_bytes(asset_id)
    record(request, visit, Act(ActKind.EXPORT, "usage", asset_id))
    period = service.period_of(context, since=since, until=until)
    rows = all_rows(lambda page: service.rows(context, page, identifier, period))
    with in_language(request.state.language):
        headers = [gettext(label) for label in views.EXPORT_COLUMNS]
    return csv_response("usage", headers, map(views.export_cells, rows))


@router.get("/usage/agreements/{agreement_id}")
def calls(
    request: Request,
    agreement_id: str,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(_reader)],
    since: Date = "",
    until: Date = "",
) -> Response:
    context = get_context(request)
    record(request, visit, Act(ActKind.VIEW, "calls", agreement_id))
    period = service.period_of(context, since=since, until=until)
    found = records.answered_calls(
        context, page, hex_bytes(agreement_id), since=period.since, until=period.until
    )
    return render(
        request,
        "usage/calls.html",
        agreement=agreement_id,
        rows=[views.call_view(row, request.state.language) for row in found.rows],
        next=found.next,
        since=views.date_of(period.since),
        until=views.last_day(period),
    )


@router.get("/usage/agreements/{agreement_id}/bundle.json")
def bundle(
    request: Request,
    agreement_id: str,
    visit: Annotated[Visit, Depends(_reader)],
    lane: Annotated[int, Query(ge=0, le=2**31)],
    seq: Annotated[int, Query(ge=0, le=2**53 - 1)],
) -> Response:
    context = get_context(request)
    data = bundles.trade_bundle(context, hex_bytes(agreement_id), lane, seq)
    record(request, visit, Act(ActKind.EXPORT, "call", f"{agreement_id}/{lane}/{seq}"))
    name = f"call-{agreement_id[2:10]}-{lane}-{seq}.json"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type="application/json", headers=headers)
