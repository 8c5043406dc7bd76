"""Certificates of subjects' keys, and consents."""

from __future__ import annotations

from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from chain.context import Context
from chain.core.crypto import require_address
from chain.statements.credit import Consent, ConsentRegistration, ConsentWithdrawal
from chain.statements.members import SubjectKeyCertificate
from registry.access import (
    Principal,
    field,
    get_context,
    hex_bytes,
    hex_field,
    page_request,
    require_local,
    strict_json,
)
from registry.credit import certificates, consents
from registry.credit.model import ConsentPackage, ReviewedConsent
from registry.openapi import OPEN_TO_STRANGERS, SALT, SIGNATURE, strict_body
from registry.pages import ListAnswer, PageRequest
from registry.schemas import QueuedCall, Statement

router = APIRouter(tags=["credit"])

IDENTITY: dict[str, Any] = {"code": "92440703MD00000168", "name": "A trader"}
PACKAGE: dict[str, Any] = {
    "consent": Consent,
    "signature": SIGNATURE,
    "salt": SALT,
    "certificate": SubjectKeyCertificate,
    "certificateSignature": SIGNATURE,
    "identity": IDENTITY,
    "identitySalt": SALT,
}


class CertificateBody(BaseModel):
    """Whose key to certify for what. The salt is the subject's: it opens the identity commitment
    later.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "identity": IDENTITY,
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


class StoredConsentRow(BaseModel):
    """A consent stored at this bank; heights in blocks, times in Unix seconds."""

    consent: str
    subject: str
    purpose: str
    beginsAt: int
    endsAt: int
    recordedAt: int | None
    withdrawnAt: int | None
    refusal: str = Field(description="What a call would be refused for now; empty for nothing")

    @classmethod
    def of(cls, shown: ReviewedConsent) -> Self:
        """As the API shows it."""
        stored = shown.stored
        return cls(
            consent="0x" + stored.status.consent_id.hex(),
            subject=stored.package.subject(),
            purpose=stored.package.consent.purpose,
            beginsAt=shown.begins_at,
            endsAt=shown.ends_at,
            recordedAt=stored.status.recorded_at or None,
            withdrawnAt=stored.status.withdrawn_at or None,
            refusal=shown.refusal,
        )


class StoredConsentList(ListAnswer):
    """A page of consents, by id."""

    consents: list[StoredConsentRow]


class CertificateStored(BaseModel):
    """The certificate is stored."""

    stored: bool


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
) -> CertificateAnswer:
    certified = certificates.certify(
        context,
        identity=body.identity,
        salt=hex_bytes(body.identitySalt),
        key=require_address(body.key),
        purpose=body.purpose,
        not_after=body.notAfter,
    )
    return CertificateAnswer(
        certificate=certified.certificate.to_json(), signature="0x" + certified.signature.hex()
    )


@router.post(
    "/v1/consents",
    status_code=202,
    summary="Relay a subject's consent registration",
    openapi_extra=strict_body(registration=ConsentRegistration, signature=SIGNATURE)
    | OPEN_TO_STRANGERS,
    response_model=QueuedCall,
)
async def relay(request: Request, context: Context = Depends(get_context)) -> QueuedCall:
    body = await strict_json(request)
    registration = ConsentRegistration.from_json(field(body, "registration", dict))
    signature = hex_field(body, "signature", length=65)
    relayed = await run_in_threadpool(consents.relay_consent, context, registration, signature)
    return QueuedCall(operation=relayed)


@router.post(
    "/v1/consents/withdrawals",
    status_code=202,
    summary="Relay a subject's withdrawal",
    openapi_extra=strict_body(withdrawal=ConsentWithdrawal, signature=SIGNATURE)
    | OPEN_TO_STRANGERS,
    response_model=QueuedCall,
)
async def withdraw(request: Request, context: Context = Depends(get_context)) -> QueuedCall:
    body = await strict_json(request)
    withdrawal = ConsentWithdrawal.from_json(field(body, "withdrawal", dict))
    signature = hex_field(body, "signature", length=65)
    relayed = await run_in_threadpool(consents.relay_withdrawal, context, withdrawal, signature)
    return QueuedCall(operation=relayed)


@router.post(
    "/v1/consents/held",
    status_code=201,
    summary="A subject gives its consent to this bank",
    openapi_extra=strict_body(**PACKAGE) | OPEN_TO_STRANGERS,
    response_model=ConsentName,
)
async def hold(request: Request, context: Context = Depends(get_context)) -> ConsentName:
    package = ConsentPackage.from_json(await strict_json(request))
    commitment = await run_in_threadpool(consents.store_consent, context, package)
    return ConsentName(consent="0x" + commitment.hex())


@router.get(
    "/v1/consents/held",
    summary="The consents this bank holds, each with what a call would be refused for now",
    response_model=StoredConsentList,
)
def held(
    subject: Annotated[str, Query(max_length=256)] = "",
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system", "officer", "auditor")),
) -> StoredConsentList:
    found = consents.reviewed(context, page, subject=subject)
    return StoredConsentList(consents=list(map(StoredConsentRow.of, found.rows)), next=found.next)


@router.get(
    "/v1/consents/{commitment}",
    summary="A consent's status on the chain, for whoever knows its commitment",
    response_model=ConsentStatus,
)
def consent_status(commitment: str, context: Context = Depends(get_context)) -> ConsentStatus:
    status = consents.consent_status(context, hex_bytes(commitment))
    return ConsentStatus(
        consent="0x" + status.consent_id.hex(),
        recordedAt=status.recorded_at or None,
        withdrawnAt=status.withdrawn_at or None,
    )


@router.post(
    "/v1/certificates/shown",
    status_code=201,
    summary="A subject shows another issuer's certificate",
    openapi_extra=strict_body(
        certificate=SubjectKeyCertificate,
        signature=SIGNATURE,
        identity=IDENTITY,
        identitySalt=SALT,
    )
    | OPEN_TO_STRANGERS,
    response_model=CertificateStored,
)
async def show(request: Request, context: Context = Depends(get_context)) -> CertificateStored:
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
    return CertificateStored(stored=True)
