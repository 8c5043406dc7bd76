"""Metered calls: for the organisation's own systems, and between nodes."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from pydantic import BaseModel, ConfigDict, Field

from chain.context import Context
from chain.errors import BadInput, QiaolianError
from chain.statements import Voucher
from exchange.metering.buyer import Buyer, Query, require_key
from exchange.metering.gateway import Call, Gateway, take_voucher
from registry.access import (
    Principal,
    field,
    get_context,
    hex_bytes,
    hex_field,
    require_local,
    require_member,
    strict_json,
)

router = APIRouter(tags=["calls"])

MOST_PER_BATCH = 500


class CallBody(BaseModel):
    """One metered call."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "agreementId": "0x" + "ab" * 32,
                "subject": "92440703MD00000123",
                "columns": ["Seniority", "Job"],
                "purpose": "credit-assessment",
                "consent": "0x" + "cd" * 32,
            }
        },
    )
    agreementId: str
    subject: Annotated[str, Field(min_length=1, max_length=200)]
    columns: Annotated[list[str], Field(min_length=1, max_length=200)]
    purpose: str
    consent: str | None = None

    def query(self) -> Query:
        """The body as a query."""
        return Query(
            agreement_id=hex_bytes(self.agreementId),
            subject=self.subject,
            columns=tuple(self.columns),
            purpose=self.purpose,
            consent=None if self.consent is None else hex_bytes(self.consent),
        )


class KeyedCall(CallBody):
    """One call of a batch, with its own idempotency key."""

    key: str | None = None


class BatchBody(BaseModel):
    """Several calls at once; each ends by itself."""

    calls: Annotated[list[KeyedCall], Field(min_length=1, max_length=MOST_PER_BATCH)]


def gateway_of(request: Request) -> Gateway:
    """The process' gateway, made on first use."""
    context = get_context(request)
    gateway: Gateway = context.ports.setdefault("gateway", None) or Gateway(context)
    context.ports["gateway"] = gateway
    return gateway


def buyer_of(request: Request) -> Buyer:
    """The process' buyer side, made on first use."""
    context = get_context(request)
    buyer: Buyer = context.ports.setdefault("buyer", None) or Buyer(context)
    context.ports["buyer"] = buyer
    return buyer


@router.post("/v1/calls", summary="One metered call")
async def call(
    body: CallBody,
    buyer: Buyer = Depends(buyer_of),
    idempotency_key: Annotated[str | None, Header()] = None,
    _caller: Principal = Depends(require_local("system")),
) -> dict[str, Any]:
    return await buyer.call(body.query(), idempotency_key=require_key(idempotency_key))


@router.post("/v1/calls/batch", summary="Several metered calls")
async def batch(
    body: BatchBody, buyer: Buyer = Depends(buyer_of), _caller: Principal = Depends(require_local("system"))
) -> dict[str, Any]:
    async def one(item: KeyedCall) -> dict[str, Any]:
        try:
            return await buyer.call(item.query(), idempotency_key=require_key(item.key))
        except QiaolianError as error:
            return {"error": {"code": error.code, "sentence": error.sentence, "hint": error.hint}}

    return {"calls": await asyncio.gather(*(one(item) for item in body.calls))}


@router.post("/v1/peer/calls", summary="A buyer's node makes metered calls")
async def serve(
    request: Request, caller: Principal = Depends(require_member), gateway: Gateway = Depends(gateway_of)
) -> dict[str, Any]:
    items = field(await strict_json(request), "calls", list)
    if not 1 <= len(items) <= MOST_PER_BATCH:
        raise BadInput("calls_count", f"A body carries 1 to {MOST_PER_BATCH} calls.")

    async def one(item: Any) -> dict[str, Any]:
        try:
            return await gateway.serve(caller.member, Call.from_json(item))
        except QiaolianError as error:
            return {"error": {"code": error.code, "sentence": error.sentence}}

    if len(items) == 1:
        return {"answers": [await one(items[0])]}
    return {"answers": await asyncio.gather(*(one(item) for item in items))}


@router.post("/v1/peer/vouchers", summary="A buyer's closing voucher")
async def vouchers(
    request: Request, context: Context = Depends(get_context), caller: Principal = Depends(require_member)
) -> dict[str, Any]:
    body = await strict_json(request)
    voucher = Voucher.from_json(field(body, "voucher", dict))
    take_voucher(context, caller.member, voucher, hex_field(body, "signature", length=65))
    return {"taken": True}
