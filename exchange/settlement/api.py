"""Deposits, claims, withdrawals, accounts and payments."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from chain.context import Context
from chain.core.errors import Conflict
from chain.ethereum.records import AccountRecord, AgreementRecord
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide
from exchange.banking import service as banking
from exchange.settlement import bundles, deposits, earnings, model, service
from exchange.settlement.claims import ClaimMonitor
from exchange.settlement.claims_report import ClaimsReport, owing
from exchange.settlement.rules import ClaimStatus, at_risk
from exchange.usage import service as usage
from registry.access import (
    NonNegativeInt,
    Principal,
    get_context,
    hex_bytes,
    page_request,
    require_local,
    require_member,
)
from registry.pages import ListAnswer, Page, PageRequest
from registry.schemas import BUNDLE, QueuedCall, Statement

router = APIRouter(tags=["settlement"])
Readers = Depends(require_local("clerk", "system", "officer", "auditor", "administrator"))
Clerks = Depends(require_local("clerk", "system"))
Party = Annotated[
    Literal[AgreementSide.PROVIDER, AgreementSide.BUYER] | None,
    Query(description="Whose bundle; by default one's own, at a supervisor the first to be had"),
]


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

    @classmethod
    def of(cls, status: ClaimStatus, now: int) -> Self:
        """As the API shows it."""
        window = status.window
        return cls(
            agreementId="0x" + status.agreement_id.hex(),
            unclaimed=str(status.unclaimed),
            due=status.reason,
            dueSince=status.due_since or None,
            windowEndsAt=None if window is None else window.ends_at,
            blocksLeft=None if window is None else window.blocks,
            refusal=status.refusal or None,
            atRisk=at_risk(status, now),
        )


class ClaimList(ListAnswer):
    """Sums over every agreement, and a page of the agreements; fen as text."""

    unclaimed: str
    atRisk: str
    lost: str
    checkedAt: int | None
    failure: str | None
    agreements: list[ClaimRow]

    @classmethod
    def of(cls, report: ClaimsReport, page: Page[ClaimStatus], now: int) -> Self:
        """As the API shows it."""
        return cls(
            unclaimed=str(report.unclaimed),
            atRisk=str(sum(status.unclaimed for status in report.at_risk(now))),
            lost=str(report.lost),
            checkedAt=report.checked_at,
            failure=report.failure or None,
            agreements=[ClaimRow.of(status, now) for status in page.rows],
            next=page.next,
        )


class PaymentRow(BaseModel):
    """A payment, deposit or withdrawal; fen as text."""

    kind: str = Field(description="`paid`, `deposited` or `withdrawn`")
    member: str
    agreementId: str | None
    amount: str
    height: int
    logIndex: int

    @classmethod
    def of(cls, payment: model.Payment) -> Self:
        """As the API shows it."""
        agreement_id = payment.agreement_id
        return cls(
            kind=payment.kind,
            member=payment.member,
            agreementId=None if agreement_id is None else "0x" + agreement_id.hex(),
            amount=str(payment.amount),
            height=payment.height,
            logIndex=payment.log_index,
        )


class PaymentList(ListAnswer):
    """A page of payments."""

    payments: list[PaymentRow]


class EarningsRow(BaseModel):
    """An agreement that this organisation provides under; fen as text."""

    agreementId: str
    assetId: str
    buyer: str
    state: str
    served: int
    delivered: str
    claimed: str = Field(description="Acknowledged and claimed, by the chain's events")
    unclaimed: str = Field(description="Acknowledged and not claimed yet")
    unacknowledged: str = Field(description="Delivered and not acknowledged yet")

    @classmethod
    def of(cls, row: earnings.AgreementEarnings) -> Self:
        """As the API shows it."""
        view = row.agreement
        return cls(
            agreementId="0x" + view.agreement_id.hex(),
            assetId="0x" + view.agreement.asset_id.hex(),
            buyer=view.agreement.buyer,
            state=view.state,
            served=row.counts.served,
            delivered=str(row.counts.amount),
            claimed=str(row.claimed),
            unclaimed=str(row.unclaimed),
            unacknowledged=str(row.unacknowledged),
        )


class EarningsList(ListAnswer):
    """Sums of all agreements, and a page of them; fen as text."""

    delivered: str
    claimed: str
    unclaimed: str
    lost: str
    agreements: list[EarningsRow]

    @classmethod
    def of(cls, totals: earnings.EarningsTotals, page: Page[earnings.AgreementEarnings]) -> Self:
        """As the API shows it."""
        return cls(
            delivered=str(totals.delivered),
            claimed=str(totals.claimed),
            unclaimed=str(totals.unclaimed),
            lost=str(totals.lost),
            agreements=list(map(EarningsRow.of, page.rows)),
            next=page.next,
        )


class MonthRow(BaseModel):
    """What was earned in a month, by its first day in Unix seconds; fen as text."""

    month: int
    served: int
    delivered: str


class MonthList(BaseModel):
    """Earnings by month, the latest first."""

    months: list[MonthRow]


class DepositAnswer(BaseModel):
    """The confirmation as it was signed first, and its contract call."""

    confirmation: Statement = Field(description="`DepositConfirmation`; see docs/statements.md")
    operation: str


class ClaimAnswer(BaseModel):
    """The contract calls that claim, and how many lanes they cover."""

    operations: list[str]
    lanes: int


class Money(BaseModel):
    """An account in the contract; fen as text."""

    deposited: str
    withdrawn: str
    free: str
    locked: str
    earned: str
    spent: str
    bonded: str = Field(description="Bonds of agreements and stakes of disputes")

    @classmethod
    def of(cls, account: AccountRecord) -> Self:
        """As the API shows it."""
        return cls(
            deposited=str(account.deposited),
            withdrawn=str(account.withdrawn),
            free=str(account.free),
            locked=str(account.locked),
            earned=str(account.earned),
            spent=str(account.spent),
            bonded=str(account.bonded),
        )


class Accounts(BaseModel):
    """A member's account and the sums of all."""

    member: str
    account: Money
    totals: Money
    conserved: bool = Field(description="What came in is what went out and what is there")


