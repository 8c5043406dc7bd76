"""The clearing book by day, its entries, and the closing of a day."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import Response

from chain.statements.members import Role
from exchange.clearing import service
from exchange.clearing.service import KEEPERS
from nodes.console.access import READERS, get_context, record, require
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.clearing.views import (
    CSV_HEADERS,
    POSITION_HEADERS,
    day_view,
    difference_views,
    entry_rows,
    entry_view,
    position_rows,
    position_views,
)
from nodes.console.exports import csv_response
from nodes.console.forms import ConsoleForm, submit
from nodes.console.i18n import N_
from nodes.console.navigation import Entry
from nodes.console.paging import ROWS, all_rows, console_page
from nodes.console.rendering import render
from registry.list_limits import MAX_CURSOR_CHARACTERS
from registry.pages import PageRequest, page_by_id

router = APIRouter()
NAVIGATION = (Entry("/clearing", N_("Clearing book"), READERS, KEEPERS),)
APPROVERS = (PersonRole.CLERK, PersonRole.CHIEF_DATA_OFFICER)

_reader = require(*READERS, nodes=KEEPERS)
_person = require(*APPROVERS, nodes=Role.OPERATOR)


@router.get("/clearing")
def days(
    request: Request,
    visit: Annotated[Visit, Depends(_reader)],
    before: Annotated[str, Query(max_length=10)] = "",
) -> Response:
    context = get_context(request)
    found = service.days(context, before=before)
    record(request, visit, Act(ActKind.VIEW, "clearing"))
    rows = [day_view(context, day) for day in found]
    more = rows[-1].day if len(rows) == service.MAX_DAYS else ""
    return render(request, "clearing/list.html", rows=rows, more=more)


@router.get("/clearing/{day}")
def one_day(
    request: Request,
    day: str,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(_reader)],
    members: Annotated[str, Query(max_length=MAX_CURSOR_CHARACTERS)] = "",
) -> Response:
    context = get_context(request)
    shown = day_view(context, service.day(context, day))
    entries = service.entries(context, day, page)
    positions = page_by_id(
        service.positions(context, day),
        lambda one: one.member.encode(),
        PageRequest(ROWS, members),
    )
    record(request, visit, Act(ActKind.VIEW, "day", day))
    closes = visit.holds(*APPROVERS) and bool(context.roles & Role.OPERATOR)
    return render(
        request,
        "clearing/day.html",
        shown=shown,
        positions=position_views(context, positions.rows),
        next_members=positions.next,
        rows=[entry_view(context, entry) for entry in entries.rows],
        next=entries.next,
        closes=closes and shown.can_close,
    )


@router.get("/clearing/{day}/entries.csv")
def entries_file(request: Request, day: str, visit: Annotated[Visit, Depends(_reader)]) -> Response:
    context = get_context(request)
    service.day(context, day)
    record(request, visit, Act(ActKind.EXPORT, "day", day))
    entries = all_rows(lambda page: service.entries(context, day, page))
    return csv_response(f"clearing-{day}", CSV_HEADERS, entry_rows(entries))


@router.get("/clearing/{day}/positions.csv")
def positions_file(
    request: Request, day: str, visit: Annotated[Visit, Depends(_reader)]
) -> Response:
    context = get_context(request)
    found = service.positions(context, day)
    record(request, visit, Act(ActKind.EXPORT, "day", day))
    return csv_response(f"positions-{day}", POSITION_HEADERS, position_rows(found))


@router.get("/clearing-comparison")
def comparison(request: Request, visit: Annotated[Visit, Depends(_reader)]) -> Response:
    context = get_context(request)
    record(request, visit, Act(ActKind.VIEW, "clearing"))
    found = service.compare(context)
    return render(
        request,
        "clearing/comparison.html",
        found=found,
        differences=difference_views(context, found.differences),
    )


@router.post("/clearing/{day}/closing")
async def close(
    request: Request,
    day: str,
    form: Annotated[ConsoleForm, Form()],
    visit: Annotated[Visit, Depends(_person)],
) -> Response:
    def work(_key: str) -> str:
        service.close_day(get_context(request), day, person=visit.account.id)
        return f"/clearing/{day}"

    return await submit(request, visit, Act(ActKind.APPROVE, "day", day), work)
