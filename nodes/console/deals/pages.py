"""Property deals: the list, a deal's course with its taxes and title, and its steps."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from anyio import from_thread
from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import ConfigDict
from starlette.datastructures import UploadFile
from starlette.responses import Response

from chain.context import Context
from chain.core import canonical
from chain.core.errors import BadInput, Forbidden, Malformed
from chain.statements.members import Role
from chain.statements.property import DealStep, StepKind, TitleStatement
from nodes.console.access import READERS, get_context, record, require
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.deals.views import (
    STAGES,
    STATED,
    deal_row,
    deal_view,
    money_views,
    signed_about,
    tax_view,
    title_view,
)
from nodes.console.forms import ConsoleForm, submit
from nodes.console.i18n import N_
from nodes.console.navigation import Entry
from nodes.console.operations.views import operation_path
from nodes.console.paging import console_page
from nodes.console.rendering import render
from nodes.console.signing.views import (
    SignedForm,
    SigningView,
    sign_request,
    signature_of,
    signed_statement,
)
from registry.access import hex_bytes
from registry.pages import PageRequest
from registry.property import deals, export, steps
from registry.property.model import CertifiedKey, Deal, DealSearch, DealStage, NewDeal
from registry.property.rules import MAX_DEAL_SECONDS, SEARCHED_STAGES, STEP_NAMES
from registry.property.signing import described, step_of

router = APIRouter()
_NODES = Role.DEPARTMENT | Role.BANK | Role.AGENCY | Role.SUPERVISOR
NAVIGATION = (Entry("/deals", N_("Property deals"), READERS, _NODES),)

_reader = require(*READERS, nodes=_NODES)
_clerk = require(PersonRole.CLERK, nodes=_NODES)
_agent = require(PersonRole.CLERK, nodes=Role.AGENCY)
MAX_DAYS = MAX_DEAL_SECONDS // 86_400 - 1
MAX_FILE = 65_536
Side = Literal["seller", "buyer"]


class StepForm(ConsoleForm):
    """The number that an organisation states with its step; empty where it states none."""

    number: str = ""


class DrawForm(ConsoleForm):
    """A deal as the estate agent draws it up: three files, and what the parties agreed."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    title: UploadFile
    seller: UploadFile
    buyer: UploadFile
    unit: str
    area: str
    price: str
    loan: str = "0"
    original_price: str = ""
    months_held: int
    only_home: bool = False
    buyer_homes: int
    bank: str = ""
    tax_authority: str
    notary: str
    days: int


@router.get("/deals")
def listing(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(_reader)],
    q: Annotated[str, Query(max_length=100)] = "",
    state: Annotated[Literal["", "draft", "open", "registered", "expired"], Query()] = "",
) -> Response:
    record(request, visit, Act(ActKind.VIEW, "deals"))
    context = get_context(request)
    search = DealSearch(q.strip(), DealStage(state) if state else None)
    found = deals.listing(context, page, search)
    return render(
        request,
        "deals/list.html",
        rows=[deal_row(context, overview) for overview in found.rows],
        next=found.next,
        q=q,
        state=state,
        states=[(stage.value, STAGES[stage]) for stage in SEARCHED_STAGES],
        draws=visit.holds(PersonRole.CLERK) and bool(context.roles & Role.AGENCY),
    )


@router.get("/deals/new")
def draw_form(request: Request, visit: Annotated[Visit, Depends(_agent)]) -> Response:
    record(request, visit, Act(ActKind.VIEW, "deals"))
    return render(request, "deals/new.html", max_days=MAX_DAYS)


@router.post("/deals/new")
async def draw_up(
    request: Request,
    form: Annotated[DrawForm, Form(media_type="multipart/form-data")],
    visit: Annotated[Visit, Depends(_agent)],
) -> Response:
    context = get_context(request)
    wanted = await _drawn_up(context, form)

    def work(_key: str) -> str:
        deal = from_thread.run(deals.create, context, wanted)
        return f"/deals/0x{deal.deal_id.hex()}"

    return await submit(request, visit, Act(ActKind.CHANGE, "deal"), work)


