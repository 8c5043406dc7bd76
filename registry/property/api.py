"""Property deals and their steps; ``register_api`` has the registration centre's endpoints."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from chain.context import Context
from chain.core.errors import BadInput, Forbidden
from chain.statements.examples import example
from chain.statements.members import SubjectKeyCertificate
from chain.statements.property import DealStep, DealTerms, StepKind, TitleStatement
from registry.access import (
    NonNegativeInt,
    Principal,
    field,
    get_context,
    hex_bytes,
    hex_field,
    page_request,
    require_local,
    require_member,
    strict_json,
)
from registry.openapi import OPEN_TO_STRANGERS, SALT, SIGNATURE, strict_body
from registry.pages import ListAnswer, PageRequest
from registry.property import deals, export, model, peers, steps
from registry.property.course import course_of
from registry.property.register_api import READERS
from registry.property.rules import STEP_NAMES, members_of
from registry.property.tax import sources_of
from registry.schemas import BUNDLE, QueuedCall, Statement

router = APIRouter(tags=["property"])

_CONTENT: dict[str, Any] = {
    "unit": "440703-000001",
    "area": 1200000,
    "price": "98000000",
    "loan": "60000000",
    "monthsHeld": 70,
    "onlyHome": True,
    "buyerHomes": 0,
    "originalPrice": None,
}
_DEAL: dict[str, Any] = {
    "terms": DealTerms,
    "content": _CONTENT,
    "contentSalt": SALT,
    "title": TitleStatement,
    "titleSignature": SIGNATURE,
    "certificates": [{"certificate": SubjectKeyCertificate, "signature": SIGNATURE}] * 2,
}


class PersonBody(BaseModel):
    """A certificate of a person's one-time key, with its signature."""

    model_config = ConfigDict(extra="forbid")
    certificate: dict[str, Any]
    signature: str


class DealBody(BaseModel):
    """A deal as the estate agent draws it up. Amounts are decimal strings of fen, the area is in
    square centimetres.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "title": example(TitleStatement).to_json(),
                "titleSignature": SIGNATURE,
                "seller": {
                    "certificate": example(SubjectKeyCertificate).to_json(),
                    "signature": SIGNATURE,
                },
                "buyer": {
                    "certificate": example(SubjectKeyCertificate).to_json(),
                    "signature": SIGNATURE,
                },
                "bank": "91440703QL000001X3",
                "taxAuthority": "11440703QL000002XC",
                "notary": "12440703QL000003XA",
                "content": _CONTENT,
                "expiresAt": 1790000000,
            }
        },
    )
    title: dict[str, Any]
    titleSignature: str
    seller: PersonBody
    buyer: PersonBody
    bank: str = ""
    taxAuthority: str
    notary: str
    content: dict[str, Any]
    expiresAt: int


class StepBody(BaseModel):
    """What a step states: ``contract`` for the mortgage, ``certificate`` for notary and
    registration, nothing for the agent.

    For tax it is the sheet as its person saw it (``GET /v1/deals/{id}/taxes``); without one the
    sheet of the rules is signed without review.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"record": {"certificate": "粤(2026)江门市不动产权第0000001号"}}
        },
    )
    record: dict[str, Any] | None = None


class StepRow(BaseModel):
    """A step of a deal."""

    step: str
    height: int | None
    record: dict[str, Any] | None


class CourseRow(BaseModel):
    """A step that the deal needs, and whose turn it is."""

    step: str
    party: str | None = Field(description="The member that signs it; null for seller and buyer")
    state: str = Field(description="`done`, `sent`, `next`, `later` or `dropped`")


class DealRow(BaseModel):
    """A deal with its steps; heights in blocks."""

    dealId: str
    state: str = Field(
        description="`draft`, `opening`, `open`, `registered`, `expired` or `refused`"
    )
    refusal: dict[str, Any] | str | None
    unit: str
    terms: dict[str, Any] = Field(description="`DealTerms`; see docs/statements.md")
    content: dict[str, Any] | None
    openedAt: int | None
    registeredAt: int | None
    expiredAt: int | None
    steps: list[StepRow]
    course: list[CourseRow] = Field(description="Every step that the deal needs, in order")


class DealList(ListAnswer):
    """A page of deals."""

    deals: list[DealRow]


class DealAnswer(BaseModel):
    """The terms that were drawn up, and the salt of the content's commitment."""

    dealId: str
    terms: Statement = Field(description="`DealTerms`; see docs/statements.md")
    contentSalt: str


class TaxLine(BaseModel):
    """One tax; fen as text, the rate in basis points."""

    tax: str
    payer: str
    base: str
    rate: int
    amount: str
    ground: str


