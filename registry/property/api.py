"""Property: the register's units, titles and holds; deals and their steps."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from chain.context import Context
from chain.core.crypto import require_address
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
from registry.openapi import LARGE_BODY, OPEN_TO_STRANGERS, SALT, SIGNATURE, strict_body
from registry.pages import ListAnswer, PageRequest
from registry.property import deals as deal_deals
from registry.property import export, model, register
from registry.property import steps as deal_steps
from registry.property.rules import STEP_NAMES, members_of
from registry.schemas import BUNDLE, QueuedCall, Statement

router = APIRouter(tags=["property"])
READERS = ("clerk", "system", "officer", "auditor")

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


class UnitBody(BaseModel):
    """A unit of the register and the code of its owner's identity."""

    model_config = ConfigDict(extra="forbid")
    number: Annotated[str, Field(min_length=1, max_length=64)]
    owner: Annotated[str, Field(min_length=1, max_length=64)]


class UnitsBody(BaseModel):
    """Units to enter."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"units": [{"number": "440703-000001", "owner": "ID-000001"}]}
        },
    )
    units: Annotated[list[UnitBody], Field(max_length=register.MAX_UNITS)]


class TitleBody(BaseModel):
    """Which unit a certified key may sell."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "unit": "440703-000001",
                "ownerKey": "0x" + "12" * 20,
                "notAfter": 1790000000,
            }
        },
    )
    unit: str
    ownerKey: str
    notAfter: int


class HoldBody(BaseModel):
    """A hold on a unit and the order it cites."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "unit": "440703-000001",
                "order": {
                    "court": "江门市蓬江区人民法院",
                    "number": "(2026)粤0703执1号",
                    "date": "2026-11-01",
                },
                "placed": True,
                "endsAt": 1856995200,
            }
        },
    )
    unit: str
    order: dict[str, str]
    placed: bool
    endsAt: int | None = None
    """When the order ends, in Unix seconds; none for a lifting."""


class HoldEndBody(BaseModel):
    """A hold whose order has ended."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"registrar": "11440703QL000001XB", "unit": "0x" + "12" * 32}
        },
    )
    registrar: str
    unit: str


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
    rules' sheet is signed unseen.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"record": {"certificate": "粤(2026)江门市不动产权第0000001号"}}
        },
    )
    record: dict[str, Any] | None = None


# --- Registration centre --------------------------------------------------------------------------


class HoldRow(BaseModel):
    """A hold in force; ``placedAt`` is a height, ``endsAt`` Unix seconds."""

    number: str
    unit: str
    order: dict[str, Any]
    placedAt: int
    endsAt: int


class HoldList(ListAnswer):
    """A page of holds."""

    holds: list[HoldRow]


class StepRow(BaseModel):
    """A step of a deal."""

    step: str
    height: int | None
    record: dict[str, Any] | None


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


class DealList(ListAnswer):
    """A page of deals."""

    deals: list[DealRow]


class UnitAnswer(BaseModel):
    """A unit's number and its pseudonym."""

    number: str
    unit: str


class UnitsAnswer(BaseModel):
    """The units as they were entered."""

    units: list[UnitAnswer]


class TitleAnswer(BaseModel):
    """A title with its signature."""

    title: Statement = Field(description="`TitleStatement`; see docs/statements.md")
    signature: str


class HoldAnswer(BaseModel):
    """A hold with its signature, the salt of its order, and its contract call."""

    hold: Statement = Field(description="`UnitHold`; see docs/statements.md")
    signature: str
    salt: str
    operation: str


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


class TaxSheet(BaseModel):
    """The taxes of a deal and the sums by payer; fen as text."""

    rules: str
    price: str
    lines: list[TaxLine]
    buyer: str
    seller: str
    total: str


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


@router.post(
    "/v1/units",
    status_code=201,
    summary="Enter units into the register",
    openapi_extra=LARGE_BODY,
    response_model=UnitsAnswer,
)
def register_units(
    body: UnitsBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system")),
) -> dict[str, Any]:
    return {"units": register.register_units(context, [unit.model_dump() for unit in body.units])}


