"""Disputes: the list, one dispute, and what provider, buyer and arbiter do in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Form, Query, Request
from pydantic import Field
from starlette.responses import Response

from chain.context import Context
from chain.core.errors import Unavailable
from chain.statements.disputes import ContestReason, LogPosition
from exchange.disputes import export, fines, peers, service
from exchange.disputes.model import (
    DisputeCall,
    DisputeCase,
    DisputeRole,
    DisputeView,
    RulingRequest,
)
from nodes.console.access import READERS, get_context, record, require, require_reader
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.disputes.views import REASONS, dispute_page, time_page
from nodes.console.forms import ConsoleForm, submit
from nodes.console.i18n import N_
from nodes.console.names import member_name
from nodes.console.navigation import Entry
from nodes.console.operations.views import operation_path
from nodes.console.paging import console_page
from nodes.console.rendering import render
from registry.access import hex_bytes
from registry.pages import PageRequest

router = APIRouter()
NAVIGATION = (Entry("/disputes", N_("Disputes"), READERS),)

_clerk = require(PersonRole.CLERK)


class ContestForm(ConsoleForm):
    """Why a buyer contests."""

    reason: Annotated[int, Field(ge=1, le=len(ContestReason))]


class RulingForm(ConsoleForm):
    """An arbiter's decision."""

    amount: Annotated[Decimal, Field(ge=0, le=10**12, decimal_places=2)]
    """Yuan that are paid of the call."""
    opinion: Annotated[str, Field(min_length=1, max_length=10_000)]
    member: Annotated[str, Field(min_length=18, max_length=18)]
    index: Annotated[int, Field(ge=0, le=2**53 - 1)]


@router.get("/disputes")
def disputes(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(require_reader)],
    live: Annotated[str, Query(max_length=4)] = "",
) -> Response:
    record(request, visit, Act(ActKind.VIEW, "disputes"))
    context = get_context(request)
    found = service.listing(context, page, live=live == "yes")
    return render(
        request,
        "disputes/list.html",
        rows=[dispute_page(context, row) for row in found.rows],
        next=found.next,
        live=live,
    )


@router.get("/fines")
def fines_taken(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(require_reader)],
) -> Response:
    record(request, visit, Act(ActKind.VIEW, "fines"))
    context = get_context(request)
    found = fines.listing(context, page)
    rows = [(fine, member_name(context, fine.provider)) for fine in found.rows]
    return render(request, "disputes/fines.html", rows=rows, next=found.next)


@router.get("/disputes/{receipt_id}")
def dispute(
    request: Request, receipt_id: str, visit: Annotated[Visit, Depends(require_reader)]
) -> Response:
    context = get_context(request)
    found = service.find(context, hex_bytes(receipt_id))
    proved = _proved(context, found.receipt_id)
    record(request, visit, Act(ActKind.VIEW, "dispute", receipt_id))
    return render(
        request,
        "disputes/detail.html",
        shown=dispute_page(context, found),
        time=None if proved is None else time_page(proved),
        bond=None if proved is None else proved.bond_held,
        reasons=[(int(reason), label) for reason, label in REASONS.items()],
        suggested=None if proved is None else proved.wrong,
        provider_code=found.agreement.provider,
        clerk=visit.holds(PersonRole.CLERK),
    )


@router.get("/disputes/{receipt_id}/answer")
async def answer_shown(
    request: Request, receipt_id: str, visit: Annotated[Visit, Depends(_clerk)]
) -> Response:
    context = get_context(request)
    found = await asyncio.to_thread(service.find, context, hex_bytes(receipt_id))
    check = await peers.check_answer(context, found.receipt_id)
    shown = Act(ActKind.VIEW, "dispute-answer", receipt_id)
    await asyncio.to_thread(record, request, visit, shown)
    return render(
        request,
        "disputes/answer.html",
        id=receipt_id,
        matches=check.matches,
        evidence=not check.matches and found.role is DisputeRole.BUYER,
        content=json.dumps(check.content, ensure_ascii=False, indent=2),
    )


@router.get("/disputes/{receipt_id}/bundle.json")
def bundle(
    request: Request,
    receipt_id: str,
    visit: Annotated[Visit, Depends(require_reader)],
    case: Literal[DisputeCase.CLAIM, DisputeCase.ANSWER] = DisputeCase.CLAIM,
) -> Response:
    context = get_context(request)
    receipt = service.find(context, hex_bytes(receipt_id)).receipt
    data = export.bundle(context, case, receipt.agreement_id, receipt.lane, receipt.seq)
    record(request, visit, Act(ActKind.EXPORT, "dispute", receipt_id))
    headers = {"content-disposition": f'attachment; filename="dispute-{receipt_id[2:10]}.json"'}
    return Response(data, media_type="application/json", headers=headers)


@router.post("/disputes/{receipt_id}/contest")
async def contest(
    request: Request,
    receipt_id: str,
    form: Annotated[ContestForm, Form()],
    visit: Annotated[Visit, Depends(_clerk)],
) -> Response:
    context, reason = get_context(request), ContestReason(form.reason)
    return await _submit(
        request, visit, receipt_id, lambda found: service.contest(context, found, reason)
    )


@router.post("/disputes/{receipt_id}/answer")
async def answer(
    request: Request,
    receipt_id: str,
    form: Annotated[ConsoleForm, Form()],
    visit: Annotated[Visit, Depends(_clerk)],
) -> Response:
    context = get_context(request)
    return await _submit(request, visit, receipt_id, lambda found: service.answer(context, found))


@router.post("/disputes/{receipt_id}/opening")
async def open_to_arbiter(
    request: Request,
    receipt_id: str,
    form: Annotated[ConsoleForm, Form()],
    visit: Annotated[Visit, Depends(_clerk)],
) -> Response:
    context = get_context(request)

    def work(_key: str) -> str:
        service.open_to_arbiter(context, hex_bytes(receipt_id))
        return f"/disputes/{receipt_id}"

    return await submit(request, visit, Act(ActKind.CHANGE, "dispute", receipt_id), work)


@router.post("/disputes/{receipt_id}/ruling")
async def rule(
    request: Request,
    receipt_id: str,
    form: Annotated[RulingForm, Form()],
    visit: Annotated[Visit, Depends(_clerk)],
) -> Response:
    context = get_context(request)
    evidence = [LogPosition(form.member, form.index)]
    ruling = RulingRequest(int(form.amount * 100), form.opinion, evidence)
    return await _submit(
        request, visit, receipt_id, lambda found: service.rule(context, found, ruling)
    )


@router.post("/disputes/{receipt_id}/end")
async def end(
    request: Request,
    receipt_id: str,
    form: Annotated[ConsoleForm, Form()],
    visit: Annotated[Visit, Depends(_clerk)],
) -> Response:
    context = get_context(request)
    return await _submit(request, visit, receipt_id, lambda found: service.end(context, found))


def _proved(context: Context, receipt_id: bytes) -> DisputeView | None:
    """The deadline and the bond; None while the chain gives no fresh view."""
    try:
        return service.show(context, receipt_id)
    except Unavailable:
        return None


async def _submit(
    request: Request, visit: Visit, receipt_id: str, act: Callable[[bytes], DisputeCall]
) -> Response:
    """Queue a call of the dispute, and follow it."""

    def work(_key: str) -> str:
        made = act(hex_bytes(receipt_id))
        return operation_path(made.operation, back=f"/disputes/{receipt_id}")

    return await submit(request, visit, Act(ActKind.CHANGE, "dispute", receipt_id), work)