class AgreementBalance(BaseModel):
    """An agreement's money, in fen as text; ``…At`` are heights."""

    opened: str
    paid: str
    refunded: str
    acknowledged: str
    locked: str
    openedAt: int
    closedAt: int

    @classmethod
    def of(cls, state: AgreementRecord) -> Self:
        """As the API shows it."""
        return cls(
            opened=str(state.opened),
            paid=str(state.paid),
            refunded=str(state.refunded),
            acknowledged=str(state.acknowledged),
            locked=str(state.locked),
            openedAt=state.opened_at,
            closedAt=state.closed_at,
        )


@router.post(
    "/v1/deposits",
    status_code=202,
    summary="Confirm money received (settlement bank)",
    response_model=DepositAnswer,
)
def deposit(
    body: DepositBody, context: Context = Depends(get_context), _caller: Principal = Clerks
) -> DepositAnswer:
    if banking.settings_of(context).account:
        raise Conflict(
            "deposit_by_file",
            "This node confirms deposits by the bank's files alone.",
            hint="Take the account statement: qiaolian clearing take FILE.",
        )
    made = deposits.confirm_deposit(
        context, member=body.member, amount=body.amount, reference=body.reference
    )
    return DepositAnswer(confirmation=made.confirmation.to_json(), operation=made.operation)


@router.post(
    "/v1/withdrawals",
    status_code=202,
    summary="Order free money paid out",
    response_model=QueuedCall,
)
def withdraw(
    body: WithdrawalBody, context: Context = Depends(get_context), _caller: Principal = Clerks
) -> QueuedCall:
    return QueuedCall(operation=deposits.withdraw(context, amount=body.amount, order=body.order))


@router.post(
    "/v1/agreements/{agreement_id}/claim",
    status_code=202,
    summary="Claim what was acknowledged (provider)",
    response_model=ClaimAnswer,
)
def claim(
    agreement_id: str, context: Context = Depends(get_context), _caller: Principal = Clerks
) -> ClaimAnswer:
    queued = service.claim(context, hex_bytes(agreement_id))
    return ClaimAnswer(operations=list(queued.operations), lanes=queued.lanes)


