"""The network live, its flows, its validators and its nodes: supervisor and operator."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from chain.core.errors import QiaolianError
from exchange.supervision import service as supervision
from exchange.supervision.rules import MAX_PERIOD_DAYS
from exchange.supervision.service import WATCHERS
from nodes import network
from nodes.console.access import READERS, get_context, record, require
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.errors import error_view
from nodes.console.exports import csv_response
from nodes.console.i18n import N_
from nodes.console.navigation import Entry
from nodes.console.network.views import (
    CSV_HEADERS,
    SEVERITY,
    agreement_views,
    flow_chart,
    flow_views,
    flows_csv,
    hour_chart,
    live_view,
    node_views,
    own_certificate,
    validators_view,
)
from nodes.console.paging import console_page
from nodes.console.rendering import render
from registry.access import hex_bytes
from registry.pages import PageRequest, page_by_rank

router = APIRouter()
NAVIGATION = (
    Entry("/network", N_("The network live"), tuple(PersonRole), WATCHERS),
    Entry("/flows", N_("Flows of data"), READERS, WATCHERS),
    Entry("/validators", N_("Validators"), tuple(PersonRole), WATCHERS),
    Entry("/nodes", N_("Nodes and certificates"), tuple(PersonRole), WATCHERS),
)
PERIODS = (1, 7, 30, 90, MAX_PERIOD_DAYS)

_anyone = require(*PersonRole, nodes=WATCHERS)
_reader = require(*READERS, nodes=WATCHERS)
Days = Annotated[int, Query(ge=1, le=MAX_PERIOD_DAYS)]


@router.get("/network")
def live(request: Request, visit: Annotated[Visit, Depends(_anyone)]) -> Response:
    partial = request.headers.get("hx-request") == "true"
    if not partial:
        record(request, visit, Act(ActKind.VIEW, "network"))
    context = get_context(request)
    found = network.overview(context)
    shown = live_view(context, found, request.state.language)
    if partial:
        return render(request, "network/live_parts.html", shown=shown)
    chart = hour_chart(found, request.state.language)
    return render(request, "network/live.html", shown=shown, chart=chart)


@router.get("/flows")
def flows(request: Request, visit: Annotated[Visit, Depends(_reader)], days: Days = 30) -> Response:
    context = get_context(request)
    found = supervision.flows(context, days=days)
    record(request, visit, Act(ActKind.VIEW, "flows"))
    rows = flow_views(context, found)
    return render(
        request,
        "network/flows.html",
        found=found,
        rows=rows,
        days=days,
        periods=PERIODS,
        chart=flow_chart(rows, days),
    )


@router.get("/flows.csv")
def flows_file(
    request: Request, visit: Annotated[Visit, Depends(_reader)], days: Days = 30
) -> Response:
    context = get_context(request)
    found = supervision.flows(context, days=days)
    record(request, visit, Act(ActKind.EXPORT, "flows"))
    rows = flows_csv(flow_views(context, found))
    return csv_response(f"flows-{found.first_day}-{found.last_day}", CSV_HEADERS, rows)


@router.get("/flows/agreements")
def flow_agreements(
    request: Request,
    visit: Annotated[Visit, Depends(_reader)],
    asset: Annotated[str, Query(max_length=66)],
    provider: Annotated[str, Query(max_length=18)],
    buyer: Annotated[str, Query(max_length=18)],
) -> Response:
    context = get_context(request)
    supervision.require_watcher(context)
    found = supervision.agreements_of(
        context, asset_id=hex_bytes(asset), provider=provider, buyer=buyer
    )
    record(request, visit, Act(ActKind.VIEW, "flow", asset))
    return render(request, "network/agreements.html", rows=agreement_views(context, found))


@router.get("/validators")
def validators(request: Request, visit: Annotated[Visit, Depends(_anyone)]) -> Response:
    record(request, visit, Act(ActKind.VIEW, "validators"))
    context = get_context(request)
    shown, problem = None, None
    try:
        shown = validators_view(network.validator_report(context, blocks=network.MAX_BLOCKS))
    except QiaolianError as error:
        problem = error_view(error, request.state.language)
    return render(request, "network/validators.html", shown=shown, problem=problem)


@router.get("/nodes")
async def nodes(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(_anyone)],
) -> Response:
    await run_in_threadpool(record, request, visit, Act(ActKind.VIEW, "nodes"))
    context = get_context(request)
    statuses = await run_in_threadpool(network.node_statuses, context)
    found = page_by_rank(statuses, lambda node: (SEVERITY[node.state], node.member.encode()), page)
    views = await run_in_threadpool(node_views, context, found.rows, request.state.language)
    return render(
        request,
        "network/nodes.html",
        rows=views,
        next=found.next,
        own=own_certificate(request.app.state),
    )
