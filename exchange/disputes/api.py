"""Endpoints of disputes: the provider claims and answers, the buyer contests, the arbiter rules."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from chain.context import Context
from exchange.disputes import export, fines, peers, service
from exchange.disputes.model import DisputeCase
from exchange.disputes.schemas import (
    AnswerCheckAnswer,
    CallDisputeDetail,
    CallDisputeList,
    ContestBody,
    ContestOpening,
    DisputeCallAnswer,
    EquivocationBody,
    EquivocationList,
    FineBody,
    FineList,
    FineProposal,
    FreezeAnswer,
    FreezeBody,
    LaneBody,
    OpenedAnswer,
    RulingBody,
    SealedAnswer,
    contest_reason,
)
from registry.access import (
    NonNegativeInt,
    Principal,
    get_context,
    hex_bytes,
    page_request,
    require_local,
    require_member,
)
from registry.pages import PageRequest
from registry.schemas import BUNDLE

router = APIRouter(tags=["disputes"])
Readers = Depends(require_local("clerk", "system", "officer", "auditor", "administrator"))
Clerks = Depends(require_local("clerk", "system"))


@router.get(
    "/v1/call-disputes",
    summary="Disputes over metered calls, the latest first",
    response_model=CallDisputeList,
)
def listing(
    live: bool = False,
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> CallDisputeList:
    return CallDisputeList.of(service.listing(context, page, live=live))


@router.get(
    "/v1/call-disputes/{receipt_id}",
    summary="One dispute with its deadline, proved",
    response_model=CallDisputeDetail,
)
def show(
    receipt_id: str, context: Context = Depends(get_context), _caller: Principal = Readers
) -> CallDisputeDetail:
    return CallDisputeDetail.of_one(service.show(context, hex_bytes(receipt_id)))


@router.post(
    "/v1/agreements/{agreement_id}/receipt-claim",
    status_code=202,
    summary="Claim a lane's last receipt, which the buyer has not acknowledged (provider)",
    response_model=DisputeCallAnswer,
)
def claim(
    agreement_id: str,
    body: LaneBody,
    context: Context = Depends(get_context),
    _caller: Principal = Clerks,
) -> DisputeCallAnswer:
    return DisputeCallAnswer.of(service.claim(context, hex_bytes(agreement_id), body.lane))


@router.post(
    "/v1/call-disputes/{receipt_id}/contest",
    status_code=202,
    summary="Contest a claimed receipt; the stake is bonded (buyer)",
    response_model=DisputeCallAnswer,
)
def contest(
    receipt_id: str,
    body: ContestBody,
    context: Context = Depends(get_context),
    _caller: Principal = Clerks,
) -> DisputeCallAnswer:
    reason = contest_reason(body.reason)
    return DisputeCallAnswer.of(service.contest(context, hex_bytes(receipt_id), reason))


@router.post(
    "/v1/call-disputes/{receipt_id}/answer",
    status_code=202,
    summary="Serve the stored answer again, sealed to the contest's key (provider)",
    response_model=DisputeCallAnswer,
)
def answer(
    receipt_id: str, context: Context = Depends(get_context), _caller: Principal = Clerks
) -> DisputeCallAnswer:
    return DisputeCallAnswer.of(service.answer(context, hex_bytes(receipt_id)))


@router.get(
    "/v1/call-disputes/{receipt_id}/answer",
    summary="The answer that the provider served again, compared with its receipt",
    response_model=AnswerCheckAnswer,
)
async def checked_answer(
    receipt_id: str, context: Context = Depends(get_context), _caller: Principal = Clerks
) -> AnswerCheckAnswer:
    return AnswerCheckAnswer.of(await peers.check_answer(context, hex_bytes(receipt_id)))


@router.post(
    "/v1/call-disputes/{receipt_id}/opening",
    summary="Let the arbiter read the answer (buyer)",
    response_model=OpenedAnswer,
)
def open_to_arbiter(
    receipt_id: str, context: Context = Depends(get_context), _caller: Principal = Clerks
) -> OpenedAnswer:
    service.open_to_arbiter(context, hex_bytes(receipt_id))
    return OpenedAnswer(receiptId="0x" + hex_bytes(receipt_id).hex())


@router.post(
    "/v1/call-disputes/{receipt_id}/ruling",
    status_code=202,
    summary="Rule how much is paid of a contested call (arbiter)",
    response_model=DisputeCallAnswer,
)
def rule(
    receipt_id: str,
    body: RulingBody,
    context: Context = Depends(get_context),
    _caller: Principal = Clerks,
) -> DisputeCallAnswer:
    return DisputeCallAnswer.of(service.rule(context, hex_bytes(receipt_id), body.request()))


@router.post(
    "/v1/call-disputes/{receipt_id}/end",
    status_code=202,
    summary="End a dispute whose time is over (anybody)",
    response_model=DisputeCallAnswer,
)
def end(
    receipt_id: str, context: Context = Depends(get_context), _caller: Principal = Clerks
) -> DisputeCallAnswer:
    return DisputeCallAnswer.of(service.end(context, hex_bytes(receipt_id)))


@router.post(
    "/v1/equivocations",
    status_code=202,
    summary="Prove that a provider signed two receipts for one place (anybody)",
    response_model=DisputeCallAnswer,
)
def prove_equivocation(
    body: EquivocationBody,
    context: Context = Depends(get_context),
    _caller: Principal = Clerks,
) -> DisputeCallAnswer:
    agreement_id = hex_bytes(body.agreementId)
    first, second = body.first.signed(), body.second.signed()
    return DisputeCallAnswer.of(service.prove_equivocation(context, agreement_id, first, second))


@router.get(
    "/v1/agreements/{agreement_id}/dispute-bundle",
    summary="The bundle of a dispute over one call, from this node's own store",
    responses=BUNDLE,
)
def dispute_bundle(
    agreement_id: str,
    seq: NonNegativeInt,
    lane: NonNegativeInt = 0,
    case: Annotated[DisputeCase, Query(description="What the bundle shows")] = DisputeCase.CLAIM,
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> Response:
    data = export.bundle(context, case, hex_bytes(agreement_id), lane, seq)
    return Response(data, media_type="application/json")


@router.get(
    "/v1/equivocations",
    summary="Places for which a provider signed two receipts, the latest first",
    response_model=EquivocationList,
)
def equivocations(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> EquivocationList:
    return EquivocationList.of(service.equivocations(context, page))


@router.post(
    "/v1/agreements/{agreement_id}/freeze",
    status_code=202,
    summary="Stop the calls of an agreement (supervisor)",
    response_model=FreezeAnswer,
)
def freeze(
    agreement_id: str,
    body: FreezeBody,
    context: Context = Depends(get_context),
    _caller: Principal = Clerks,
) -> FreezeAnswer:
    return FreezeAnswer.of(service.freeze(context, hex_bytes(agreement_id), body.reason))


@router.post(
    "/v1/agreements/{agreement_id}/unfreeze",
    status_code=202,
    summary="Allow the calls of a frozen agreement again (supervisor)",
    response_model=FreezeAnswer,
)
def unfreeze(
    agreement_id: str, context: Context = Depends(get_context), _caller: Principal = Clerks
) -> FreezeAnswer:
    return FreezeAnswer.of(service.unfreeze(context, hex_bytes(agreement_id)))


@router.post(
    "/v1/agreements/{agreement_id}/fine-proposals",
    status_code=201,
    summary="Propose a fine out of the provider's bond, for two governors to approve",
    response_model=FineProposal,
)
async def propose_fine(
    agreement_id: str,
    body: FineBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(require_local("administrator")),
) -> FineProposal:
    made = await fines.propose(
        context, hex_bytes(agreement_id), body.request(), share_with=body.shareWith
    )
    return FineProposal.of(made)


@router.get("/v1/fines", summary="Fines of providers, the latest first", response_model=FineList)
def fines_taken(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> FineList:
    return FineList.of(fines.listing(context, page))


@router.get(
    "/v1/peer/call-disputes/{receipt_id}/answer",
    summary="A contested call's sealed answer, for the buyer and the arbiter",
    response_model=SealedAnswer,
)
def peer_answer(
    receipt_id: str,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> SealedAnswer:
    sealed = service.sealed_answer(context, hex_bytes(receipt_id), caller.member)
    return SealedAnswer(sealedAnswer="0x" + sealed.hex())


@router.get(
    "/v1/peer/call-disputes/{receipt_id}/opening",
    summary="The key of a contest that its buyer opened, for the arbiter",
    response_model=ContestOpening,
)
def peer_opening(
    receipt_id: str,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> ContestOpening:
    secret = service.opened_secret(context, hex_bytes(receipt_id), caller.member)
    return ContestOpening(contestSecret="0x" + secret.hex())
