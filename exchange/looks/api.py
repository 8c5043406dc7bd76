"""Looks at a subject's record: the account, its check and each look's proof, for the counter; and
the buyer's side of the check.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from chain.context import Context
from chain.core.errors import Forbidden
from exchange.agreements import service as agreements
from exchange.looks import export, service
from exchange.looks.model import AccountCheck
from exchange.metering.look_model import Look, Position
from registry.access import (
    NonNegativeInt,
    Principal,
    field,
    get_context,
    hex_bytes,
    page_request,
    require_local,
    require_member,
    strict_json,
)
from registry.openapi import strict_body
from registry.pages import ListAnswer, PageRequest
from registry.schemas import BUNDLE

router = APIRouter(tags=["looks"])
_counter = require_local("clerk", "officer", "auditor")
_SUBJECT = "92440703MD00000168"


class SubjectBody(BaseModel):
    """Whose account is asked for. The code is in the body, so that no log of requests has it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"subject": _SUBJECT}})
    subject: Annotated[str, Field(min_length=1, max_length=256)]


class LookRow(BaseModel):
    """A call that asked for the subject's record."""

    agreementId: str
    lane: int
    seq: int
    columns: list[str]
    purpose: str
    operation: str
    consent: str | None
    outcome: str = Field(description="`served`, `refused`, `void`; at a buyer also `asked`")
    reason: str = Field(description="Code of a refusal; empty for an answer")
    at: int = Field(description="Unix seconds")
    receipt: str | None

    @classmethod
    def of(cls, look: Look) -> LookRow:
        """The row of a look."""
        query = look.query
        return cls(
            agreementId="0x" + look.position.agreement_id.hex(),
            lane=look.position.lane,
            seq=look.position.seq,
            columns=list(query.columns),
            purpose=query.purpose,
            operation=str(query.operation.name).lower(),
            consent=query.consent or None,
            outcome=look.status.value,
            reason=look.reason,
            at=look.at,
            receipt="0x" + look.receipt.hex() if look.receipt else None,
        )


class LookList(ListAnswer):
    """A page of looks."""

    looks: list[LookRow]


class FindingRow(BaseModel):
    """Why an account is not complete."""

    gap: str = Field(
        description="`position_missing`, `behind_chain`, `subject_not_recorded`, `not_in_log`, "
        "`buyer_names_more`, `buyer_names_less` or `buyer_silent`"
    )
    member: str
    agreementId: str | None
    lane: int | None
    count: int


class CheckAnswer(BaseModel):
    """What was compared, and the findings."""

    complete: bool
    looks: int
    agreements: int
    calls: int
    buyers: int
    height: int = Field(description="The block under which the chain's lanes were proved")
    findings: list[FindingRow]

    @classmethod
    def of(cls, check: AccountCheck) -> CheckAnswer:
        """The answer of a check."""
        return cls(
            complete=check.complete,
            looks=check.looks,
            agreements=check.agreements,
            calls=check.calls,
            buyers=check.buyers,
            height=check.height,
            findings=[
                FindingRow(
                    gap=finding.gap,
                    member=finding.buyer,
                    agreementId=(
                        None if finding.agreement_id is None else "0x" + finding.agreement_id.hex()
                    ),
                    lane=finding.lane,
                    count=finding.count,
                )
                for finding in check.findings
            ],
        )


class PositionRow(BaseModel):
    """Status of a call."""

    agreementId: str
    lane: int
    seq: int


class PositionList(BaseModel):
    """A buyer's answered calls for a subject."""

    positions: list[PositionRow]


@router.post(
    "/v1/looks",
    summary="Who asked for a subject's record, the latest first",
    response_model=LookList,
)
def looks(
    body: SubjectBody,
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(_counter),
) -> LookList:
    found = service.looks_at(context, body.subject, page)
    return LookList(looks=[LookRow.of(look) for look in found.rows], next=found.next)


@router.post(
    "/v1/looks/check",
    summary="Whether a subject's account is complete, by receipts, log, chain and buyers",
    response_model=CheckAnswer,
)
async def check(
    body: SubjectBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(_counter),
) -> CheckAnswer:
    return CheckAnswer.of(await service.check(context, body.subject))


@router.get(
    "/v1/looks/{agreement_id}/{lane}/{seq}/bundle",
    summary="The proof of one look, to be verified offline",
    responses=BUNDLE,
)
async def bundle(
    agreement_id: str,
    lane: NonNegativeInt,
    seq: NonNegativeInt,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(_counter),
) -> Response:
    position = Position(hex_bytes(agreement_id), lane, seq)
    return Response(await export.fetch(context, position), media_type="application/json")


@router.get(
    "/v1/peer/looks/{agreement_id}/{lane}/{seq}/bundle",
    summary="The proof of one look, for the buyer whose call it was",
    responses=BUNDLE,
)
def peer_bundle(
    agreement_id: str,
    lane: NonNegativeInt,
    seq: NonNegativeInt,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> Response:
    position = Position(hex_bytes(agreement_id), lane, seq)
    if caller.member != agreements.load(context, position.agreement_id).agreement.buyer:
        raise Forbidden("not_party", "The proof of a look is for its buyer and its subject.")
    return Response(export.bundle(context, position), media_type="application/json")


@router.post(
    "/v1/peer/looks",
    summary="A buyer's answered calls for a subject, for the provider that answered them",
    openapi_extra=strict_body(subject=_SUBJECT),
    response_model=PositionList,
)
async def peer_looks(
    request: Request,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> PositionList:
    subject = field(await strict_json(request), "subject", str)
    found = await run_in_threadpool(service.positions_for, context, caller.member, subject)
    return PositionList(
        positions=[
            PositionRow(agreementId="0x" + one.agreement_id.hex(), lane=one.lane, seq=one.seq)
            for one in found
        ]
    )
