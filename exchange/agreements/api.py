"""Offers and agreements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from chain.context import Context
from chain.core.errors import BadInput, Conflict, Forbidden, NotFound
from chain.statements.grants import GrantTerms
from chain.statements.members import KeyPurpose
from chain.statements.trade import Agreement, MeteredUnit, Share
from exchange.agreements import countersigning, proposal_ends, proposals, rules, service
from exchange.agreements import offers as published_offers
from exchange.agreements import recovery as agreement_recovery
from exchange.agreements.model import AgreementStage, Offer
from exchange.metering import recovery
from exchange.schemas import FinalTotals
from exchange.settlement import closing
from registry.access import (
    NonNegativeInt,
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
from registry.openapi import SIGNATURE, strict_body
from registry.pages import ListAnswer, Page, PageRequest
from registry.schemas import Statement

router = APIRouter(tags=["agreements"])


class ShareBody(BaseModel):
    """One part of the revenue split."""

    model_config = ConfigDict(extra="forbid")
    member: str
    basisPoints: Annotated[int, Field(ge=0, le=10_000)]

    def share(self) -> Share:
        """As it is signed."""
        return Share(self.member, self.basisPoints)


class OfferBody(BaseModel):
    """A provider's terms for one asset version; money in fen."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "assetId": "0x" + "11" * 32,
                "assetVersion": 1,
                "unit": "call",
                "price": 50,
                "maxCap": 5_000_000,
                "maxPerCall": 50,
                "shares": [
                    {"member": "11440700MB2C62170M", "basisPoints": 9000},
                    {"member": "11440700MB2D09125N", "basisPoints": 1000},
                ],
            }
        },
    )
    assetId: str
    assetVersion: NonNegativeInt
    unit: str = "call"
    price: NonNegativeInt
    maxCap: NonNegativeInt = 0
    maxUnits: NonNegativeInt = 0
    maxPerCall: NonNegativeInt = 0
    maxLanes: Annotated[int, Field(ge=1, le=256)] = 16
    maxSeconds: Annotated[NonNegativeInt, Field(ge=1)] = 366 * service.DAY
    closeWindowBlocks: NonNegativeInt | None = None
    closeWindowSeconds: NonNegativeInt | None = None
    """Time for claims after notice; left out, seven days at one block a second."""
    shares: list[ShareBody]
    buyers: list[str] = []


class ProposalBody(BaseModel):
    """A buyer's order on the offer that its person saw.

    ``offerHash`` names it, as ``GET /v1/offers?provider=…`` shows it; an order without it states
    unit, price, shares, maxPerCall, closeWindowBlocks and closeWindowSeconds. What else is left out
    is taken from the offer.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "grantId": "0x" + "22" * 32,
                "offerHash": "0x" + "66" * 32,
                "cap": 100_000,
                "lanes": 1,
            }
        },
    )
    offerHash: str | None = None
    grantId: str
    cap: NonNegativeInt
    maxUnits: NonNegativeInt = 0
    lanes: NonNegativeInt = 1
    maxPerCall: NonNegativeInt | None = None
    seconds: Annotated[NonNegativeInt, Field(ge=1)] | None = None
    startsAt: NonNegativeInt | None = None
    endsAt: NonNegativeInt | None = None
    closeWindowBlocks: NonNegativeInt | None = None
    closeWindowSeconds: NonNegativeInt | None = None
    arbiter: str = ""
    unit: str | None = None
    price: NonNegativeInt | None = None
    shares: list[ShareBody] | None = None


def _unit(name: str) -> MeteredUnit:
    if name.upper() not in MeteredUnit.__members__:
        raise BadInput("metered_unit_unknown", "A unit is call, row or byte.")
    return MeteredUnit[name.upper()]


class ShareAnswer(BaseModel):
    """One part of a revenue split."""

    member: str
    basisPoints: int


class OfferTerms(BaseModel):
    """A provider's terms for one asset version; money in fen, windows and terms in seconds."""

    assetId: str
    assetVersion: int
    unit: str
    price: int
    maxCap: int
    maxUnits: int
    maxPerCall: int
    maxLanes: int
    maxSeconds: int
    closeWindowBlocks: int
    closeWindowSeconds: int
    shares: list[ShareAnswer]
    buyers: list[str]


class OfferRow(OfferTerms):
    """An offer with the hash that an order names."""

    offerHash: str


class OfferList(ListAnswer):
    """A page of offers."""

    offers: list[OfferRow]


class AgreementState(BaseModel):
    """An agreement; fen as text, ``…At`` are heights, ``stateSince`` Unix seconds."""

    agreementId: str
    side: str
    state: str
    reason: str | None
    reasonText: str | None
    stateSince: int | None
    provider: str
    buyer: str
    unit: str
    agreement: dict[str, Any] = Field(description="`Agreement`; see docs/statements.md")
    openedAt: int | None
    noticeAt: int | None
    closedAt: int | None
    paid: str
    refunded: str
    openOperation: str
    newerVersion: int | None
    hint: str


