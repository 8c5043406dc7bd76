"""Demands: a bank's own, those that departments fetched, and their answers."""

from __future__ import annotations

from typing import Annotated, Self

from fastapi import APIRouter, Depends, Header
from pydantic import BaseModel, ConfigDict, Field

from chain.context import Context
from chain.core.errors import Forbidden
from chain.statements.members import Role
from registry.access import (
    Principal,
    get_context,
    hex_bytes,
    page_request,
    require_local,
    require_member,
)
from registry.demands import model, service
from registry.pages import ListAnswer, PageRequest

router = APIRouter(tags=["demands"])
_Readers = Depends(require_local("clerk", "system", "officer", "auditor"))
_Clerks = Depends(require_local("clerk", "system"))


class DemandBody(BaseModel):
    """This bank's demand for data."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "title": "Water use of small firms",
                "text": "Monthly water use, to estimate turnover of restaurants.",
                "purpose": "credit-assessment",
                "columns": ["month", "cubic metres"],
            }
        },
    )
    title: str
    text: str
    purpose: str
    columns: list[str] = []


class DemandFields(BaseModel):
    """A demand; Unix seconds."""

    demandId: str
    title: str
    text: str
    purpose: str
    columns: list[str]
    postedAt: int


class DemandAnswerRow(BaseModel):
    """A department's asset in answer to a demand."""

    department: str
    assetId: str
    note: str
    answeredAt: int


class OwnDemandRow(DemandFields):
    """A demand of this bank with its answers."""

    withdrawnAt: int | None
    answers: list[DemandAnswerRow]

    @classmethod
    def of(cls, found: model.OwnDemand) -> Self:
        """As the API shows it."""
        return cls(
            **found.demand.to_json(),
            withdrawnAt=found.withdrawn_at,
            answers=[
                DemandAnswerRow(
                    department=answer.department,
                    assetId="0x" + answer.asset_id.hex(),
                    note=answer.note,
                    answeredAt=answer.answered_at,
                )
                for answer in found.answers
            ],
        )


class OwnDemandList(ListAnswer):
    """A page of this bank's demands."""

    demands: list[OwnDemandRow]


class ReceivedDemandRow(DemandFields):
    """A demand of another member."""

    bank: str
    answeredWith: str | None = Field(description="The asset this department answered with")

    @classmethod
    def of(cls, found: model.ReceivedDemand) -> Self:
        """As the API shows it."""
        asset = found.answered_with
        return cls(
            **found.demand.to_json(),
            bank=found.bank,
            answeredWith=None if asset is None else "0x" + asset.hex(),
        )


class ReceivedDemandList(ListAnswer):
    """A page of other members' demands."""

    demands: list[ReceivedDemandRow]


class PeerDemandList(ListAnswer):
    """A page of this bank's open demands."""

    demands: list[DemandFields]


class AnswerBody(BaseModel):
    """The asset that meets a demand."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"assetId": "0x" + "11" * 32, "note": "Monthly since 2020."}},
    )
    assetId: str
    note: str = ""


class AnswerTaken(BaseModel):
    """The demand that was answered."""

    demandId: str


@router.post(
    "/v1/demands",
    status_code=201,
    summary="Post a demand for data (bank)",
    response_model=OwnDemandRow,
)
def post(
    body: DemandBody,
    context: Context = Depends(get_context),
    _caller: Principal = _Clerks,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> OwnDemandRow:
    _require_role(context, Role.BANK)
    made = service.post(
        context,
        title=body.title,
        text=body.text,
        purpose=body.purpose,
        columns=body.columns,
        idempotency_key=idempotency_key,
    )
    return OwnDemandRow.of(made)


@router.get(
    "/v1/demands",
    summary="This bank's demands with their answers, the newest first",
    response_model=OwnDemandList,
)
def own(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = _Readers,
) -> OwnDemandList:
    found = service.own(context, page)
    return OwnDemandList(demands=list(map(OwnDemandRow.of, found.rows)), next=found.next)


@router.post(
    "/v1/demands/{demand_id}/withdraw",
    summary="End a demand (bank)",
    response_model=OwnDemandRow,
)
def withdraw(
    demand_id: str, context: Context = Depends(get_context), _caller: Principal = _Clerks
) -> OwnDemandRow:
    return OwnDemandRow.of(service.withdraw(context, demand_id))


@router.get(
    "/v1/received-demands",
    summary="Other members' open demands as they were fetched last, the newest first",
    response_model=ReceivedDemandList,
)
def received(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = _Readers,
) -> ReceivedDemandList:
    found = service.received(context, page)
    rows = list(map(ReceivedDemandRow.of, found.rows))
    return ReceivedDemandList(demands=rows, next=found.next)


@router.post(
    "/v1/received-demands/{bank}/{demand_id}/answer",
    summary="Answer a demand with an asset of this department",
    response_model=AnswerTaken,
)
async def answer(
    bank: str,
    demand_id: str,
    body: AnswerBody,
    context: Context = Depends(get_context),
    _caller: Principal = _Clerks,
) -> AnswerTaken:
    await service.answer(context, bank, demand_id, hex_bytes(body.assetId), body.note)
    return AnswerTaken(demandId=demand_id)


@router.get(
    "/v1/peer/demands",
    summary="This bank's open demands, for other members' nodes",
    response_model=PeerDemandList,
)
def peer_demands(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_member),
) -> PeerDemandList:
    found = service.open_demands(context, page)
    rows = [DemandFields(**demand.to_json()) for demand in found.rows]
    return PeerDemandList(demands=rows, next=found.next)


@router.post(
    "/v1/peer/demands/{demand_id}/answers",
    summary="A department's asset in answer to a demand of this bank",
    response_model=AnswerTaken,
)
def peer_answer(
    demand_id: str,
    body: AnswerBody,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> AnswerTaken:
    service.take_answer(context, caller.member, demand_id, hex_bytes(body.assetId), body.note)
    return AnswerTaken(demandId=demand_id)


def _require_role(context: Context, role: Role) -> None:
    if not context.roles & role:
        raise Forbidden("demand_role", "Only a bank posts demands; departments answer them.")
