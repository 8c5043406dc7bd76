"""Bank files, payouts, orders of payments and members' accounts."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from chain.context import Context
from chain.core.errors import BadInput
from exchange.banking import model, payouts, service
from exchange.banking.model import MAX_FILE_BYTES, PayoutState
from exchange.banking.payouts import MAX_ASKED
from registry.access import (
    NonNegativeInt,
    Principal,
    get_context,
    hex_bytes,
    page_request,
    require_local,
    require_member,
)
from registry.openapi import LARGE_BODY
from registry.pages import ListAnswer, PageRequest
from registry.schemas import Statement

router = APIRouter(tags=["clearing"])
Readers = Depends(require_local("clerk", "system", "officer", "auditor", "administrator"))
Persons = Depends(require_local("clerk", "officer"))
FileId = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
OrderId = Annotated[str, Path(pattern="^QL[0-9a-f]{30}$")]
PayoutId = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
MemberCode = Annotated[str, Field(pattern=r"^[0-9A-Z]{18}$")]
XML: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file", "content": {"application/xml": {"schema": {"type": "string"}}}}
}
_BASE64 = (MAX_FILE_BYTES + 2) // 3 * 4


class BankFileBody(BaseModel):
    """An account statement as the bank made it (ISO 20022 ``camt.053``)."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"name": "camt053-2026-11-30.xml", "content": "PERvY3VtZW50Lz4="}
        },
    )
    name: Annotated[str, Field(min_length=1, max_length=200)]
    content: Annotated[
        str, Field(min_length=1, max_length=_BASE64, description="The file's bytes in base64")
    ]


class BankFileApprovalBody(BaseModel):
    """What the person was shown: its digest."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"digest": "0x" + "33" * 32}}
    )
    digest: Annotated[str, Field(pattern="^0x[0-9a-f]{64}$")]


class EntryMemberBody(BaseModel):
    """The member that an entry is of."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"member": "11440700MB2C62170M"}}
    )
    member: MemberCode


class EntryAsideBody(BaseModel):
    """Why an entry is no money of a member."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"reason": "bank charges of November"}}
    )
    reason: Annotated[str, Field(min_length=1, max_length=200)]


class PaymentOrderBody(BaseModel):
    """When the bank is to pay."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"day": "2026-12-01"}})
    day: Annotated[str, Field(max_length=10, description="Empty for today")] = ""


class MemberAccountBody(BaseModel):
    """The account that a member is paid to."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "member": "11440700MB2C62170M",
                "account": "6222000200112233",
                "name": "江门银行",
                "bankCode": "102589000018",
            }
        },
    )
    member: MemberCode
    account: Annotated[str, Field(pattern=r"^[0-9A-Z]{1,34}$")]
    name: Annotated[str, Field(min_length=1, max_length=70)]
    bankCode: Annotated[str, Field(pattern=r"^[0-9]{12}$")]


class BankFileAnswer(BaseModel):
    """A statement that was taken; fen as text, times in Unix seconds."""

    fileId: str = Field(description="SHA-256 of the file")
    name: str
    statementId: str
    account: str
    openingBalance: str
    closingBalance: str
    state: str = Field(description="`open` or `booked`")
    takenAt: int
    takenBy: str
    bookedAt: int | None

    @classmethod
    def of(cls, file: model.BankFile) -> Self:
        """As the API shows it."""
        statement = file.statement
        return cls(
            fileId=file.id,
            name=file.name,
            statementId=statement.statement_id,
            account=statement.account,
            openingBalance=str(statement.opening),
            closingBalance=str(statement.closing),
            state=file.state.value,
            takenAt=file.taken_at,
            takenBy=file.taken_by,
            bookedAt=file.booked_at,
        )


class BankFilePreview(BaseModel):
    """A statement with what booking it would do; fen as text."""

    file: BankFileAnswer
    entries: dict[str, int] = Field(
        description="How many are `understood`, `unclear`, `aside` and `booked`"
    )
    deposits: str = Field(description="Would be confirmed for members")
    payouts: str = Field(description="Withdrawals that would be confirmed as paid out")
    digest: str = Field(description="What two persons approve")
    approvedBy: str = Field(description="The first person; empty while nobody has approved this")

    @classmethod
    def of(cls, found: model.FilePreview) -> Self:
        """As the API shows it."""
        return cls(
            file=BankFileAnswer.of(found.file),
            entries={state.value: number for state, number in found.counts.items()},
            deposits=str(found.deposits),
            payouts=str(found.payouts),
            digest="0x" + found.digest.hex(),
            approvedBy=found.first,
        )


class BankFileList(ListAnswer):
    """A page of files."""

    files: list[BankFileAnswer]


class BankEntryRow(BaseModel):
    """An entry of a statement with what is made of it; fen as text."""

    line: int
    direction: str = Field(description="`credit` or `debit`")
    amount: str
    reference: str = Field(description="The bank's own")
    endToEndId: str
    day: str
    account: str = Field(description="The other side's")
    party: str
    text: str
    action: str = Field(description="`deposit`, `payout`, `return` or `none`")
    member: str
    payout: str
    problem: str = Field(description="Code of what is not understood")
    state: str = Field(description="`understood`, `unclear`, `aside` or `booked`")
    reason: str = Field(description="Why a person set it aside")
    operation: str = Field(description="The contract call of a booked deposit")

    @classmethod
    def of(cls, one: model.FileEntry) -> Self:
        """As the API shows it."""
        entry, reading = one.entry, one.reading
        return cls(
            line=entry.line,
            direction=entry.direction.value,
            amount=str(entry.amount),
            reference=entry.reference,
            endToEndId=entry.end_to_end_id,
            day=entry.day,
            account=entry.account,
            party=entry.party,
            text=entry.text,
            action=reading.action.value,
            member=reading.member,
            payout=reading.payout,
            problem=reading.problem,
            state=one.state.value,
            reason=one.reason,
            operation=one.operation,
        )


class BankEntryList(ListAnswer):
    """A page of a statement's entries, in its order."""

    entries: list[BankEntryRow]