class TaxSource(BaseModel):
    """A law or notice that a tax rests on."""

    name: str
    validFrom: str = Field(description="ISO date")


class TaxSheet(BaseModel):
    """The taxes of a deal and the sums by payer, as the tax authority signs them; fen as text."""

    rules: str
    price: str
    lines: list[TaxLine]
    buyer: str
    seller: str
    total: str


class TaxLineSources(BaseModel):
    """One line of a tax sheet and what it rests on."""

    tax: str
    sources: list[TaxSource]


class TaxSources(BaseModel):
    """The lines of a tax sheet and what each rests on."""

    rules: str
    lines: list[TaxLineSources]


class SignatureAnswer(BaseModel):
    """The step that was signed, and its contract call once one is queued."""

    dealId: str
    step: str
    operation: str | None


class StepAnswer(BaseModel):
    """A step's statement with what it commits to; null where this node does not have it."""

    statement: Statement | None = Field(description="`DealStep`; see docs/statements.md")
    signature: str | None
    record: dict[str, Any] | None
    salt: str | None


class SignedStep(StepAnswer):
    """A signed step, and its contract call."""

    operation: str | None


class DealName(BaseModel):
    """The deal's id."""

    dealId: str


class StepTaken(BaseModel):
    """The step is stored."""

    taken: bool


def deal_row(overview: model.DealOverview) -> DealRow:
    """A deal as the API shows it."""
    deal = overview.deal
    return DealRow(
        dealId="0x" + deal.deal_id.hex(),
        state=overview.stage,
        refusal=overview.refusal,
        unit="0x" + deal.terms.unit.hex(),
        terms=deal.terms.to_json(),
        content=None if deal.disclosed is None else dict(deal.disclosed.content),
        openedAt=deal.opened_at or None,
        registeredAt=deal.registered_at or None,
        expiredAt=deal.expired_at or None,
        steps=list(map(step_row, overview.steps)),
        course=[
            CourseRow(step=step.step.name.lower(), party=step.party or None, state=step.state)
            for step in course_of(overview)
        ],
    )


def step_row(step: model.StoredStep) -> StepRow:
    """A step as the API shows it with its deal."""
    return StepRow(
        step=step.step.name.lower(),
        height=step.height or None,
        record=None if step.record is None else dict(step.record),
    )


# --- Deals ----------------------------------------------------------------------------------------


@router.post("/v1/deals", status_code=201, summary="Draw up a deal", response_model=DealAnswer)
async def create(
    body: DealBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system")),
) -> DealAnswer:
    wanted = model.NewDeal(
        title=TitleStatement.from_json(body.title),
        title_signature=hex_bytes(body.titleSignature, length=65),
        seller=model.CertifiedKey.from_json(body.seller.model_dump()),
        buyer=model.CertifiedKey.from_json(body.buyer.model_dump()),
        bank=body.bank,
        tax_authority=body.taxAuthority,
        notary=body.notary,
        content=body.content,
        expires_at=body.expiresAt,
    )
    deal = await deals.create(context, wanted)
    return DealAnswer(
        dealId="0x" + deal.deal_id.hex(),
        terms=deal.terms.to_json(),
        contentSalt="0x" + deal.require_disclosed().salt.hex(),
    )


@router.get(
    "/v1/deals", summary="Deals this node knows, the latest drawn up first", response_model=DealList
)
def listing(
    q: Annotated[
        str, Query(max_length=100, description="Part of a unit's number; a deal's or unit's id")
    ] = "",
    state: Annotated[
        str | None, Query(pattern="^(draft|open|registered|expired)$", description="Of the deal")
    ] = None,
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local(*READERS)),
) -> DealList:
    stage = None if state is None else model.DealStage(state)
    found = deals.listing(context, page, model.DealSearch(q, stage))
    return DealList(deals=list(map(deal_row, found.rows)), next=found.next)


@router.get("/v1/deals/{deal_id}", summary="One deal with its steps", response_model=DealRow)
def describe(
    deal_id: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local(*READERS)),
) -> DealRow:
    return deal_row(deals.describe(context, hex_bytes(deal_id)))


@router.get(
    "/v1/deals/{deal_id}/taxes",
    summary="The tax sheet the rules give for a deal",
    response_model=TaxSheet,
)
def taxes(
    deal_id: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local(*READERS)),
) -> TaxSheet:
    return TaxSheet(**deals.taxes(context, hex_bytes(deal_id)).to_json())


