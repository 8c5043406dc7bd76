"""Earnings, and the claim of what buyers acknowledged."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import Response

from chain.core.zone import month_start
from chain.statements.members import Role
from exchange.settlement import earnings, service
from exchange.usage import service as usage
from exchange.usage.model import Period
from nodes.console.access import READERS, get_context, record, require
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.earnings import views
from nodes.console.exports import csv_response
from nodes.console.forms import ConsoleForm, submit
from nodes.console.i18n import N_, gettext, in_language
from nodes.console.navigation import Entry
from nodes.console.operations.views import operation_path
from nodes.console.paging import console_page
from nodes.console.rendering import render
from nodes.console.usage.views import date_of, last_day, month_view
from registry.access import hex_bytes
from registry.pages import PageRequest

router = APIRouter()
_PROVIDERS = Role.DEPARTMENT
NAVIGATION = (Entry("/earnings", N_("Earnings"), READERS, _PROVIDERS),)

_reader = require(*READERS, nodes=_PROVIDERS)
_clerk = require(PersonRole.CLERK, nodes=_PROVIDERS)
Date = Annotated[str, Query(max_length=10)]
YEAR_DAYS = 365


@router.get("/earnings")
def earned(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(_reader)],
    since: Date = "",
    until: Date = "",
) -> Response:
    context = get_context(request)
    record(request, visit, Act(ActKind.VIEW, "earnings"))
    period = _period(request, since, until)
    months = list(map(month_view, usage.earned_months(context, period)))
    found = earnings.listing(context, page)
    with in_language(request.state.language):
        chart = views.months_chart(months, gettext(N_("Earned (yuan)")))
    return render(
        request,
        "earnings/list.html",
        totals=earnings.totals(context),
        rows=[views.earnings_row(context, row) for row in found.rows],
        next=found.next,
        months=months,
        chart_option=chart,
        clerk=visit.holds(PersonRole.CLERK),
        since=date_of(period.since),
        until=last_day(period),
    )


@router.get("/earnings.csv")
def export(
    request: Request, visit: Annotated[Visit, Depends(_reader)], since: Date = "", until: Date = ""
) -> Response:
    context = get_context(request)
    record(request, visit, Act(ActKind.EXPORT, "earnings"))
    found = usage.monthly(context, _period(request, since, until))
    with in_language(request.state.language):
        headers = [gettext(label) for label in views.EXPORT_COLUMNS]
    rows = views.month_rows(context, found)
    return csv_response("earnings", headers, map(views.export_cells, rows))


@router.post("/earnings/{agreement_id}/claim")
async def claim(
    request: Request,
    agreement_id: str,
    form: Annotated[ConsoleForm, Form()],
    visit: Annotated[Visit, Depends(_clerk)],
) -> Response:
    context = get_context(request)

    def work(_key: str) -> str:
        queued = service.claim(context, hex_bytes(agreement_id))
        return operation_path(queued.operations[-1], back="/earnings")

    act = Act(ActKind.REQUEST, "claim", agreement_id)
    return await submit(request, visit, act, work, action="earnings.claim")


def _period(request: Request, since: str, until: str) -> Period:
    """The period asked for, by default this month and the year before it."""
    context = get_context(request)
    if not since and not until:
        since = date_of(month_start(context.now() - YEAR_DAYS * 86_400))
    return usage.period_of(context, since=since, until=until)
