"""Deposits, claims, closing, withdrawals and books."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from chain.context import Context
from chain.core.errors import BadInput
from chain.statements.trade import FinalSettlement, Voucher
from exchange.settlement import bundles, claims, service
from exchange.settlement import closing as closing_service
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
from registry.openapi import LARGE_BODY, SIGNATURE, strict_body
from registry.pages import ListAnswer, PageRequest

router = APIRouter(tags=["settlement"])
Readers = Depends(require_local("clerk", "system", "officer", "auditor", "administrator"))
Clerks = Depends(require_local("clerk", "system"))


class DepositBody(BaseModel):
    """Money the settlement bank received for a member, in fen."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "member": "11440700MB2C62170M",
                "amount": 1_000_000,
                "reference": "2026-03-02/000117",
            }
        },
    )
    member: Annotated[str, Field(pattern=r"^[0-9A-Z]{18}$")]
    amount: Annotated[int, Field(ge=1, le=2**53 - 1)]
    reference: Annotated[str, Field(min_length=1, max_length=128)]


class ClosingBody(BaseModel):
    """Ways to end: cooperatively if the other side agrees, else by notice on the chain."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"cooperative": True, "notice": True}}
    )
    cooperative: bool = True
    notice: bool = True


class WithdrawalBody(BaseModel):
    """Free money to be paid out, in fen; the same order counts once."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"amount": 50_000, "order": "2026-03/1"}}
    )
    amount: Annotated[int, Field(ge=1, le=2**53 - 1)]
    order: Annotated[str, Field(min_length=1, max_length=128)]


@router.post("/v1/deposits", status_code=202, summary="Confirm money received (settlement bank)")
def deposit(
    body: DepositBody, context: Context = Depends(get_context), _caller: Principal = Clerks
) -> dict[str, Any]:
    return service.confirm_deposit(
        context, member=body.member, amount=body.amount, reference=body.reference
    )


@router.post("/v1/withdrawals", status_code=202, summary="Order free money paid out")
def withdraw(
    body: WithdrawalBody, context: Context = Depends(get_context), _caller: Principal = Clerks
) -> dict[str, Any]:
    return service.withdraw(context, amount=body.amount, order=body.order)


@router.post(
    "/v1/agreements/{agreement_id}/claim",
    status_code=202,
    summary="Claim what was acknowledged (provider)",
)
def claim(
    agreement_id: str, context: Context = Depends(get_context), _caller: Principal = Clerks
) -> dict[str, Any]:
    return service.claim(context, hex_bytes(agreement_id))


@router.post(
    "/v1/agreements/{agreement_id}/closing",
    status_code=202,
    summary="End the agreement: cooperatively, or by notice where that fails",
)
async def closing(
    agreement_id: str,
    body: ClosingBody,
    context: Context = Depends(get_context),
    _caller: Principal = Clerks,
) -> dict[str, Any]:
    wanted = {"cooperative": body.cooperative, "notice": body.notice}
    return await closing_service.end(context, hex_bytes(agreement_id), **wanted)


@router.get(
    "/v1/agreements/{agreement_id}/final-settlement", summary="The final totals that were signed"
)
def final_settlement(
    agreement_id: str, context: Context = Depends(get_context), _caller: Principal = Readers
) -> dict[str, Any]:
    return closing_service.shown(context, context.member, hex_bytes(agreement_id))


