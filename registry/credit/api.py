"""Certificates, consents, disputes and repairs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from chain.context import Context
from chain.core.crypto import require_address
from chain.core.errors import BadInput, Forbidden
from chain.statements.credit import Consent, ConsentRegistration, ConsentWithdrawal, CreditDispute
from chain.statements.members import SubjectKeyCertificate
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
from registry.credit import certificates, consents, export
from registry.credit import disputes as credit_disputes
from registry.credit import queries as credit_queries
from registry.openapi import OPEN_TO_STRANGERS, SALT, SIGNATURE, strict_body
from registry.pages import ListAnswer, PageRequest
from registry.schemas import BUNDLE, QueuedCall, Statement

router = APIRouter(tags=["credit"])

_IDENTITY: dict[str, Any] = {"code": "92440703MD00000168", "name": "A trader"}
_PACKAGE: dict[str, Any] = {
    "consent": Consent,
    "signature": SIGNATURE,
    "salt": SALT,
    "certificate": SubjectKeyCertificate,
    "certificateSignature": SIGNATURE,
    "identity": _IDENTITY,
    "identitySalt": SALT,
}
_SOUGHT: dict[str, Any] = {
    "subject": _IDENTITY["code"],
    "columns": ["Seniority"],
    "purpose": "credit-assessment",
    "grantId": "0x" + "11" * 32,
    "consent": _PACKAGE,
}
_DISPUTE: dict[str, Any] = {
    "dispute": CreditDispute,
    "signature": SIGNATURE,
    "claim": {"column": "Seniority", "should": "12"},
    "claimSalt": SALT,
    "subject": _IDENTITY["code"],
}


class CertificateBody(BaseModel):
    """Whose key to certify for what. The salt is the subject's: it opens the identity commitment
    later.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "identity": _IDENTITY,
                "identitySalt": SALT,
                "key": "0x" + "12" * 20,
                "purpose": "consent",
                "notAfter": 1790000000,
            }
        },
    )
    identity: dict[str, str]
    identitySalt: str
    key: str
    purpose: str
    notAfter: int


class AnswerBody(BaseModel):
    """A repaired record, or nothing when the old one stands."""

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


class CertificateAnswer(BaseModel):
    """A certificate of a subject's one-time key."""

    certificate: Statement = Field(description="`SubjectKeyCertificate`; see docs/statements.md")
    signature: str


class ConsentName(BaseModel):
    """The consent's commitment."""

    consent: str


class ConsentStatus(BaseModel):
    """A consent's heights."""

    consent: str
    recordedAt: int | None
    withdrawnAt: int | None


class CertificateStored(BaseModel):
    """The certificate is stored."""

    kept: bool


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


@router.post(
    "/v1/certificates",
    status_code=201,
    summary="Certify a subject's one-time key",
    response_model=CertificateAnswer,
)
def certify(
    body: CertificateBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk")),
) -> dict[str, Any]:
    certificate, signature = certificates.certify(
        context,
        identity=body.identity,
        salt=hex_bytes(body.identitySalt),
        key=require_address(body.key),
        purpose=body.purpose,
        not_after=body.notAfter,
    )
    return {"certificate": certificate.to_json(), "signature": "0x" + signature.hex()}


@router.post(
    "/v1/consents",
    status_code=202,
    summary="Relay a subject's consent registration",
    openapi_extra=strict_body(registration=ConsentRegistration, signature=SIGNATURE)
    | OPEN_TO_STRANGERS,
    response_model=QueuedCall,
)
async def relay(request: Request, context: Context = Depends(get_context)) -> dict[str, Any]:
    body = await strict_json(request)
    registration = ConsentRegistration.from_json(field(body, "registration", dict))
    signature = hex_field(body, "signature", length=65)
    return {
        "operation": await run_in_threadpool(
            consents.relay_consent, context, registration, signature
        )
    }


@router.post(
    "/v1/consents/withdrawals",
    status_code=202,
    summary="Relay a subject's withdrawal",
    openapi_extra=strict_body(withdrawal=ConsentWithdrawal, signature=SIGNATURE)
    | OPEN_TO_STRANGERS,
    response_model=QueuedCall,
)
async def withdraw(request: Request, context: Context = Depends(get_context)) -> dict[str, Any]:
    body = await strict_json(request)
    withdrawal = ConsentWithdrawal.from_json(field(body, "withdrawal", dict))
    signature = hex_field(body, "signature", length=65)
    return {
        "operation": await run_in_threadpool(
            consents.relay_withdrawal, context, withdrawal, signature
        )
    }


