"""Disputes and credit queries; ``consent_api`` has the endpoints of certificates and consents."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from chain.context import Context
from chain.core.errors import BadInput, Forbidden
from chain.statements.credit import CreditDispute
from registry.access import (
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
from registry.credit import disputes as credit_disputes
from registry.credit import export
from registry.credit import queries as credit_queries
from registry.credit.consent_api import IDENTITY, PACKAGE
from registry.credit.model import (
    AnchoredQuery,
    ConsentPackage,
    Dispute,
    DisputeSearch,
    OwnQuery,
)
from registry.openapi import OPEN_TO_STRANGERS, SALT, SIGNATURE, strict_body
from registry.pages import ListAnswer, PageRequest
from registry.schemas import BUNDLE, Statement

router = APIRouter(tags=["credit"])

_SOUGHT: dict[str, Any] = {
    "subject": IDENTITY["code"],
    "columns": ["Seniority"],
    "purpose": "credit-assessment",
    "grantId": "0x" + "11" * 32,
    "consent": PACKAGE,
}
_DISPUTE: dict[str, Any] = {
    "dispute": CreditDispute,
    "signature": SIGNATURE,
    "claim": {"column": "Seniority", "should": "12"},
    "claimSalt": SALT,
    "subject": IDENTITY["code"],
}


class AnswerBody(BaseModel):
    """A repaired record, or nothing if the old one is unchanged."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"record": {"Seniority": 12, "Job": "fixed"}}}
    )
    record: dict[str, Any] | None


class DisputeRow(BaseModel):
    """A dispute at this department; heights in blocks."""

    disputeId: str
    subject: str
    assetId: str
    claim: dict[str, Any]
    oldRecord: dict[str, Any]
    newRecord: dict[str, Any] | None
    state: str = Field(description="`sent`, `open` or `answered`")
    openedAt: int | None
    answeredAt: int | None


class DisputeList(ListAnswer):
    """A page of disputes."""

    disputes: list[DisputeRow]


class OwnQueryRow(BaseModel):
    """A query that this bank made."""

    model_config = ConfigDict(extra="forbid")
    queryId: str
    bank: str
    issuedAt: int = Field(description="Unix seconds")
    report: dict[str, Any]


class AnchoredQueryRow(BaseModel):
    """A query of any bank that the chain has, as a supervisor sees it."""

    model_config = ConfigDict(extra="forbid")
    queryId: str
    bank: str
    height: int = Field(description="The block that anchored it")


class QueryList(ListAnswer):
    """A page of credit queries."""

    queries: list[OwnQueryRow | AnchoredQueryRow]


class SubjectRecord(BaseModel):
    """A subject's record, and its commitment in the version."""

    record: dict[str, Any]
    commitment: str
    assetVersion: int


class DisputeName(BaseModel):
    """The dispute's id."""

    disputeId: str


class RepairAnswer(BaseModel):
    """The answer to a dispute, and its contract call."""

    repair: Statement = Field(description="`CreditRepair`; see docs/statements.md")
    assetVersion: int
    operation: str


class PeerDispute(BaseModel):
    """A dispute as a report shows it: masked records, and what proves it."""

    disputeId: str
    department: str
    assetId: str
    answered: bool
    upheld: bool
    before: dict[str, Any]
    after: dict[str, Any] | None
    dispute: Statement = Field(description="`CreditDispute`; see docs/statements.md")
    disputeSignature: str
    certificate: Statement
    certificateSignature: str
    repair: Statement | None
    repairSignature: str | None


class PeerDisputes(BaseModel):
    """A subject's disputes."""

    disputes: list[PeerDispute]


def dispute_row(dispute: Dispute) -> DisputeRow:
    """A dispute at this department, as the API shows it."""
    new = dispute.new_record
    return DisputeRow(
        disputeId="0x" + dispute.dispute_id.hex(),
        subject=dispute.subject,
        assetId="0x" + dispute.statement.asset_id.hex(),
        claim=dict(dispute.claim),
        oldRecord=dict(dispute.old_record),
        newRecord=None if new is None else dict(new),
        state=dispute.state,
        openedAt=dispute.opened_at,
        answeredAt=dispute.answered_at,
    )


def query_row(query: OwnQuery | AnchoredQuery) -> OwnQueryRow | AnchoredQueryRow:
    """A query as the API shows it."""
    query_id = "0x" + query.query_id.hex()
    if isinstance(query, AnchoredQuery):
        return AnchoredQueryRow(queryId=query_id, bank=query.bank, height=query.height)
    return OwnQueryRow(
        queryId=query_id,
        bank=query.bank,
        issuedAt=query.issued_at,
        report=dict(query.report),
    )