@router.get("/deals/{deal_id}")
def deal(request: Request, deal_id: str, visit: Annotated[Visit, Depends(_reader)]) -> Response:
    return render(request, "deals/detail.html", **_shown(request, deal_id, visit))


@router.get("/deals/{deal_id}/certificate")
def certificate(
    request: Request, deal_id: str, visit: Annotated[Visit, Depends(_reader)]
) -> Response:
    return render(request, "deals/certificate.html", **_shown(request, deal_id, visit))


@router.get("/deals/{deal_id}/bundle.json")
async def bundle(
    request: Request, deal_id: str, visit: Annotated[Visit, Depends(_reader)]
) -> Response:
    data = await export.fetch(get_context(request), hex_bytes(deal_id))
    await run_in_threadpool(record, request, visit, Act(ActKind.EXPORT, "deal", deal_id))
    name = f"deal-{deal_id[2:10]}.json"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type="application/json", headers=headers)


@router.post("/deals/{deal_id}/steps/{step}")
async def sign_step(
    request: Request,
    deal_id: str,
    step: str,
    form: Annotated[StepForm, Form()],
    visit: Annotated[Visit, Depends(_clerk)],
) -> Response:
    context, kind = get_context(request), _step(step)
    stated = STATED.get(kind)
    given = {stated: form.number} if stated else None

    def work(_key: str) -> str:
        signed = from_thread.run(steps.sign, context, hex_bytes(deal_id), kind, given)
        if not signed.operation:
            return f"/deals/{deal_id}"
        return operation_path(signed.operation, back=f"/deals/{deal_id}")

    act = Act(ActKind.APPROVE, "deal", deal_id)
    return await submit(request, visit, act, work, action=f"deal.{kind.name.lower()}")


@router.post("/deals/{deal_id}/expiry")
async def expire(
    request: Request,
    deal_id: str,
    form: Annotated[ConsoleForm, Form()],
    visit: Annotated[Visit, Depends(_clerk)],
) -> Response:
    def work(_key: str) -> str:
        operation = deals.expire(get_context(request), hex_bytes(deal_id))
        return operation_path(operation, back=f"/deals/{deal_id}")

    return await submit(request, visit, Act(ActKind.CHANGE, "deal", deal_id), work)


@router.get("/deals/{deal_id}/sign/{side}")
def person_form(
    request: Request, deal_id: str, side: Side, visit: Annotated[Visit, Depends(_agent)]
) -> Response:
    found = deals.find(get_context(request), hex_bytes(deal_id))
    record(request, visit, Act(ActKind.VIEW, "deal", deal_id))
    return render(
        request,
        "deals/sign.html",
        deal=deal_id,
        back="/deals",
        view=person_panel(get_context(request), found, _step(side)),
        action=f"/deals/{deal_id}/sign/{side}",
        label=N_("Seller signs") if side == "seller" else N_("Buyer signs"),
    )


@router.post("/deals/{deal_id}/sign/{side}")
async def person_signs(
    request: Request,
    deal_id: str,
    side: Side,
    form: Annotated[SignedForm, Form(media_type="multipart/form-data")],
    visit: Annotated[Visit, Depends(_agent)],
) -> Response:
    return await receive_signature(request, visit, form, deal_id, side, back=f"/deals/{deal_id}")


def person_panel(context: Context, deal: Deal, step: StepKind) -> SigningView:
    """What the seller or buyer signs; ``other_agent`` away from the deal's agent."""
    if deal.terms.agent != context.member:
        raise Forbidden("other_agent", "The deal's seller and buyer sign at its agent's node.")
    statement = step_of(deal.terms, step, now=context.now())
    return sign_request(
        context, statement, about=signed_about(context, deal, step), described=described(deal)
    )


