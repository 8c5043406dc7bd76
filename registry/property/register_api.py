"""The registration centre's register, titles and holds."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from chain.context import Context
from chain.core.crypto import require_address
from registry.access import Principal, get_context, hex_bytes, page_request, require_local
from registry.openapi import LARGE_BODY
from registry.pages import ListAnswer, PageRequest
from registry.property import holds, register, titles
from registry.property.model import HoldInForce, NewUnit, Unit, UnitOrder
from registry.schemas import QueuedCall, Statement

router = APIRouter(tags=["property"])
READERS = ("clerk", "system", "officer", "auditor")


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


def unit_answer(unit: Unit) -> UnitAnswer:
    """A unit's name, as the API shows it."""
    return UnitAnswer(number=unit.number, unit="0x" + unit.unit.hex())


def hold_row(hold: HoldInForce) -> HoldRow:
    """A hold in force, as the API shows it."""
    return HoldRow(
        number=hold.number,
        unit="0x" + hold.unit.hex(),
        order=dict(hold.order),
        placedAt=hold.placed_at,
        endsAt=hold.ends_at,
    )


def hold_answer(order: UnitOrder) -> HoldAnswer:
    """A hold placed or lifted, as the API shows it."""
    return HoldAnswer(
        hold=order.statement.to_json(),
        signature="0x" + order.signature.hex(),
        salt="0x" + order.salt.hex(),
        operation=order.operation,
    )


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
) -> UnitsAnswer:
    new = [NewUnit(unit.number, unit.owner) for unit in body.units]
    entered = register.register_units(context, new)
    return UnitsAnswer(units=list(map(unit_answer, entered)))


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
) -> TitleAnswer:
    owner_key = require_address(body.ownerKey)
    title = titles.issue_title(context, body.unit, owner_key=owner_key, not_after=body.notAfter)
    return TitleAnswer(title=title.statement.to_json(), signature="0x" + title.signature.hex())


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
) -> HoldAnswer:
    return hold_answer(
        holds.set_hold(context, body.unit, body.order, placed=body.placed, ends_at=body.endsAt)
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
) -> HoldList:
    found = holds.holds(context, page)
    return HoldList(holds=list(map(hold_row, found.rows)), next=found.next)


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
) -> QueuedCall:
    return QueuedCall(operation=holds.end_hold(context, body.registrar, hex_bytes(body.unit)))