@router.post(
    "/v1/consents/held",
    status_code=201,
    summary="A subject hands its consent to this bank",
    openapi_extra=strict_body(**_PACKAGE) | OPEN_TO_STRANGERS,
    response_model=ConsentName,
)
async def hold(request: Request, context: Context = Depends(get_context)) -> dict[str, Any]:
    body = await strict_json(request)
    commitment = await run_in_threadpool(consents.store_consent, context, body)
    return {"consent": "0x" + commitment.hex()}


@router.get(
    "/v1/consents/{commitment}",
    summary="Where a consent stands on the chain, for whoever knows its commitment",
    response_model=ConsentStatus,
)
def consent_status(commitment: str, context: Context = Depends(get_context)) -> dict[str, Any]:
    return consents.consent_status(context, hex_bytes(commitment))


@router.post(
    "/v1/certificates/shown",
    status_code=201,
    summary="A subject shows another issuer's certificate",
    openapi_extra=strict_body(
        certificate=SubjectKeyCertificate,
        signature=SIGNATURE,
        identity=_IDENTITY,
        identitySalt=SALT,
    )
    | OPEN_TO_STRANGERS,
    response_model=CertificateStored,
)
async def show(request: Request, context: Context = Depends(get_context)) -> dict[str, Any]:
    body = await strict_json(request)

    def take() -> None:
        certificates.show_certificate(
            context,
            SubjectKeyCertificate.from_json(field(body, "certificate", dict)),
            hex_field(body, "signature", length=65),
            identity=field(body, "identity", dict),
            identity_salt=hex_field(body, "identitySalt", length=32),
        )

    await run_in_threadpool(take)
    return {"kept": True}


@router.post(
    "/v1/assets/{asset_id}/records",
    summary="A subject's own record, at the counter",
    response_model=SubjectRecord,
)
def records(
    asset_id: str,
    identity: Annotated[dict[str, str], Body(examples=[_IDENTITY])],
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk")),
) -> dict[str, Any]:
    return credit_disputes.subject_records(context, identity, hex_bytes(asset_id))


@router.post(
    "/v1/disputes",
    status_code=202,
    summary="A subject disputes a record",
    openapi_extra=strict_body(**_DISPUTE) | OPEN_TO_STRANGERS,
    response_model=DisputeName,
)
async def dispute(request: Request, context: Context = Depends(get_context)) -> dict[str, Any]:
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

    return {"disputeId": "0x" + (await run_in_threadpool(take)).hex()}


@router.post(
    "/v1/disputes/{dispute_id}/answer",
    status_code=202,
    summary="Repair a record or stand by it",
    response_model=RepairAnswer,
)
def answer(
    dispute_id: str,
    body: AnswerBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk")),
) -> dict[str, Any]:
    return credit_disputes.answer(context, hex_bytes(dispute_id), new_record=body.record)


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
) -> dict[str, Any]:
    body = await strict_json(request)
    columns = field(body, "columns", list)
    if not columns or not all(isinstance(column, str) for column in columns):
        raise BadInput("field_missing", "The columns are a list of names.", field="columns")
    sought = credit_disputes.DisputeSearch(
        subject=field(body, "subject", str),
        columns=tuple(columns),
        purpose=field(body, "purpose", str),
        grant_id=hex_field(body, "grantId", length=32),
        package=field(body, "consent", dict),
    )
    return {
        "disputes": await run_in_threadpool(
            credit_disputes.disputes_for, context, caller.member, sought
        )
    }


@router.get(
    "/v1/disputes",
    summary="Disputes at this department, the newest first",
    response_model=DisputeList,
)
def listing(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "officer", "auditor")),
) -> dict[str, Any]:
    return credit_disputes.list_disputes(context, page).to_json("disputes")


@router.get(
    "/v1/credit/queries",
    summary="Credit queries, the newest first: this bank's own; at a supervisor, all the chain has",
    response_model=QueryList,
)
def queries(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system", "officer", "auditor")),
) -> dict[str, Any]:
    return credit_queries.list_queries(context, page).to_json("queries")


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