async def receive_signature(
    request: Request,
    visit: Visit,
    form: SignedForm,
    deal_id: str,
    side: str,
    *,
    back: str,
    follow: bool = True,
) -> Response:
    """Take the seller's or buyer's signature.

    Args:
        follow: whether to lead to the page of the call that it causes, which subjects do not see.
    """
    context = get_context(request)
    statement = signed_statement(form, DealStep)
    if statement.step != _step(side):
        raise BadInput("other_deal", "The signature is for another step than this page's.")
    signature = await signature_of(context, form, statement)

    def work(_key: str) -> str:
        taken = from_thread.run(
            steps.receive_signature, context, hex_bytes(deal_id), statement, signature
        )
        return operation_path(taken.operation, back=back) if follow and taken.operation else back

    return await submit(request, visit, Act(ActKind.APPROVE, "deal", deal_id), work)


def _shown(request: Request, deal_id: str, visit: Visit) -> dict[str, Any]:
    context = get_context(request)
    overview = deals.describe(context, hex_bytes(deal_id))
    record(request, visit, Act(ActKind.VIEW, "deal", deal_id))
    shown, taxes = deal_view(context, overview), tax_view(context, overview)
    return {
        "shown": shown,
        "taxes": taxes,
        "money": money_views(shown, taxes),
        "title": title_view(context, overview.deal, shown.steps),
        "signs": visit.holds(PersonRole.CLERK),
    }


def _step(name: str) -> StepKind:
    if name not in STEP_NAMES:
        raise BadInput("unknown_step", "A deal has no step of that name.")
    return STEP_NAMES[name]


async def _drawn_up(context: Context, form: DrawForm) -> NewDeal:
    """The deal of a form; ``title_malformed``, ``certificate_malformed``, ``amount_malformed``,
    ``deal_days_out_of_range``.
    """
    if not 1 <= form.days <= MAX_DAYS:
        raise BadInput("deal_days_out_of_range", f"A deal lasts from 1 to {MAX_DAYS} days.")
    title = await _file(form.title, "title_malformed")
    try:
        statement = TitleStatement.from_json(title["title"])
        signature = hex_bytes(title["signature"], length=65)
    except (KeyError, TypeError) as error:
        raise BadInput("title_malformed", "The file is not a title statement.") from error
    content = {
        "unit": form.unit,
        "area": _hundredths(form.area) * 100,
        "price": str(_hundredths(form.price)),
        "loan": str(_hundredths(form.loan or "0")),
        "monthsHeld": form.months_held,
        "onlyHome": form.only_home,
        "buyerHomes": form.buyer_homes,
        "originalPrice": str(_hundredths(form.original_price)) if form.original_price else None,
    }
    return NewDeal(
        title=statement,
        title_signature=signature,
        seller=CertifiedKey.from_json(await _file(form.seller, "certificate_malformed")),
        buyer=CertifiedKey.from_json(await _file(form.buyer, "certificate_malformed")),
        bank=form.bank,
        tax_authority=form.tax_authority,
        notary=form.notary,
        content=content,
        expires_at=context.now() + form.days * 86_400,
    )


async def _file(upload: UploadFile, code: str) -> Any:
    try:
        return canonical.loads(await upload.read(MAX_FILE + 1), max_bytes=MAX_FILE)
    except (Malformed, BadInput, json.JSONDecodeError) as error:
        raise BadInput(code, "A chosen file is not what the page asks for.") from error


def _hundredths(text: str) -> int:
    """Yuan as fen, or square metres as hundredths; ``amount_malformed``."""
    whole, _, part = text.replace(",", "").strip().partition(".")
    if not (whole.isascii() and whole.isdecimal() and len(whole) <= 12) or len(part) > 2:
        raise BadInput("amount_malformed", "An amount is digits with at most two decimals.")
    if part and not (part.isascii() and part.isdecimal()):
        raise BadInput("amount_malformed", "An amount is digits with at most two decimals.")
    return int(whole) * 100 + int(part.ljust(2, "0") or 0)
