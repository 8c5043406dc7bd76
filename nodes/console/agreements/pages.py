"""Agreements: the list, one agreement with its money, an order on an offer, the end."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from anyio import from_thread
from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import Field
from starlette.responses import Response

from chain.context import Context
from chain.core.errors import Unavailable
from chain.statements.grants import GrantTerms
from exchange.agreements import offers, proposals, service
from exchange.agreements.model import AgreementStage, AgreementView, Offer, ProposalRequest
from exchange.closing import service as closing
from exchange.spending import service as spending
from nodes.console.access import READERS, get_context, record, require, require_reader
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.agreements.views import STATES, Balance, agreement_page, offer_page
from nodes.console.forms import ConsoleForm, submit
from nodes.console.i18n import N_
from nodes.console.names import asset_name, member_name
from nodes.console.navigation import Entry
from nodes.console.operations.views import operation_path
from nodes.console.paging import console_page
from nodes.console.rendering import render
from nodes.console.spending.views import row_view
from registry.access import hex_bytes
from registry.grants import service as grants
from registry.list_limits import MAX_ROWS
from registry.pages import PageRequest

router = APIRouter()
NAVIGATION = (Entry("/agreements", N_("Agreements"), READERS),)

_clerk = require(PersonRole.CLERK)
MAX_PAGES = 20


class OrderForm(ConsoleForm):
    """An order on one of the provider's offers."""

    offer: str
    cap: Annotated[Decimal, Field(ge=0, le=10**12, decimal_places=2)]
    """Yuan; 0 for free data."""
    max_units: Annotated[int, Field(ge=0, le=10**12)] = 0
    """0: the deposit alone limits."""
    days: Annotated[int, Field(ge=1, le=3_650)] = 30


@router.get("/agreements")
def agreements(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(require_reader)],
    state: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    record(request, visit, Act(ActKind.VIEW, "agreements"))
    context = get_context(request)
    found = service.listing(context, page, state=state or None)
    return render(
        request,
        "agreements/list.html",
        rows=[agreement_page(context, row, request.state.language) for row in found.rows],
        next=found.next,
        state=state,
        states=[(stage.value, STATES[stage]) for stage in AgreementStage],
    )


@router.get("/agreements/order")
async def order_form(
    request: Request,
    visit: Annotated[Visit, Depends(_clerk)],
    grant: Annotated[str, Query(max_length=66)],
) -> Response:
    context = get_context(request)
    terms = (await run_in_threadpool(grants.find, context, hex_bytes(grant))).terms
    found = await _offers_for(context, terms)
    await run_in_threadpool(record, request, visit, Act(ActKind.VIEW, "offers", grant))
    return render(
        request,
        "agreements/order.html",
        grant=grant,
        name=await run_in_threadpool(asset_name, context, terms.asset_id),
        provider=await run_in_threadpool(member_name, context, terms.owner),
        offers=[offer_page(offer) for offer in found],
        free=bool(found) and all(offer.price == 0 for offer in found),
    )


@router.post("/agreements/order")
async def order(
    request: Request,
    form: Annotated[OrderForm, Form()],
    visit: Annotated[Visit, Depends(_clerk)],
    grant: Annotated[str, Query(max_length=66)],
) -> Response:
    context = get_context(request)
    wanted = ProposalRequest(
        grant_id=hex_bytes(grant),
        offer_hash=hex_bytes(form.offer),
        cap=int(form.cap * 100),
        max_units=form.max_units,
        seconds=form.days * 86_400,
    )

    def work(key: str) -> str:
        made = from_thread.run(_propose, context, wanted, key)
        back = f"/agreements/0x{made.agreement_id.hex()}"
        return operation_path(made.open_operation, back=back)

    act = Act(ActKind.REQUEST, "agreement", grant)
    return await submit(request, visit, act, work, action="agreement.order")


@router.get("/agreements/{agreement_id}")
def agreement(
    request: Request, agreement_id: str, visit: Annotated[Visit, Depends(require_reader)]
) -> Response:
    context, identifier = get_context(request), hex_bytes(agreement_id)
    found, spent = service.view(context, identifier), spending.of_agreement(context, identifier)
    record(request, visit, Act(ActKind.VIEW, "agreement", agreement_id))
    return render(
        request,
        "agreements/detail.html",
        shown=agreement_page(context, found, request.state.language),
        balance=_balance(context, identifier) if found.opened_at else None,
        spent=None if spent is None else row_view(context, spent, list(spent.months)),
        clerk=visit.holds(PersonRole.CLERK),
    )


@router.post("/agreements/{agreement_id}/closing")
async def close(
    request: Request,
    agreement_id: str,
    form: Annotated[ConsoleForm, Form()],
    visit: Annotated[Visit, Depends(_clerk)],
) -> Response:
    context = get_context(request)

    def work(_key: str) -> str:
        from_thread.run(closing.end, context, hex_bytes(agreement_id))
        return f"/agreements/{agreement_id}"

    act = Act(ActKind.CHANGE, "agreement", agreement_id)
    return await submit(request, visit, act, work, action="agreement.close")


def _balance(context: Context, agreement_id: bytes) -> Balance | None:
    """The money that the chain has; None while this node's view is stale."""
    try:
        return Balance.of(service.proved_state(context, agreement_id))
    except Unavailable:
        return None


async def _offers_for(context: Context, terms: GrantTerms) -> list[Offer]:
    """The owner's offers of the asset version that the grant is about."""
    page, found = PageRequest(MAX_ROWS, ""), list[Offer]()
    for _ in range(MAX_PAGES):
        shown = await offers.offers_of(context, terms.owner, page)
        found += [offer for offer in shown.rows if _fits(offer, terms)]
        if shown.next is None:
            break
        page = PageRequest(MAX_ROWS, shown.next)
    return found


def _fits(offer: Offer, terms: GrantTerms) -> bool:
    return (offer.asset_id, offer.asset_version) == (terms.asset_id, terms.asset_version)


async def _propose(context: Context, wanted: ProposalRequest, key: str) -> AgreementView:
    return await proposals.propose(context, wanted, idempotency_key=key)