@router.get(
    "/v1/deals/{deal_id}/taxes/sources",
    summary="The laws and notices that each line of a deal's tax sheet rests on",
    response_model=TaxSources,
)
def tax_sources(
    deal_id: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local(*READERS)),
) -> TaxSources:
    sheet = deals.taxes(context, hex_bytes(deal_id))
    lines = [
        TaxLineSources(
            tax=line.tax,
            sources=[
                TaxSource(name=source.name, validFrom=source.valid_from)
                for source in sources_of(line, rules_name=sheet.rules)
            ],
        )
        for line in sheet.lines
    ]
    return TaxSources(rules=sheet.rules, lines=lines)


@router.post(
    "/v1/deals/{deal_id}/signatures",
    status_code=202,
    summary="Seller or buyer submits its signature",
    openapi_extra=strict_body(statement=DealStep, signature=SIGNATURE) | OPEN_TO_STRANGERS,
    response_model=SignatureAnswer,
)
async def receive_signature(
    deal_id: str, request: Request, context: Context = Depends(get_context)
) -> SignatureAnswer:
    body = await strict_json(request)
    statement = DealStep.from_json(field(body, "statement", dict))
    signature = hex_field(body, "signature", length=65)
    taken = await steps.receive_signature(context, hex_bytes(deal_id), statement, signature)
    return SignatureAnswer(
        dealId="0x" + taken.deal_id.hex(),
        step=taken.step.name.lower(),
        operation=taken.operation or None,
    )


@router.post(
    "/v1/deals/{deal_id}/steps/{step}",
    status_code=202,
    summary="Sign this organisation's step",
    response_model=SignedStep,
)
async def sign(
    deal_id: str,
    step: str,
    body: StepBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system")),
) -> SignedStep:
    signed = await steps.sign(context, hex_bytes(deal_id), _step(step), body.record)
    return SignedStep(**peers.step_json(signed), operation=signed.operation)


@router.post(
    "/v1/deals/{deal_id}/expiry",
    status_code=202,
    summary="Free the unit of a deal that was not registered in time",
    response_model=QueuedCall,
)
def expire(
    deal_id: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk")),
) -> QueuedCall:
    return QueuedCall(operation=deals.expire(context, hex_bytes(deal_id)))


@router.get(
    "/v1/deals/{deal_id}/bundle",
    summary="The deal's bundle, to be verified offline",
    responses=BUNDLE,
)
async def bundle(
    deal_id: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local(*READERS)),
) -> Response:
    return Response(await export.fetch(context, hex_bytes(deal_id)), media_type="application/json")


# --- Between nodes --------------------------------------------------------------------------------


@router.post(
    "/v1/peer/deals",
    status_code=201,
    summary="An agent sends a deal to its parties",
    openapi_extra=strict_body(**_DEAL),
    response_model=DealName,
)
async def receive_deal(
    request: Request,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> DealName:
    deal = peers.read_deal(await strict_json(request))
    deal_id = await run_in_threadpool(deals.receive_deal, context, caller.member, deal)
    return DealName(dealId="0x" + deal_id.hex())


@router.post(
    "/v1/peer/deals/{deal_id}/steps",
    status_code=201,
    summary="A party sends its signed step to the others",
    openapi_extra=strict_body(
        statement=DealStep, signature=SIGNATURE, record={"certificate": "1"}, salt=SALT
    ),
    response_model=StepTaken,
)
async def receive_step(
    deal_id: str,
    request: Request,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> StepTaken:
    signed = peers.read_step(await strict_json(request))
    await run_in_threadpool(steps.receive_step, context, caller.member, hex_bytes(deal_id), signed)
    return StepTaken(taken=True)


@router.get(
    "/v1/peer/deals/{deal_id}/steps/{step}",
    summary="A signed step, for a party that missed it",
    response_model=StepAnswer,
)
def step_of(
    deal_id: str,
    step: NonNegativeInt,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> StepAnswer:
    signed = steps.step_of(context, caller.member, hex_bytes(deal_id), step)
    return StepAnswer(**peers.step_json(signed))


@router.get(
    "/v1/peer/deals/{deal_id}/bundle",
    summary="The deal's bundle, for its parties and supervisors",
    responses=BUNDLE,
)
async def peer_bundle(
    deal_id: str,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> Response:
    deal = await run_in_threadpool(deals.find, context, hex_bytes(deal_id))
    parties = members_of(deal.terms)
    if context.member not in parties or (
        caller.member not in parties and "supervisor" not in caller.roles
    ):
        raise Forbidden("deal_of_others", "The deal is another's.")
    return Response(await export.fetch(context, hex_bytes(deal_id)), media_type="application/json")


def _step(name: str) -> StepKind:
    if name not in STEP_NAMES:
        raise BadInput(
            "unknown_step", "A deal has no step of that name.", hint=", ".join(STEP_NAMES)
        )
    return STEP_NAMES[name]