class PayoutRow(BaseModel):
    """A withdrawal and its payment; fen as text, times in Unix seconds."""

    payoutId: str = Field(description="Also the payment's end-to-end id at the bank")
    member: str
    amount: str
    operationId: str = Field(description="The withdrawal's id on the chain")
    height: int
    at: int
    state: str = Field(description="`ordered`, `proposed`, `instructed`, `paid` or `returned`")
    orderId: str
    paidAt: int | None
    reason: str = Field(description="Why the payment came back")
    confirmedBy: str = Field(description="The settlement bank that signed the confirmation")

    @classmethod
    def of(cls, payout: model.Payout) -> Self:
        """As the API shows it."""
        return cls(
            payoutId=payout.id,
            member=payout.member,
            amount=str(payout.amount),
            operationId="0x" + payout.operation_id.hex(),
            height=payout.height,
            at=payout.at,
            state=payout.state.value,
            orderId=payout.order_id,
            paidAt=payout.paid_at,
            reason=payout.reason,
            confirmedBy=payout.confirmed_by,
        )


class PayoutList(ListAnswer):
    """A page of withdrawals."""

    payouts: list[PayoutRow]


class PaymentOrderAnswer(BaseModel):
    """An order of payments; fen as text, times in Unix seconds."""

    orderId: str
    day: str
    payments: int
    total: str
    state: str = Field(description="`proposed`, `released` or `dropped`")
    digest: str = Field(description="SHA-256 of the file")
    madeAt: int
    madeBy: str
    releasedAt: int | None
    releasedBy: str

    @classmethod
    def of(cls, order: model.PaymentOrder) -> Self:
        """As the API shows it."""
        return cls(
            orderId=order.id,
            day=order.day,
            payments=order.payments,
            total=str(order.total),
            state=order.state.value,
            digest="0x" + order.digest.hex(),
            madeAt=order.made_at,
            madeBy=order.made_by,
            releasedAt=order.released_at,
            releasedBy=order.released_by,
        )


class PaymentOrderList(ListAnswer):
    """A page of orders."""

    orders: list[PaymentOrderAnswer]


class MemberAccountRow(BaseModel):
    """The account that a member is paid to, and since when, in Unix seconds."""

    member: str
    account: str
    name: str
    bankCode: str
    since: int

    @classmethod
    def of(cls, found: model.MemberAccount) -> Self:
        """As the API shows it."""
        return cls(
            member=found.member,
            account=found.account,
            name=found.name,
            bankCode=found.bank_code,
            since=found.since,
        )


