"""One-stop credit reports."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Header, Query
from pydantic import BaseModel, ConfigDict, Field

from chain.context import Context
from exchange.reports import service
from registry.access import Principal, get_context, hex_bytes, require_local

router = APIRouter(tags=["credit"])


class PartBody(BaseModel):
    """One department's share."""

    model_config = ConfigDict(extra="forbid")
    agreementId: str
    columns: Annotated[list[str], Field(min_length=1, max_length=200)]


class ReportBody(BaseModel):
    """Whose report, under which consent, from whom."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "subject": "92440703MD00000168",
                "consentId": "0x" + "cd" * 32,
                "purpose": "credit-assessment",
                "parts": [{"agreementId": "0x" + "ab" * 32, "columns": ["Seniority", "Job"]}],
            }
        },
    )
    subject: str
    consentId: str
    purpose: str = "credit-assessment"
    parts: Annotated[list[PartBody], Field(min_length=1, max_length=32)]


class ReportAnswer(BaseModel):
    """A report, and the contract call that anchors its query."""

    queryId: str
    report: dict[str, Any]
    operation: str


class ReportSourceRow(BaseModel):
    """An agreement that answers about subjects for the purpose; money in fen."""

    agreementId: str
    department: str
    assetId: str
    columns: list[str]
    price: int
    left: int = Field(description="Fen below the agreement's cap")


class ReportSources(BaseModel):
    """The open agreements with which a report can be made."""

    sources: list[ReportSourceRow]


class LogPlaceAnswer(BaseModel):
    """Where this node's log has a statement; null until an anchor includes it."""

    digest: str
    index: int | None
    anchoredAt: int | None

    @classmethod
    def of(cls, place: service.LogPlace) -> Self:
        """As the API shows it."""
        return cls(
            digest="0x" + place.digest.hex(), index=place.index, anchoredAt=place.anchored_at
        )


class PartEvidenceAnswer(BaseModel):
    """What proves one department's part."""

    department: str
    assetId: str
    agreementId: str
    lane: int
    seq: int
    receipt: str
    amount: int
    viewHeight: int
    issuedAt: int
    request: LogPlaceAnswer

    @classmethod
    def of(cls, part: service.PartEvidence) -> Self:
        """As the API shows it."""
        return cls(
            department=part.department,
            assetId="0x" + part.asset_id.hex(),
            agreementId="0x" + part.agreement_id.hex(),
            lane=part.lane,
            seq=part.seq,
            receipt="0x" + part.receipt.hex(),
            amount=part.amount,
            viewHeight=part.view_height,
            issuedAt=part.issued_at,
            request=LogPlaceAnswer.of(part.request),
        )


class StoredReportAnswer(BaseModel):
    """A report that this bank made, with what proves it."""

    queryId: str
    subject: str
    consent: str
    issuedAt: int
    report: dict[str, Any]
    parts: list[PartEvidenceAnswer]
    query: LogPlaceAnswer
    anchoredAt: int | None = Field(description="The block that has the query")


@router.get(
    "/v1/reports/sources",
    summary="The open agreements with which a report for a purpose can be made",
    response_model=ReportSources,
)
def sources(
    purpose: Annotated[str, Query(max_length=100)] = "credit-assessment",
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("system", "clerk", "auditor")),
) -> ReportSources:
    return ReportSources(
        sources=[
            ReportSourceRow(
                agreementId="0x" + source.agreement_id.hex(),
                department=source.department,
                assetId="0x" + source.asset_id.hex(),
                columns=list(source.columns),
                price=source.price,
                left=source.left,
            )
            for source in service.sources(context, purpose)
        ]
    )


@router.get(
    "/v1/reports/{query_id}",
    summary="A report that this bank made, with receipts, log positions and blocks",
    response_model=StoredReportAnswer,
)
def show(
    query_id: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("system", "clerk", "auditor")),
) -> StoredReportAnswer:
    found = service.evidence(context, hex_bytes(query_id))
    query = found.report.query
    return StoredReportAnswer(
        queryId="0x" + found.report.query_id.hex(),
        subject=found.report.subject,
        consent="0x" + query.consent.hex(),
        issuedAt=query.issued_at,
        report=dict(found.report.report),
        parts=[PartEvidenceAnswer.of(part) for part in found.parts],
        query=LogPlaceAnswer.of(found.query),
        anchoredAt=found.anchored_at,
    )


@router.post(
    "/v1/reports",
    status_code=201,
    summary="One-stop credit report over several departments",
    response_model=ReportAnswer,
)
async def make(
    body: ReportBody,
    context: Context = Depends(get_context),
    idempotency_key: Annotated[str | None, Header(max_length=180)] = None,
    _caller: Principal = Depends(require_local("system", "clerk")),
) -> ReportAnswer:
    key = (
        idempotency_key
        or hashlib.sha256(f"{body.model_dump_json()}{context.clock()}".encode()).hexdigest()
    )
    made = await service.make(
        context,
        subject=body.subject,
        consent=hex_bytes(body.consentId),
        purpose=body.purpose,
        parts=[
            service.ReportPart(hex_bytes(part.agreementId), tuple(part.columns))
            for part in body.parts
        ],
        key=key,
    )
    return ReportAnswer(
        queryId="0x" + made.query_id.hex(), report=dict(made.report), operation=made.operation
    )
