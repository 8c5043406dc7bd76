"""One-stop credit reports."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header
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