class MemberAccountList(ListAnswer):
    """A page of accounts."""

    accounts: list[MemberAccountRow]


class MemberAccountAnswer(BaseModel):
    """Whether the account is registered, or waits for a second person to type the same."""

    registered: bool


class ConfirmationRow(BaseModel):
    """A settlement bank's signed confirmation of a payment."""

    id: str
    statement: Statement = Field(description="`PayoutConfirmation`; see docs/clearing.md")
    signature: str


class ConfirmationList(BaseModel):
    """The confirmations that there are, of those that were asked for."""

    confirmations: list[ConfirmationRow]


@router.post(
    "/v1/bank-files",
    status_code=201,
    summary="Take an account statement of the bank: it is checked and shown, nothing is booked "
    "(settlement bank)",
    openapi_extra=LARGE_BODY,
    response_model=BankFilePreview,
)
def take(
    body: BankFileBody, context: Context = Depends(get_context), caller: Principal = Persons
) -> BankFilePreview:
    try:
        content = base64.b64decode(body.content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput(
            "bank_file_malformed", "The content is not base64.", hint="Encode the file's bytes."
        ) from error
    return BankFilePreview.of(
        service.take(context, name=body.name, content=content, person=caller.person)
    )


@router.get(
    "/v1/bank-files",
    summary="Account statements that were taken, the latest first (settlement bank)",
    response_model=BankFileList,
)
def files(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> BankFileList:
    found = service.listing(context, page)
    return BankFileList(files=list(map(BankFileAnswer.of, found.rows)), next=found.next)


@router.get(
    "/v1/bank-files/{file_id}",
    summary="A statement with what booking it would do (settlement bank)",
    response_model=BankFilePreview,
)
def preview(
    file_id: FileId, context: Context = Depends(get_context), _caller: Principal = Readers
) -> BankFilePreview:
    return BankFilePreview.of(service.preview(context, file_id))


@router.get(
    "/v1/bank-files/{file_id}/entries",
    summary="The entries of a statement, in its order (settlement bank)",
    response_model=BankEntryList,
)
def entries(
    file_id: FileId,
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> BankEntryList:
    found = service.entries(context, file_id, page)
    return BankEntryList(entries=list(map(BankEntryRow.of, found.rows)), next=found.next)


@router.post(
    "/v1/bank-files/{file_id}/entries/{line}/member",
    summary="Name the member that an unclear entry is of (settlement bank)",
    response_model=BankFilePreview,
)
def name_member(
    file_id: FileId,
    line: NonNegativeInt,
    body: EntryMemberBody,
    context: Context = Depends(get_context),
    _caller: Principal = Persons,
) -> BankFilePreview:
    return BankFilePreview.of(service.name_member(context, file_id, line, body.member))


@router.post(
    "/v1/bank-files/{file_id}/entries/{line}/aside",
    summary="Set an entry aside that is no money of a member (settlement bank)",
    response_model=BankFilePreview,
)
def set_aside(
    file_id: FileId,
    line: NonNegativeInt,
    body: EntryAsideBody,
    context: Context = Depends(get_context),
    _caller: Principal = Persons,
) -> BankFilePreview:
    return BankFilePreview.of(service.set_aside(context, file_id, line, body.reason))


@router.post(
    "/v1/bank-files/{file_id}/approvals",
    summary="Approve what was shown; a second person's approval books it (settlement bank)",
    response_model=BankFilePreview,
)
def approve(
    file_id: FileId,
    body: BankFileApprovalBody,
    context: Context = Depends(get_context),
    caller: Principal = Persons,
) -> BankFilePreview:
    return BankFilePreview.of(
        service.approve(context, file_id, digest=hex_bytes(body.digest), person=caller.person)
    )


@router.get(
    "/v1/payouts",
    summary="Withdrawals and their payment, the latest first: everybody's at operator, settlement "
    "bank and supervisor, else this member's own",
    response_model=PayoutList,
)
def payout_list(
    state: PayoutState | None = None,
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> PayoutList:
    found = payouts.listing(context, page, state=state)
    return PayoutList(payouts=list(map(PayoutRow.of, found.rows)), next=found.next)


@router.get(
    "/v1/peer/payouts",
    summary="Signed confirmations of the calling member's payouts; an operator or supervisor gets "
    "everybody's",
    response_model=ConfirmationList,
)
def confirmations(
    ids: Annotated[list[PayoutId], Query(alias="id", max_length=MAX_ASKED)],
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> ConfirmationList:
    everybody = caller.roles & {"operator", "supervisor"}
    found = payouts.confirmations(
        context, ids[:MAX_ASKED], member=None if everybody else caller.member
    )
    return ConfirmationList(
        confirmations=[
            ConfirmationRow(id=key, statement=dict(statement), signature="0x" + signature.hex())
            for key, (statement, signature) in found.items()
        ]
    )


@router.post(
    "/v1/payment-orders",
    status_code=201,
    summary="Put the withdrawals that wait into an order for the bank, as the first of two persons "
    "(operator)",
    response_model=PaymentOrderAnswer,
)
def propose(
    body: PaymentOrderBody, context: Context = Depends(get_context), caller: Principal = Persons
) -> PaymentOrderAnswer:
    return PaymentOrderAnswer.of(payouts.propose(context, day=body.day, person=caller.person))


@router.get(
    "/v1/payment-orders",
    summary="Orders of payments, the latest first (operator)",
    response_model=PaymentOrderList,
)
def orders(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> PaymentOrderList:
    found = payouts.orders(context, page)
    return PaymentOrderList(orders=list(map(PaymentOrderAnswer.of, found.rows)), next=found.next)


@router.get(
    "/v1/payment-orders/{order_id}",
    summary="One order of payments (operator)",
    response_model=PaymentOrderAnswer,
)
def order(
    order_id: OrderId, context: Context = Depends(get_context), _caller: Principal = Readers
) -> PaymentOrderAnswer:
    return PaymentOrderAnswer.of(payouts.order(context, order_id))


@router.get(
    "/v1/payment-orders/{order_id}/payouts",
    summary="The withdrawals that an order pays, the latest first (operator)",
    response_model=PayoutList,
)
def order_payouts(
    order_id: OrderId,
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> PayoutList:
    found = payouts.order_payouts(context, order_id, page)
    return PayoutList(payouts=list(map(PayoutRow.of, found.rows)), next=found.next)


@router.post(
    "/v1/payment-orders/{order_id}/release",
    summary="Release an order to the bank, as the second of two persons (operator)",
    response_model=PaymentOrderAnswer,
)
def release(
    order_id: OrderId, context: Context = Depends(get_context), caller: Principal = Persons
) -> PaymentOrderAnswer:
    return PaymentOrderAnswer.of(payouts.release(context, order_id, person=caller.person))


@router.post(
    "/v1/payment-orders/{order_id}/drop",
    summary="Drop an order that is not released; its withdrawals wait for another (operator)",
    response_model=PaymentOrderAnswer,
)
def drop(
    order_id: OrderId, context: Context = Depends(get_context), caller: Principal = Persons
) -> PaymentOrderAnswer:
    return PaymentOrderAnswer.of(payouts.drop(context, order_id, person=caller.person))


@router.get(
    "/v1/payment-orders/{order_id}/file",
    summary="The file of a released order, for the bank (ISO 20022 `pain.001`; operator)",
    responses=XML,
    response_class=Response,
)
def order_file(
    order_id: OrderId, context: Context = Depends(get_context), _caller: Principal = Persons
) -> Response:
    return Response(payouts.order_content(context, order_id), media_type="application/xml")


@router.get(
    "/v1/member-accounts",
    summary="The accounts that members are paid to (operator, settlement bank)",
    response_model=MemberAccountList,
)
def accounts(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Readers,
) -> MemberAccountList:
    found = payouts.accounts(context, page)
    return MemberAccountList(accounts=list(map(MemberAccountRow.of, found.rows)), next=found.next)


@router.post(
    "/v1/member-accounts",
    summary="Register the account that a member is paid to: two persons give the same one "
    "(operator, settlement bank)",
    response_model=MemberAccountAnswer,
)
def set_account(
    body: MemberAccountBody, context: Context = Depends(get_context), caller: Principal = Persons
) -> MemberAccountAnswer:
    registered = payouts.set_account(
        context,
        member=body.member,
        account=body.account,
        name=body.name,
        bank_code=body.bankCode,
        person=caller.person,
    )
    return MemberAccountAnswer(registered=registered)
