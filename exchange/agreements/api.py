"""Offers and agreements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from starlette.concurrency import run_in_threadpool

from chain.context import Context
from chain.core.errors import BadInput, Conflict, Forbidden, NotFound
from chain.statements.grants import GrantTerms
from chain.statements.members import KeyPurpose
from chain.statements.trade import Agreement
from exchange.agreements import countersigning, proposal_ends, proposals, rules, service
from exchange.agreements import offers as published_offers
from exchange.agreements import recovery as agreement_recovery
from exchange.agreements.model import AgreementStage
from exchange.agreements.schemas import (
    AgreementAnswer,
    AgreementDetail,
    AgreementList,
    AgreementRow,
    CountersignAnswer,
    OfferBody,
    OfferList,
    OfferRow,
    OfferTerms,
    OfferWithKey,
    OrderBody,
    ProposalRefusal,
    ReportedEnd,
    SignedAgreementAnswer,
)
from exchange.closing import totals
from exchange.closing.schemas import FinalTotals
from exchange.metering import recovery
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
from registry.pages import PageRequest

router = APIRouter(tags=["agreements"])


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
) -> OfferRow:
    default = rules.default_window(context.ledger.deployment.min_close_window)
    wanted = body.offer(default)
    published_offers.offer(context, wanted)
    return OfferRow.of(wanted)


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
) -> OfferList:
    if provider is None or provider == context.member:
        return OfferList.of(await run_in_threadpool(published_offers.offers, context, page))
    return OfferList.of(await published_offers.offers_of(context, provider, page))


@router.get(
    "/v1/peer/offers", summary="Offers made to the calling member", response_model=OfferList
)
def peer_offers(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> OfferList:
    return OfferList.of(published_offers.offers(context, page, buyer=caller.member))


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
) -> OfferWithKey:
    found = published_offers.find_offer(context, hex_bytes(asset_id), version, buyer=caller.member)
    key = context.signers[KeyPurpose.STATEMENT].address
    return OfferWithKey(offer=OfferTerms(**found.to_json()), providerKey=key)


@router.post(
    "/v1/agreements",
    status_code=201,
    summary="Propose an agreement and open it",
    response_model=AgreementAnswer,
    response_model_exclude_unset=True,
)
async def propose(
    body: OrderBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("clerk", "system")),
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> AgreementAnswer:
    return AgreementAnswer.of(
        await proposals.propose(context, body.order(), idempotency_key=idempotency_key)
    )


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
) -> AgreementAnswer:
    return AgreementAnswer.of(await proposals.resume(context, hex_bytes(agreement_id)))


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
) -> AgreementAnswer:
    return AgreementAnswer.of(await proposal_ends.withdraw(context, hex_bytes(agreement_id)))


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
) -> AgreementList:
    found = service.listing(context, page, state=state, own=not all)
    ids = [row.agreement_id for row in found.rows]
    held, final = recovery.held(context, ids), _final_totals(context, ids)
    rows = [
        AgreementRow.of(row, held.get(row.agreement_id), final.get(row.agreement_id))
        for row in found.rows
    ]
    return AgreementList(agreements=rows, next=found.next)


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
) -> AgreementDetail:
    found = hex_bytes(agreement_id)
    shown = service.view(context, found)
    held, final = recovery.held(context, [found]), _final_totals(context, [found])
    return AgreementDetail.of_one(shown, held.get(found), final.get(found))


def _final_totals(context: Context, ids: Sequence[bytes]) -> dict[bytes, FinalTotals]:
    found = totals.views(context, ids)
    return {agreement_id: FinalTotals.of(signed) for agreement_id, signed in found.items()}


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
) -> CountersignAnswer:
    body = await strict_json(request)
    agreement = Agreement.from_json(field(body, "agreement", dict))
    terms = GrantTerms.from_json(field(body, "terms", dict))
    signature = hex_field(body, "signature", length=65)
    height = field(body, "height", int)

    def decide() -> CountersignAnswer:
        agreement_id = "0x" + agreement.struct_hash().hex()
        try:
            own = countersigning.countersign(
                context, caller.member, agreement, terms, signature, height=height
            )
        except (BadInput, Conflict, Forbidden, NotFound) as error:
            refusal = ProposalRefusal(code=error.code, detail=error.sentence)
            return CountersignAnswer(agreementId=agreement_id, refusal=refusal)
        return CountersignAnswer(agreementId=agreement_id, signature="0x" + own.hex())

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
) -> ReportedEnd:
    body = await strict_json(request)
    state, reason = field(body, "state", str), field(body, "reason", str)
    if state not in (AgreementStage.FAILED, AgreementStage.WITHDRAWN):
        raise BadInput("end_malformed", "What the buyer reports is no end of a proposal.")
    here = await run_in_threadpool(
        proposal_ends.record_reported_end,
        context,
        caller.member,
        hex_bytes(agreement_id),
        AgreementStage(state),
        reason,
    )
    return ReportedEnd(state=here)


@router.get(
    "/v1/peer/agreements/{agreement_id}/signed",
    summary="What both signed, for the other party that lost it",
    response_model=SignedAgreementAnswer,
)
def signed(
    agreement_id: str,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> SignedAgreementAnswer:
    signed = agreement_recovery.signed_by_both(context, caller.member, hex_bytes(agreement_id))
    return SignedAgreementAnswer.of(signed)