@router.post(
    "/v1/peer/agreements/{agreement_id}/closing",
    summary="The provider asks the buyer to close cooperatively",
)
async def peer_closing(
    agreement_id: str,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> dict[str, Any]:
    return await closing_service.requested(context, caller.member, hex_bytes(agreement_id))


@router.post(
    "/v1/peer/agreements/{agreement_id}/final-settlement",
    summary="A buyer's final totals, to be countersigned",
    openapi_extra=strict_body(
        settlement=FinalSettlement,
        signature=SIGNATURE,
        vouchers=[{"voucher": Voucher, "signature": SIGNATURE}],
    )
    | LARGE_BODY,
)
async def peer_final_settlement(
    agreement_id: str,
    request: Request,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> dict[str, Any]:
    body = await strict_json(request)
    settlement = FinalSettlement.from_json(field(body, "settlement", dict))
    if settlement.agreement_id != hex_bytes(agreement_id):
        raise BadInput("other_agreement", "The final totals are of another agreement.")
    vouchers = [
        (Voucher.from_json(field(item, "voucher", dict)), hex_field(item, "signature", length=65))
        for item in field(body, "vouchers", list)
    ]
    signature = hex_field(body, "signature", length=65)
    return await closing_service.countersign(
        context, caller.member, settlement, signature, vouchers
    )


@router.get(
    "/v1/peer/agreements/{agreement_id}/final-settlement",
    summary="The final totals with both signatures, for the other party",
)
def peer_final_settlement_shown(
    agreement_id: str,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> dict[str, Any]:
    return closing_service.shown(context, caller.member, hex_bytes(agreement_id))


@router.post(
    "/v1/agreements/{agreement_id}/notice", status_code=202, summary="Give notice (either party)"
)
def notice(
    agreement_id: str, context: Context = Depends(get_context), _caller: Principal = Clerks
) -> dict[str, Any]:
    return service.give_notice(context, hex_bytes(agreement_id))


@router.post(
    "/v1/agreements/{agreement_id}/close",
    status_code=202,
    summary="Refund the rest once the window has passed",
)
def close(
    agreement_id: str, context: Context = Depends(get_context), _caller: Principal = Clerks
) -> dict[str, Any]:
    return service.close(context, hex_bytes(agreement_id))


@router.get("/v1/accounts", summary="This member's money and the totals, read from the chain")
def accounts(
    member: str | None = None, context: Context = Depends(get_context), _caller: Principal = Readers
) -> dict[str, Any]:
    return service.accounts(context, member)


@router.get(
    "/v1/agreements/{agreement_id}/books", summary="An agreement's money, read from the chain"
)
def books(
    agreement_id: str, context: Context = Depends(get_context), _caller: Principal = Readers
) -> dict[str, Any]:
    return service.books(context, hex_bytes(agreement_id))


class ClaimRow(BaseModel):
    """What is owed under one agreement; fen as text, times in Unix seconds."""

    agreementId: str
    unclaimed: str
    due: str | None = Field(description="Why it is to be claimed now; null while it is not")
    dueSince: int | None
    windowEndsAt: int | None
    blocksLeft: int | None
    refusal: str | None = Field(description="The chain's code for the last claim")
    atRisk: bool


class ClaimList(ListAnswer):
    """Sums over every agreement, and a page of the agreements; fen as text."""

    unclaimed: str
    atRisk: str
    lost: str
    checkedAt: int | None
    failure: str | None
    agreements: list[ClaimRow]


class PaymentRow(BaseModel):
    """A payment, deposit or withdrawal; fen as text."""

    kind: str = Field(description="`paid`, `deposited` or `withdrawn`")
    member: str
    agreementId: str | None
    amount: str
    height: int
    logIndex: int


class PaymentList(ListAnswer):
    """A page of payments."""

    payments: list[PaymentRow]


@router.get(
    "/v1/claims",
    summary="What is owed to this organisation and not claimed yet, by agreement",
    response_model=ClaimList,
)
def owed(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> dict[str, Any]:
    return claims.claims(context, page)


@router.get(
    "/v1/payments",
    summary="Payments, deposits and withdrawals by the chain's events, the latest first",
    response_model=PaymentList,
)
def payments(
    agreement_id: str | None = None,
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> dict[str, Any]:
    wanted = None if agreement_id is None else hex_bytes(agreement_id)
    return service.payments(context, page, wanted).to_json("payments")


@router.get("/v1/agreements/{agreement_id}/bundle", summary="The bundle of one call (provider)")
def trade_bundle(
    agreement_id: str,
    seq: NonNegativeInt,
    lane: NonNegativeInt = 0,
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> Response:
    data = bundles.trade_bundle(context, hex_bytes(agreement_id), lane, seq)
    return Response(data, media_type="application/json")


@router.get(
    "/v1/agreements/{agreement_id}/lane-bundle",
    summary="The bundle of every call of a lane (provider)",
)
def lane_bundle(
    agreement_id: str,
    lane: NonNegativeInt = 0,
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> Response:
    return Response(
        bundles.lane_bundle(context, hex_bytes(agreement_id), lane), media_type="application/json"
    )