@router.post(
    "/v1/titles",
    status_code=201,
    summary="State that a certified key may sell a unit",
    response_model=TitleAnswer,
)
def issue_title(
    body: TitleBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk")),
) -> dict[str, Any]:
    return register.issue_title(
        context, body.unit, owner_key=require_address(body.ownerKey), not_after=body.notAfter
    )


@router.post(
    "/v1/holds",
    status_code=202,
    summary="Place or lift a hold on a unit",
    response_model=HoldAnswer,
)
def set_hold(
    body: HoldBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk")),
) -> dict[str, Any]:
    return register.set_hold(
        context, body.unit, body.order, placed=body.placed, ends_at=body.endsAt
    )


@router.get(
    "/v1/holds",
    summary="This centre's holds in force, the next to end first",
    response_model=HoldList,
)
def list_holds(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local(*READERS)),
) -> dict[str, Any]:
    return register.holds(context, page).to_json("holds")


@router.post(
    "/v1/holds/end",
    status_code=202,
    summary="End a hold whose order has ended without a further one",
    response_model=QueuedCall,
)
def end_hold(
    body: HoldEndBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk")),
) -> dict[str, Any]:
    return {"operation": register.end_hold(context, body.registrar, hex_bytes(body.unit))}


# --- Deals ----------------------------------------------------------------------------------------


@router.post("/v1/deals", status_code=201, summary="Draw up a deal", response_model=DealAnswer)
async def create(
    body: DealBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system")),
) -> dict[str, Any]:
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
    return await deal_deals.create(context, wanted)


@router.get(
    "/v1/deals", summary="Deals this node knows, the latest drawn up first", response_model=DealList
)
def listing(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local(*READERS)),
) -> dict[str, Any]:
    return deal_deals.listing(context, page).to_json("deals")


@router.get("/v1/deals/{deal_id}", summary="One deal with its steps", response_model=DealRow)
def describe(
    deal_id: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local(*READERS)),
) -> dict[str, Any]:
    return deal_deals.describe(context, hex_bytes(deal_id))


@router.get(
    "/v1/deals/{deal_id}/taxes",
    summary="The tax sheet the rules give for a deal",
    response_model=TaxSheet,
)
def taxes(
    deal_id: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local(*READERS)),
) -> dict[str, Any]:
    return deal_deals.taxes(context, hex_bytes(deal_id))


@router.post(
    "/v1/deals/{deal_id}/signatures",
    status_code=202,
    summary="Seller or buyer hands in its own signature",
    openapi_extra=strict_body(statement=DealStep, signature=SIGNATURE) | OPEN_TO_STRANGERS,
    response_model=SignatureAnswer,
)
async def receive_signature(
    deal_id: str, request: Request, context: Context = Depends(get_context)
) -> dict[str, Any]:
    body = await strict_json(request)
    statement = DealStep.from_json(field(body, "statement", dict))
    return await deal_steps.receive_signature(
        context, hex_bytes(deal_id), statement, hex_field(body, "signature", length=65)
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
) -> dict[str, Any]:
    return await deal_steps.sign(context, hex_bytes(deal_id), _step(step), body.record)


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
) -> dict[str, Any]:
    return {"operation": deal_deals.expire(context, hex_bytes(deal_id))}


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
    summary="An agent hands a deal to its parties",
    openapi_extra=strict_body(**_DEAL),
    response_model=DealName,
)
async def receive_deal(
    request: Request,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> dict[str, Any]:
    body = await strict_json(request)
    return {
        "dealId": "0x"
        + (await run_in_threadpool(deal_deals.receive_deal, context, caller.member, body)).hex()
    }


@router.post(
    "/v1/peer/deals/{deal_id}/steps",
    status_code=201,
    summary="A party hands its signed step to the others",
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
) -> dict[str, Any]:
    body = await strict_json(request)
    await run_in_threadpool(
        deal_steps.receive_step, context, caller.member, hex_bytes(deal_id), body
    )
    return {"taken": True}


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
) -> dict[str, Any]:
    return deal_steps.step_of(context, caller.member, hex_bytes(deal_id), step)


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
    row = await run_in_threadpool(deal_deals.find, context, hex_bytes(deal_id))
    parties = members_of(DealTerms.from_json(row.terms))
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