class AgreementRow(AgreementState):
    """An agreement of a list."""

    held: str | None = Field(description="Why nothing is signed under it since an old backup")
    finalSettlement: FinalTotals | None


class AgreementList(ListAnswer):
    """A page of agreements."""

    agreements: list[AgreementRow]


class OfferWithKey(BaseModel):
    """An offer, and the address of the key that will sign an agreement on it."""

    offer: OfferTerms
    providerKey: str


class Opening(BaseModel):
    """Where the contract call that opens an agreement stands."""

    state: str
    code: str | None
    height: int | None


class AgreementAnswer(AgreementState):
    """An agreement, and its opening once that is queued."""

    opening: Opening | None = Field(None, description="Left out until it is queued")


class AgreementDetail(AgreementAnswer):
    """One agreement with all that this node knows of it."""

    held: str | None = Field(description="Why nothing is signed under it since an old backup")
    finalSettlement: FinalTotals | None


class ProposalRefusal(BaseModel):
    """Why a provider does not sign."""

    code: str
    detail: str


class CountersignAnswer(BaseModel):
    """Either a signature or a refusal."""

    agreementId: str
    signature: str = ""
    refusal: ProposalRefusal | None = Field(None, description="Final for this proposal")


class ReportedEnd(BaseModel):
    """The state in which this node has the agreement now."""

    state: str


class SignedAgreementAnswer(BaseModel):
    """An agreement with both signatures."""

    agreement: Statement = Field(description="`Agreement`; see docs/statements.md")
    terms: Statement = Field(description="`GrantTerms`; see docs/statements.md")
    providerSignature: str
    buyerSignature: str


@router.post(
    "/v1/offers",
    status_code=201,
    summary="Offer an asset version on terms",
    response_model=OfferRow,
)
def make_offer(
    body: OfferBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system")),
) -> dict[str, Any]:
    default = rules.default_window(context.ledger.deployment.min_close_window)
    blocks, seconds = body.closeWindowBlocks, body.closeWindowSeconds
    wanted = Offer(
        asset_id=hex_bytes(body.assetId),
        asset_version=body.assetVersion,
        unit=_unit(body.unit),
        price=body.price,
        max_cap=body.maxCap,
        max_units=body.maxUnits,
        max_per_call=body.maxPerCall,
        max_lanes=body.maxLanes,
        max_seconds=body.maxSeconds,
        close_window_blocks=default.blocks if blocks is None else blocks,
        close_window_seconds=default.seconds if seconds is None else seconds,
        shares=tuple(share.share() for share in body.shares),
        buyers=tuple(body.buyers),
    )
    return published_offers.offer(context, wanted)


@router.get(
    "/v1/offers",
    summary="This member's own offers; with provider, those another member makes to it",
    response_model=OfferList,
)
async def offers(
    provider: str | None = None,
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(
        require_local("clerk", "system", "officer", "auditor", "administrator")
    ),
) -> dict[str, Any]:
    if provider is None or provider == context.member:
        return (await run_in_threadpool(published_offers.offers, context, page)).to_json("offers")
    return (await published_offers.offers_of(context, provider, page)).to_json("offers")


