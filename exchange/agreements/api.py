"""Offers and agreements."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from chain.context import Context
from chain.statements import Agreement, Unit
from exchange.agreements import service
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

router = APIRouter(tags=["agreements"])

Fen = Annotated[int, Field(ge=0, lt=2**53)]


class ShareBody(BaseModel):
    """One part of the split."""

    member: str
    basisPoints: Annotated[int, Field(ge=1, le=10_000)]


class OfferBody(BaseModel):
    """What a provider asks for an asset."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "price": 50,
                "unit": 0,
                "shares": [{"member": "11440703QL000001X2", "basisPoints": 10000}],
                "arbiter": "11440703QL000002X2",
                "lanes": 4,
                "closeWindowBlocks": 3,
                "closeWindowSeconds": 3,
            }
        },
    )
    price: Fen
    unit: Unit = Unit.CALL
    shares: list[ShareBody]
    arbiter: str
    lanes: Annotated[int, Field(ge=1, le=256)] = 1
    closeWindowBlocks: Annotated[int, Field(ge=0, le=1_000_000)]
    closeWindowSeconds: Annotated[int, Field(ge=0, le=31_536_000)]


class ProposalBody(BaseModel):
    """What a buyer wants to agree to."""

    model_config = ConfigDict(extra="forbid")
    grantId: str
    capFen: Fen
    maxUnits: Annotated[int, Field(ge=0, lt=2**53)] = 0
    maxPerCallFen: Fen
    lanes: Annotated[int, Field(ge=1, le=256)] = 1
    startsAt: int
    endsAt: int


@router.put("/v1/offers/{asset_id}", summary="Offer an asset")
def set_offer(
    asset_id: str,
    body: OfferBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk")),
) -> dict[str, Any]:
    offer = {**body.model_dump(), "price": str(body.price), "unit": int(body.unit)}
    service.set_offer(context, hex_bytes(asset_id), offer)
    return offer


@router.get("/v1/peer/offers/{grant_id}", summary="The offer to a grantee")
def offer(
    grant_id: str, context: Context = Depends(get_context), caller: Principal = Depends(require_member)
) -> dict[str, Any]:
    return service.offer_for(context, hex_bytes(grant_id), caller.member)


@router.post("/v1/agreements", status_code=202, summary="Agree with a provider and open the agreement")
async def propose(
    body: ProposalBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system")),
) -> dict[str, Any]:
    wanted = service.Proposal(
        grant_id=hex_bytes(body.grantId),
        cap=body.capFen,
        max_units=body.maxUnits,
        max_per_call=body.maxPerCallFen,
        lanes=body.lanes,
        starts_at=body.startsAt,
        ends_at=body.endsAt,
    )
    return await service.propose(context, wanted)


@router.get("/v1/agreements", summary="Agreements of this node")
def listing(
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system", "auditor", "officer")),
) -> dict[str, Any]:
    return {"agreements": service.listing(context)}


@router.get("/v1/agreements/{agreement_id}", summary="One agreement")
def one(
    agreement_id: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system", "auditor", "officer")),
) -> dict[str, Any]:
    return service.describe(service.find(context, hex_bytes(agreement_id)))


@router.post("/v1/peer/agreements", summary="A buyer asks for the provider's signature")
async def countersign(
    request: Request, context: Context = Depends(get_context), caller: Principal = Depends(require_member)
) -> dict[str, Any]:
    body = await strict_json(request)
    agreement = Agreement.from_json(field(body, "agreement", dict))
    signature = hex_field(body, "signature", length=65)
    made = await run_in_threadpool(service.countersign, context, caller.member, agreement, signature)
    return {"signature": "0x" + made.hex()}
