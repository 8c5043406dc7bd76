"""Ending agreements: cooperatively, or by notice and closing."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from chain.context import Context
from chain.core.errors import BadInput
from chain.statements.trade import FinalSettlement, Voucher
from exchange.closing import notice as by_notice
from exchange.closing import provider, service, totals
from exchange.closing.schemas import (
    CloseAnswer,
    ClosingAnswer,
    ClosingBody,
    CooperativeClosing,
    Countersignature,
    FinalSettlementAnswer,
    NoticeAnswer,
)
from exchange.metering.model import ClosingVoucher
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
from registry.openapi import LARGE_BODY, SIGNATURE, strict_body

router = APIRouter(tags=["settlement"])
Readers = Depends(require_local("clerk", "system", "officer", "auditor", "administrator"))
Clerks = Depends(require_local("clerk", "system"))


@router.post(
    "/v1/agreements/{agreement_id}/closing",
    status_code=202,
    summary="End the agreement: cooperatively, or by notice where that fails",
    response_model=ClosingAnswer,
    response_model_exclude_unset=True,
)
async def closing(
    agreement_id: str,
    body: ClosingBody,
    context: Context = Depends(get_context),
    _caller: Principal = Clerks,
) -> ClosingAnswer:
    outcome = await service.end(
        context, hex_bytes(agreement_id), cooperative=body.cooperative, notice=body.notice
    )
    return ClosingAnswer.of(outcome)


@router.get(
    "/v1/agreements/{agreement_id}/final-settlement",
    summary="The final totals that were signed",
    response_model=FinalSettlementAnswer,
)
def final_settlement(
    agreement_id: str, context: Context = Depends(get_context), _caller: Principal = Readers
) -> FinalSettlementAnswer:
    shown = totals.shown(context, context.member, hex_bytes(agreement_id))
    return FinalSettlementAnswer.of(shown)


@router.post(
    "/v1/peer/agreements/{agreement_id}/closing",
    summary="The provider asks the buyer to close cooperatively",
    response_model=CooperativeClosing,
)
async def peer_closing(
    agreement_id: str,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> CooperativeClosing:
    closing = await service.requested(context, caller.member, hex_bytes(agreement_id))
    return CooperativeClosing.of(closing)


@router.post(
    "/v1/peer/agreements/{agreement_id}/final-settlement",
    summary="A buyer's final totals, to be countersigned",
    openapi_extra=strict_body(
        settlement=FinalSettlement,
        signature=SIGNATURE,
        vouchers=[{"voucher": Voucher, "signature": SIGNATURE}],
    )
    | LARGE_BODY,
    response_model=Countersignature,
)
async def peer_final_settlement(
    agreement_id: str,
    request: Request,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> Countersignature:
    body = await strict_json(request)
    settlement = FinalSettlement.from_json(field(body, "settlement", dict))
    if settlement.agreement_id != hex_bytes(agreement_id):
        raise BadInput("other_agreement", "The final totals are of another agreement.")
    vouchers = [
        ClosingVoucher(
            Voucher.from_json(field(item, "voucher", dict)), hex_field(item, "signature", length=65)
        )
        for item in field(body, "vouchers", list)
    ]
    signature = hex_field(body, "signature", length=65)
    own = await provider.countersign(context, caller.member, settlement, signature, vouchers)
    return Countersignature(signature="0x" + own.hex())


@router.get(
    "/v1/peer/agreements/{agreement_id}/final-settlement",
    summary="The final totals with both signatures, for the other party",
    response_model=FinalSettlementAnswer,
)
def peer_final_settlement_shown(
    agreement_id: str,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> FinalSettlementAnswer:
    shown = totals.shown(context, caller.member, hex_bytes(agreement_id))
    return FinalSettlementAnswer.of(shown)


@router.post(
    "/v1/agreements/{agreement_id}/notice",
    status_code=202,
    summary="Give notice (either party)",
    response_model=NoticeAnswer,
    response_model_exclude_unset=True,
)
def notice(
    agreement_id: str, context: Context = Depends(get_context), _caller: Principal = Clerks
) -> NoticeAnswer:
    return NoticeAnswer.of(by_notice.give_notice(context, hex_bytes(agreement_id)))


@router.post(
    "/v1/agreements/{agreement_id}/close",
    status_code=202,
    summary="Refund the rest once the window has passed",
    response_model=CloseAnswer,
    response_model_exclude_unset=True,
)
def close(
    agreement_id: str, context: Context = Depends(get_context), _caller: Principal = Clerks
) -> CloseAnswer:
    return CloseAnswer.of(by_notice.close(context, hex_bytes(agreement_id)))
