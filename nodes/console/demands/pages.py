"""Demands: posted by banks, answered by departments."""

from __future__ import annotations

from typing import Annotated

from anyio import from_thread
from fastapi import APIRouter, Depends, Form, Request
from pydantic import Field
from starlette.responses import Response

from chain.context import Context
from chain.statements.members import Role
from nodes.console.access import READERS, get_context, record, require
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.demands.views import own_view, received_view
from nodes.console.forms import ConsoleForm, submit
from nodes.console.i18n import N_
from nodes.console.names import purpose_name
from nodes.console.navigation import Entry
from nodes.console.paging import console_page
from nodes.console.rendering import render
from registry.access import hex_bytes
from registry.assets import catalogue
from registry.demands import service
from registry.list_limits import MAX_ROWS
from registry.pages import PageRequest
from registry.purposes import KNOWN_PURPOSES

router = APIRouter()
_PARTIES = Role.BANK | Role.DEPARTMENT
NAVIGATION = (Entry("/demands", N_("Demands"), READERS, _PARTIES),)

_reader = require(*READERS, nodes=_PARTIES)
_buyer = require(PersonRole.CLERK, nodes=Role.BANK)
_provider = require(PersonRole.CLERK, PersonRole.CHIEF_DATA_OFFICER, nodes=Role.DEPARTMENT)


class DemandForm(ConsoleForm):
    """What the bank needs; one column a line."""

    title: Annotated[str, Field(min_length=1, max_length=100)]
    text: Annotated[str, Field(min_length=1, max_length=2_000)]
    purpose: Annotated[str, Field(min_length=1, max_length=64)]
    columns: Annotated[str, Field(max_length=4_000)] = ""


class AnswerForm(ConsoleForm):
    """The asset that meets a demand."""

    asset: Annotated[str, Field(min_length=64, max_length=66)]
    note: Annotated[str, Field(max_length=400)] = ""


@router.get("/demands")
def demands(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(_reader)],
) -> Response:
    context, language = get_context(request), request.state.language
    record(request, visit, Act(ActKind.VIEW, "demands"))
    posts = bool(context.roles & Role.BANK)
    if posts:
        own = service.own(context, page)
        rows = [own_view(context, found, language) for found in own.rows]
        following = own.next
    else:
        received = service.received(context, page)
        rows = [received_view(context, found, language) for found in received.rows]
        following = received.next
    return render(
        request,
        "demands/list.html",
        rows=rows,
        next=following,
        posts=posts,
        clerk=visit.holds(PersonRole.CLERK),
        purposes=[(code, purpose_name(code, language)) for code in KNOWN_PURPOSES],
    )


@router.post("/demands")
async def post(
    request: Request,
    form: Annotated[DemandForm, Form()],
    visit: Annotated[Visit, Depends(_buyer)],
) -> Response:
    context = get_context(request)

    def work(key: str) -> str:
        made = service.post(
            context,
            title=form.title,
            text=form.text.replace("\r\n", "\n"),
            purpose=form.purpose,
            columns=[line.strip() for line in form.columns.splitlines() if line.strip()],
            idempotency_key=key,
        )
        return f"/demands/{made.demand.demand_id}"

    return await submit(request, visit, Act(ActKind.REQUEST, "demand"), work)


@router.get("/demands/{demand_id}")
def own_demand(
    request: Request, demand_id: str, visit: Annotated[Visit, Depends(_reader)]
) -> Response:
    context = get_context(request)
    found = service.find(context, demand_id)
    record(request, visit, Act(ActKind.VIEW, "demand", demand_id))
    return render(
        request,
        "demands/own.html",
        shown=own_view(context, found, request.state.language),
        clerk=visit.holds(PersonRole.CLERK),
    )


@router.post("/demands/{demand_id}/withdrawal")
async def withdraw(
    request: Request,
    demand_id: str,
    form: Annotated[ConsoleForm, Form()],
    visit: Annotated[Visit, Depends(_buyer)],
) -> Response:
    context = get_context(request)

    def work(_key: str) -> str:
        service.withdraw(context, demand_id)
        return f"/demands/{demand_id}"

    return await submit(request, visit, Act(ActKind.CHANGE, "demand", demand_id), work)


@router.get("/demands/{bank}/{demand_id}")
def received_demand(
    request: Request, bank: str, demand_id: str, visit: Annotated[Visit, Depends(_reader)]
) -> Response:
    context = get_context(request)
    found = service.find_received(context, bank, demand_id)
    record(request, visit, Act(ActKind.VIEW, "demand", demand_id))
    own = catalogue.search(context, PageRequest(MAX_ROWS), holder=context.member).rows
    return render(
        request,
        "demands/received.html",
        shown=received_view(context, found, request.state.language),
        assets=[
            ("0x" + entry.asset_id.hex(), entry.record.name)
            for entry in own
            if entry.cancelled_at is None
        ],
        answers=visit.holds(PersonRole.CLERK, PersonRole.CHIEF_DATA_OFFICER),
    )


@router.post("/demands/{bank}/{demand_id}/answer")
async def answer(
    request: Request,
    bank: str,
    demand_id: str,
    form: Annotated[AnswerForm, Form()],
    visit: Annotated[Visit, Depends(_provider)],
) -> Response:
    context, asset_id = get_context(request), hex_bytes(form.asset)
    note = form.note.replace("\r\n", "\n")

    def work(_key: str) -> str:
        from_thread.run(_answer, context, bank, demand_id, asset_id, note)
        return f"/demands/{bank}/{demand_id}"

    return await submit(request, visit, Act(ActKind.CHANGE, "demand", demand_id), work)


async def _answer(context: Context, bank: str, demand_id: str, asset_id: bytes, note: str) -> None:
    await service.answer(context, bank, demand_id, asset_id, note)