@router.post(
    "/v1/assets/{asset_id}/records",
    summary="A subject's own record, at the counter",
    response_model=SubjectRecord,
)
def records(
    asset_id: str,
    identity: Annotated[dict[str, str], Body(examples=[IDENTITY])],
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk")),
) -> SubjectRecord:
    found = credit_disputes.subject_record(context, identity, hex_bytes(asset_id))
    return SubjectRecord(
        record=dict(found.record),
        commitment="0x" + found.commitment.hex(),
        assetVersion=found.asset_version,
    )


@router.post(
    "/v1/disputes",
    status_code=202,
    summary="A subject disputes a record",
    openapi_extra=strict_body(**_DISPUTE) | OPEN_TO_STRANGERS,
    response_model=DisputeName,
)
async def dispute(request: Request, context: Context = Depends(get_context)) -> DisputeName:
    body = await strict_json(request)

    def take() -> bytes:
        return credit_disputes.raise_dispute(
            context,
            CreditDispute.from_json(field(body, "dispute", dict)),
            hex_field(body, "signature", length=65),
            claim=field(body, "claim", dict),
            claim_salt=hex_field(body, "claimSalt", length=32),
            subject=field(body, "subject", str),
        )

    return DisputeName(disputeId="0x" + (await run_in_threadpool(take)).hex())


@router.post(
    "/v1/disputes/{dispute_id}/answer",
    status_code=202,
    summary="Repair a disputed record or confirm it",
    response_model=RepairAnswer,
)
def answer(
    dispute_id: str,
    body: AnswerBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk")),
) -> RepairAnswer:
    made = credit_disputes.answer(context, hex_bytes(dispute_id), new_record=body.record)
    return RepairAnswer(
        repair=made.repair.to_json(),
        assetVersion=made.repair.asset_version,
        operation=made.operation,
    )


@router.post(
    "/v1/peer/disputes",
    summary="Disputes about a subject's record, for a bank that may see the record: under its "
    "grant, with the subject's consent",
    openapi_extra=strict_body(**_SOUGHT),
    response_model=PeerDisputes,
)
async def disputes(
    request: Request,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> PeerDisputes:
    body = await strict_json(request)
    columns = field(body, "columns", list)
    if not columns or not all(isinstance(column, str) for column in columns):
        raise BadInput("field_missing", "The columns are a list of names.", field="columns")
    sought = DisputeSearch(
        subject=field(body, "subject", str),
        columns=tuple(columns),
        purpose=field(body, "purpose", str),
        grant_id=hex_field(body, "grantId", length=32),
        package=ConsentPackage.from_json(field(body, "consent", dict)),
    )
    found = await run_in_threadpool(credit_disputes.disputes_for, context, caller.member, sought)
    return PeerDisputes(disputes=[PeerDispute(**dispute.to_json()) for dispute in found])


@router.get(
    "/v1/disputes",
    summary="Disputes at this department, the newest first",
    response_model=DisputeList,
)
def listing(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "officer", "auditor")),
) -> DisputeList:
    found = credit_disputes.list_disputes(context, page)
    return DisputeList(disputes=list(map(dispute_row, found.rows)), next=found.next)


@router.get(
    "/v1/credit/queries",
    summary="Credit queries, the newest first: this bank's own; at a supervisor, all the chain has",
    response_model=QueryList,
)
def queries(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system", "officer", "auditor")),
) -> QueryList:
    found = credit_queries.list_queries(context, page)
    return QueryList(queries=list(map(query_row, found.rows)), next=found.next)


@router.get(
    "/v1/credit/queries/{query_id}/bundle",
    summary="The query's bundle, to be verified offline",
    responses=BUNDLE,
)
async def bundle(
    query_id: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system", "officer", "auditor")),
) -> Response:
    return Response(await export.fetch(context, hex_bytes(query_id)), media_type="application/json")


@router.get(
    "/v1/peer/credit/queries/{query_id}/bundle",
    summary="The query's bundle, for supervisors",
    responses=BUNDLE,
)
def peer_bundle(
    query_id: str,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> Response:
    if "supervisor" not in caller.roles:
        raise Forbidden("query_of_others", "A bank's queries are open to supervisors.")
    return Response(export.bundle(context, hex_bytes(query_id)), media_type="application/json")