@router.get(
    "/v1/peer/offers", summary="Offers made to the calling member", response_model=OfferList
)
def peer_offers(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> dict[str, Any]:
    return published_offers.offers(context, page, buyer=caller.member).to_json("offers")


@router.get(
    "/v1/peer/offers/{asset_id}/{version}",
    summary="The offer for one asset version, and the key that will sign",
    response_model=OfferWithKey,
)
def peer_offer(
    asset_id: str,
    version: NonNegativeInt,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> dict[str, Any]:
    found = published_offers.find_offer(context, hex_bytes(asset_id), version, buyer=caller.member)
    return {"offer": found.to_json(), "providerKey": context.signers[KeyPurpose.STATEMENT].address}


@router.post(
    "/v1/agreements",
    status_code=201,
    summary="Propose an agreement and open it",
    response_model=AgreementAnswer,
    response_model_exclude_unset=True,
)
async def propose(
    body: ProposalBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system")),
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> dict[str, Any]:
    wanted = proposals.ProposalRequest(
        grant_id=hex_bytes(body.grantId),
        cap=body.cap,
        max_units=body.maxUnits,
        lanes=body.lanes,
        max_per_call=body.maxPerCall,
        seconds=body.seconds,
        starts_at=body.startsAt,
        ends_at=body.endsAt,
        close_window_blocks=body.closeWindowBlocks,
        close_window_seconds=body.closeWindowSeconds,
        arbiter=body.arbiter,
        unit=None if body.unit is None else _unit(body.unit),
        price=body.price,
        shares=None if body.shares is None else [share.share() for share in body.shares],
        offer_hash=None if body.offerHash is None else hex_bytes(body.offerHash),
    )
    return await proposals.propose(context, wanted, idempotency_key=idempotency_key)


@router.post(
    "/v1/agreements/{agreement_id}/resume",
    summary="Ask the provider again to sign a stored proposal",
    response_model=AgreementAnswer,
    response_model_exclude_unset=True,
)
async def resume(
    agreement_id: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system")),
) -> dict[str, Any]:
    return await proposals.resume(context, hex_bytes(agreement_id))


@router.post(
    "/v1/agreements/{agreement_id}/withdrawal",
    summary="Take back a proposal before it is opened",
    response_model=AgreementAnswer,
    response_model_exclude_unset=True,
)
async def withdraw(
    agreement_id: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system")),
) -> dict[str, Any]:
    return await proposal_ends.withdraw(context, hex_bytes(agreement_id))


@router.get(
    "/v1/agreements",
    summary="Agreements of this organisation, the newest first; all=true lists everybody's",
    response_model=AgreementList,
)
def listing(
    state: str | None = None,
    all: bool = False,
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(
        require_local("clerk", "system", "officer", "auditor", "administrator")
    ),
) -> dict[str, Any]:
    found = service.listing(context, page, state=state, own=not all)
    return Page(_with_holds(context, found.rows), found.next).to_json("agreements")


@router.get(
    "/v1/agreements/{agreement_id}",
    summary="One agreement",
    response_model=AgreementDetail,
    response_model_exclude_unset=True,
)
def one(
    agreement_id: str,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(
        require_local("clerk", "system", "officer", "auditor", "administrator")
    ),
) -> dict[str, Any]:
    return _with_holds(context, [service.view(context, hex_bytes(agreement_id))])[0]


def _with_holds(context: Context, listed: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each with ``held``: why nothing is signed under it since an old backup, or null; and with its
    ``finalSettlement``: the totals of a cooperative closing and how far that has come, or null."""
    ids = [hex_bytes(row["agreementId"]) for row in listed]
    held, final = recovery.held(context, ids), closing.views(context, ids)
    return [
        {**row, "held": held.get(agreement_id), "finalSettlement": final.get(agreement_id)}
        for row, agreement_id in zip(listed, ids, strict=True)
    ]


@router.post(
    "/v1/peer/agreements",
    summary="A buyer's proposal, to be countersigned",
    description="The answer holds this member's `signature`, or a `refusal` with `code` and "
    "`detail`, which is final. After an error the proposal may be sent again.",
    openapi_extra=strict_body(agreement=Agreement, terms=GrantTerms, signature=SIGNATURE, height=1),
    response_model=CountersignAnswer,
    response_model_exclude_unset=True,
)
async def countersign(
    request: Request,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> dict[str, Any]:
    body = await strict_json(request)
    agreement = Agreement.from_json(field(body, "agreement", dict))
    terms = GrantTerms.from_json(field(body, "terms", dict))
    signature = hex_field(body, "signature", length=65)
    height = field(body, "height", int)

    def decide() -> dict[str, Any]:
        try:
            return countersigning.countersign(
                context, caller.member, agreement, terms, signature, height=height
            )
        except (BadInput, Conflict, Forbidden, NotFound) as error:
            refusal = {"code": error.code, "detail": error.sentence}
            return {"agreementId": "0x" + agreement.struct_hash().hex(), "refusal": refusal}

    return await run_in_threadpool(decide)


@router.post(
    "/v1/peer/agreements/{agreement_id}/end",
    summary="A buyer's node reports that its proposal was refused by the chain or withdrawn",
    openapi_extra=strict_body(state="failed", reason="not_enough_free"),
    response_model=ReportedEnd,
)
async def take_end(
    agreement_id: str,
    request: Request,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> dict[str, Any]:
    body = await strict_json(request)
    state, reason = field(body, "state", str), field(body, "reason", str)
    if state not in (AgreementStage.FAILED, AgreementStage.WITHDRAWN):
        raise BadInput("end_malformed", "What the buyer reports is no end of a proposal.")
    found = hex_bytes(agreement_id)
    return await run_in_threadpool(
        proposal_ends.record_reported_end,
        context,
        caller.member,
        found,
        AgreementStage(state),
        reason,
    )


@router.get(
    "/v1/peer/agreements/{agreement_id}/signed",
    summary="What both signed, for the other party that lost it",
    response_model=SignedAgreementAnswer,
)
def signed(
    agreement_id: str,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> dict[str, Any]:
    return agreement_recovery.signed_by_both(context, caller.member, hex_bytes(agreement_id))
