"""Metered calls: one by form, its result, and those that wait for an answer."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from anyio import from_thread
from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import Field
from starlette.responses import Response

from chain.context import Context
from chain.statements.members import Role
from exchange.agreements import service as agreements
from exchange.metering import service
from exchange.metering.model import CallOutstanding, CallQuery, CallResult
from exchange.settlement import bundles
from nodes.console.access import get_context, record, require
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.calls.views import call_page, call_row, call_terms
from nodes.console.forms import ConsoleForm, submit
from nodes.console.i18n import N_
from nodes.console.navigation import Entry
from nodes.console.paging import console_page
from nodes.console.rendering import render
from registry.access import hex_bytes
from registry.pages import PageRequest

router = APIRouter()
_BUYERS = Role.BANK
_ROLES = (PersonRole.CLERK, PersonRole.AUDITOR)
NAVIGATION = (Entry("/calls", N_("Calls"), _ROLES, _BUYERS),)

_clerk = require(PersonRole.CLERK, nodes=_BUYERS)
_reader = require(*_ROLES, nodes=_BUYERS)


class CallForm(ConsoleForm):
    """One call."""

    subject: Annotated[str, Field(min_length=1, max_length=256)]
    columns: Annotated[list[str], Field(min_length=1, max_length=256)]
    consent: Annotated[str, Field(max_length=66)] = ""


@router.get("/calls")
def calls(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(_reader)],
    agreement: Annotated[str, Query(max_length=66)] = "",
) -> Response:
    record(request, visit, Act(ActKind.VIEW, "calls", agreement))
    wanted = hex_bytes(agreement) if agreement else None
    found = service.calls(get_context(request), page, agreement_id=wanted)
    rows = [call_row(row, request.state.language) for row in found.rows]
    return render(request, "calls/list.html", rows=rows, next=found.next, agreement=agreement)


@router.get("/calls/new")
def call_form(
    request: Request,
    visit: Annotated[Visit, Depends(_clerk)],
    agreement: Annotated[str, Query(max_length=66)],
) -> Response:
    terms = call_terms(get_context(request), agreement, request.state.language)
    record(request, visit, Act(ActKind.VIEW, "agreement", agreement))
    return render(request, "calls/form.html", terms=terms)


@router.post("/calls/new")
async def make_call(
    request: Request,
    form: Annotated[CallForm, Form()],
    visit: Annotated[Visit, Depends(_clerk)],
    agreement: Annotated[str, Query(max_length=66)],
) -> Response:
    context, agreement_id = get_context(request), hex_bytes(agreement)
    signed = (await run_in_threadpool(agreements.load, context, agreement_id)).agreement
    query = CallQuery(
        subject=form.subject,
        columns=tuple(form.columns),
        purpose=signed.purpose,
        consent=form.consent.lower(),
    )
    query = CallQuery.from_json(query.to_json())

    def work(key: str) -> str:
        from_thread.run(_call, context, agreement_id, query, key)
        return f"/calls/{quote(key, safe='')}"

    return await submit(request, visit, Act(ActKind.USE, "agreement", agreement), work)


@router.get("/calls/bundle.json")
async def bundle(
    request: Request,
    visit: Annotated[Visit, Depends(_reader)],
    agreement: Annotated[str, Query(max_length=66)],
    lane: Annotated[int, Query(ge=0, le=2**31)],
    seq: Annotated[int, Query(ge=0, le=2**53 - 1)],
) -> Response:
    data = await bundles.fetch(get_context(request), hex_bytes(agreement), lane, seq)
    act = Act(ActKind.EXPORT, "call", f"{agreement}/{lane}/{seq}")
    await run_in_threadpool(record, request, visit, act)
    name = f"call-{agreement[2:10]}-{lane}-{seq}.json"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type="application/json", headers=headers)


@router.get("/calls/{key:path}")
async def call(request: Request, key: str, visit: Annotated[Visit, Depends(_reader)]) -> Response:
    await run_in_threadpool(record, request, visit, Act(ActKind.VIEW, "call", key))
    shown: CallResult | None
    try:
        shown = await service.fetch(get_context(request), key)
    except CallOutstanding:
        shown = None
    return render(
        request,
        "calls/detail.html",
        key=key,
        shown=None if shown is None else call_page(shown, request.state.language),
        clerk=visit.holds(PersonRole.CLERK),
    )


@router.post("/calls/{key:path}/withdrawal")
async def withdraw(
    request: Request,
    key: str,
    form: Annotated[ConsoleForm, Form()],
    visit: Annotated[Visit, Depends(_clerk)],
) -> Response:
    context = get_context(request)

    def work(_key: str) -> str:
        from_thread.run(_withdraw, context, key)
        return f"/calls/{quote(key, safe='')}"

    return await submit(request, visit, Act(ActKind.CHANGE, "call", key), work)


async def _call(context: Context, agreement_id: bytes, query: CallQuery, key: str) -> None:
    """Make the call; one that is unanswered stays stored, and its page says so."""
    try:
        await service.call(context, agreement_id, query, idempotency_key=key)
    except CallOutstanding:
        return


async def _withdraw(context: Context, key: str) -> None:
    try:
        await service.withdraw(context, key)
    except CallOutstanding:
        return
