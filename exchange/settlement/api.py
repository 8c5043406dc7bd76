"""Deposits, claims, closing, withdrawals and books."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from chain.context import Context
from chain.core.errors import BadInput
from chain.statements.trade import FinalSettlement, Voucher
from exchange.schemas import FinalSettlementAnswer, SignedVoucher
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
from registry.schemas import BUNDLE, QueuedCall, RefusedByAnswer, Statement

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


class DepositAnswer(BaseModel):
    """The confirmation as it was signed first, and its contract call."""

    confirmation: Statement = Field(description="`DepositConfirmation`; see docs/statements.md")
    operation: str


class ClaimAnswer(BaseModel):
    """The contract calls that claim, and how many lanes they cover."""

    operations: list[str]
    lanes: int


class ClosingRefusal(BaseModel):
    """Why a way to close failed."""

    code: str
    detail: str
    hint: str
    refusedBy: RefusedByAnswer


class ClosingAnswer(BaseModel):
    """How an agreement is ended; what does not belong to the way taken is left out."""

    way: str = Field(description="`cooperative`, `notice`, `vouchers` or `closed`")
    closedAt: int = Field(0, description="Height")
    refusal: ClosingRefusal | None = Field(None, description="Why the cooperative way failed")
    vouchers: list[SignedVoucher] = []
    vouchersRefused: ClosingRefusal | None = Field(
        None, description="Why no vouchers were delivered"
    )
    operation: str | None = None
    noticeAt: int = Field(0, description="Height of an earlier notice")
    finalSettlement: FinalSettlementAnswer | None = None


class CooperativeClosing(BaseModel):
    """The contract call that closes with the totals both signed."""

    operation: str
    finalSettlement: FinalSettlementAnswer | None


class Countersignature(BaseModel):
    """This member's signature of the final totals."""

    signature: str


class NoticeAnswer(BaseModel):
    """The contract call; with the height of a notice that was given before."""

    operation: str | None
    noticeAt: int = 0


class CloseAnswer(BaseModel):
    """The contract call; with the height of a closing that happened before."""

    operation: str | None
    closedAt: int = 0


class Money(BaseModel):
    """An account in the contract; fen as text."""

    deposited: str
    withdrawn: str
    free: str
    locked: str
    earned: str
    spent: str


class Accounts(BaseModel):
    """A member's account and the sums of all."""

    member: str
    account: Money
    totals: Money
    conserved: bool = Field(description="What came in is what went out and what is there")


class AgreementBooks(BaseModel):
    """An agreement's money, in fen as text; ``…At`` are heights."""

    opened: str
    paid: str
    refunded: str
    acknowledged: str
    locked: str
    openedAt: int
    closedAt: int


@router.post(
    "/v1/deposits",
    status_code=202,
    summary="Confirm money received (settlement bank)",
    response_model=DepositAnswer,
)
def deposit(
    body: DepositBody, context: Context = Depends(get_context), _caller: Principal = Clerks
) -> dict[str, Any]:
    return service.confirm_deposit(
        context, member=body.member, amount=body.amount, reference=body.reference
    )


@router.post(
    "/v1/withdrawals",
    status_code=202,
    summary="Order free money paid out",
    response_model=QueuedCall,
)
def withdraw(
    body: WithdrawalBody, context: Context = Depends(get_context), _caller: Principal = Clerks
) -> dict[str, Any]:
    return service.withdraw(context, amount=body.amount, order=body.order)


@router.post(
    "/v1/agreements/{agreement_id}/claim",
    status_code=202,
    summary="Claim what was acknowledged (provider)",
    response_model=ClaimAnswer,
)
def claim(
    agreement_id: str, context: Context = Depends(get_context), _caller: Principal = Clerks
) -> dict[str, Any]:
    return service.claim(context, hex_bytes(agreement_id))


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
) -> dict[str, Any]:
    wanted = {"cooperative": body.cooperative, "notice": body.notice}
    return await closing_service.end(context, hex_bytes(agreement_id), **wanted)


@router.get(
    "/v1/agreements/{agreement_id}/final-settlement",
    summary="The final totals that were signed",
    response_model=FinalSettlementAnswer,
)
def final_settlement(
    agreement_id: str, context: Context = Depends(get_context), _caller: Principal = Readers
) -> dict[str, Any]:
    return closing_service.shown(context, context.member, hex_bytes(agreement_id))


@router.post(
    "/v1/peer/agreements/{agreement_id}/closing",
    summary="The provider asks the buyer to close cooperatively",
    response_model=CooperativeClosing,
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
    response_model=Countersignature,
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
    response_model=FinalSettlementAnswer,
)
def peer_final_settlement_shown(
    agreement_id: str,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> dict[str, Any]:
    return closing_service.shown(context, caller.member, hex_bytes(agreement_id))


@router.post(
    "/v1/agreements/{agreement_id}/notice",
    status_code=202,
    summary="Give notice (either party)",
    response_model=NoticeAnswer,
    response_model_exclude_unset=True,
)
def notice(
    agreement_id: str, context: Context = Depends(get_context), _caller: Principal = Clerks
) -> dict[str, Any]:
    return service.give_notice(context, hex_bytes(agreement_id))


@router.post(
    "/v1/agreements/{agreement_id}/close",
    status_code=202,
    summary="Refund the rest once the window has passed",
    response_model=CloseAnswer,
    response_model_exclude_unset=True,
)
def close(
    agreement_id: str, context: Context = Depends(get_context), _caller: Principal = Clerks
) -> dict[str, Any]:
    return service.close(context, hex_bytes(agreement_id))


@router.get(
    "/v1/accounts",
    summary="This member's money and the totals, read from the chain",
    response_model=Accounts,
)
def accounts(
    member: str | None = None, context: Context = Depends(get_context), _caller: Principal = Readers
) -> dict[str, Any]:
    return service.accounts(context, member)


@router.get(
    "/v1/agreements/{agreement_id}/books",
    summary="An agreement's money, read from the chain",
    response_model=AgreementBooks,
)
def books(
    agreement_id: str, context: Context = Depends(get_context), _caller: Principal = Readers
) -> dict[str, Any]:
    return service.books(context, hex_bytes(agreement_id))


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


@router.get(
    "/v1/agreements/{agreement_id}/bundle",
    summary="The bundle of one call (provider)",
    responses=BUNDLE,
)
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
    responses=BUNDLE,
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