@router.get(
    "/v1/accounts",
    summary="This member's money and the totals, read from the chain",
    response_model=Accounts,
)
def accounts(
    member: str | None = None, context: Context = Depends(get_context), _caller: Principal = Readers
) -> Accounts:
    found = service.accounts(context, member)
    return Accounts(
        member=found.member,
        account=Money.of(found.account),
        totals=Money.of(found.totals),
        conserved=found.conserved,
    )


@router.get(
    "/v1/agreements/{agreement_id}/balance",
    summary="An agreement's money, read from the chain",
    response_model=AgreementBalance,
)
def balance(
    agreement_id: str, context: Context = Depends(get_context), _caller: Principal = Readers
) -> AgreementBalance:
    return AgreementBalance.of(agreements.proved_state(context, hex_bytes(agreement_id)))


@router.get(
    "/v1/claims",
    summary="What is owed to this organisation and not claimed yet, by agreement",
    response_model=ClaimList,
)
def owed(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> ClaimList:
    report = ClaimMonitor.of(context).report
    return ClaimList.of(report, owing(report, page), context.now())


@router.get(
    "/v1/earnings",
    summary="What this organisation earned, by agreement, the newest first (provider)",
    response_model=EarningsList,
)
def earned(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> EarningsList:
    return EarningsList.of(earnings.totals(context), earnings.listing(context, page))


@router.get(
    "/v1/earnings/months",
    summary="What was earned in each month of a period, in all or under one agreement (provider)",
    response_model=MonthList,
)
def earned_by_month(
    since: Annotated[str, Query(max_length=10, description="Such as 2026-01-01.")] = "",
    until: Annotated[str, Query(max_length=10, description="Such as 2026-11-30.")] = "",
    agreement: str | None = None,
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> MonthList:
    period = usage.period_of(context, since=since, until=until)
    wanted = None if agreement is None else hex_bytes(agreement)
    months = [
        MonthRow(month=row.day, served=row.counts.served, delivered=str(row.counts.amount))
        for row in usage.earned_months(context, period, wanted)
    ]
    return MonthList(months=months)


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
) -> PaymentList:
    wanted = None if agreement_id is None else hex_bytes(agreement_id)
    found = service.payments(context, page, wanted)
    return PaymentList(payments=[PaymentRow.of(row) for row in found.rows], next=found.next)


@router.get(
    "/v1/agreements/{agreement_id}/bundle",
    summary="The bundle of one call: a party's own; a supervisor's from a party",
    responses=BUNDLE,
)
async def trade_bundle(
    agreement_id: str,
    seq: NonNegativeInt,
    lane: NonNegativeInt = 0,
    party: Party = None,
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> Response:
    identifier = hex_bytes(agreement_id)
    data = await bundles.fetch(context, identifier, lane, seq, party=party)
    return Response(data, media_type="application/json")


@router.get(
    "/v1/agreements/{agreement_id}/lane-bundle",
    summary="The bundle of every call of a lane: a party's own; a supervisor's from a party",
    responses=BUNDLE,
)
async def lane_bundle(
    agreement_id: str,
    lane: NonNegativeInt = 0,
    party: Party = None,
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> Response:
    data = await bundles.fetch(context, hex_bytes(agreement_id), lane, party=party)
    return Response(data, media_type="application/json")


@router.get(
    "/v1/peer/agreements/{agreement_id}/bundle",
    summary="The bundle of one call, for the other party and supervisors",
    responses=BUNDLE,
)
def peer_trade_bundle(
    agreement_id: str,
    seq: NonNegativeInt,
    lane: NonNegativeInt = 0,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> Response:
    return _shown(context, caller, agreement_id, lane, seq)


@router.get(
    "/v1/peer/agreements/{agreement_id}/lane-bundle",
    summary="The bundle of every call of a lane, for the other party and supervisors",
    responses=BUNDLE,
)
def peer_lane_bundle(
    agreement_id: str,
    lane: NonNegativeInt = 0,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> Response:
    return _shown(context, caller, agreement_id, lane, None)


def _shown(
    context: Context, caller: Principal, agreement_id: str, lane: int, seq: int | None
) -> Response:
    data = bundles.shown_bundle(
        context,
        hex_bytes(agreement_id),
        lane,
        seq,
        caller=caller.member,
        may="supervisor" in caller.roles,
    )
    return Response(data, media_type="application/json")
