"""Bank files: taken, looked through, booked by two persons; payouts, their orders, and accounts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Path, Request
from pydantic import Field
from starlette.responses import Response

from chain.statements.members import Role
from exchange.banking import payouts, service
from exchange.banking.payouts import ORDER_KEEPERS
from nodes.console.access import READERS, get_context, record, require
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.banking.views import (
    bank_entry_view,
    file_view,
    order_view,
    payout_view,
    preview_view,
)
from nodes.console.forms import ConsoleForm, FileForm, file_name, submit
from nodes.console.i18n import N_
from nodes.console.navigation import Entry
from nodes.console.paging import console_page
from nodes.console.rendering import render
from registry.access import hex_bytes
from registry.list_limits import MAX_ROWS
from registry.pages import PageRequest

router = APIRouter()
BANKS = Role.SETTLEMENT_BANK
NAVIGATION = (
    Entry("/bank-files", N_("Bank files"), READERS, BANKS),
    Entry("/payouts", N_("Payouts"), READERS, ORDER_KEEPERS),
)
_APPROVERS = (PersonRole.CLERK, PersonRole.CHIEF_DATA_OFFICER)
FileId = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
OrderId = Annotated[str, Path(pattern="^QL[0-9a-f]{30}$")]

_reader = require(*READERS, nodes=BANKS)
_person = require(*_APPROVERS, nodes=BANKS)
_order_reader = require(*READERS, nodes=ORDER_KEEPERS)
_order_person = require(*_APPROVERS, nodes=ORDER_KEEPERS)


class ApproveForm(ConsoleForm):
    """What the person was shown."""

    digest: Annotated[str, Field(max_length=66)]


class NameForm(ConsoleForm):
    """The member that an entry is of."""

    member: Annotated[str, Field(max_length=18)]


class AsideForm(ConsoleForm):
    """Why an entry is no money of a member."""

    reason: Annotated[str, Field(max_length=200)]


class DayForm(ConsoleForm):
    """When the bank is to pay."""

    day: Annotated[str, Field(max_length=10)] = ""


class AccountForm(ConsoleForm):
    """The account that a member is paid to."""

    member: Annotated[str, Field(max_length=18)]
    account: Annotated[str, Field(max_length=34)]
    name: Annotated[str, Field(max_length=70)]
    bank_code: Annotated[str, Field(max_length=12)]


@router.get("/bank-files")
def bank_files(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(_reader)],
) -> Response:
    context = get_context(request)
    record(request, visit, Act(ActKind.VIEW, "bank-files"))
    found = service.listing(context, page)
    return render(
        request,
        "banking/files.html",
        rows=[file_view(context, file) for file in found.rows],
        next=found.next,
        takes=visit.holds(*_APPROVERS),
    )


@router.post("/bank-files")
async def take(
    request: Request,
    form: Annotated[FileForm, Form(media_type="multipart/form-data")],
    visit: Annotated[Visit, Depends(_person)],
) -> Response:
    context, name, content = get_context(request), file_name(form.file), await form.file.read()

    def work(_key: str) -> str:
        taken = service.take(context, name=name, content=content, person=visit.account.id)
        return f"/bank-files/{taken.file.id}"

    return await submit(request, visit, Act(ActKind.CHANGE, "bank-files"), work)


@router.get("/bank-files/{file_id}")
def bank_file(
    request: Request,
    file_id: FileId,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(_reader)],
) -> Response:
    context, language = get_context(request), request.state.language
    shown = preview_view(context, service.preview(context, file_id))
    record(request, visit, Act(ActKind.VIEW, "bank-file", file_id))
    found = service.entries(context, file_id, page)
    return render(
        request,
        "banking/file.html",
        shown=shown,
        rows=[bank_entry_view(context, one, language) for one in found.rows],
        next=found.next,
        decides=visit.holds(*_APPROVERS),
    )


@router.post("/bank-files/{file_id}/approvals")
async def approve(
    request: Request,
    file_id: FileId,
    form: Annotated[ApproveForm, Form()],
    visit: Annotated[Visit, Depends(_person)],
) -> Response:
    def work(_key: str) -> str:
        service.approve(
            get_context(request),
            file_id,
            digest=hex_bytes(form.digest),
            person=visit.account.id,
        )
        return f"/bank-files/{file_id}"

    return await submit(request, visit, Act(ActKind.APPROVE, "bank-file", file_id), work)


@router.post("/bank-files/{file_id}/entries/{line}/member")
async def name_member(
    request: Request,
    file_id: FileId,
    line: int,
    form: Annotated[NameForm, Form()],
    visit: Annotated[Visit, Depends(_person)],
) -> Response:
    def work(_key: str) -> str:
        service.name_member(get_context(request), file_id, line, form.member)
        return f"/bank-files/{file_id}"

    return await submit(request, visit, Act(ActKind.CHANGE, "bank-file", file_id), work)


@router.post("/bank-files/{file_id}/entries/{line}/aside")
async def set_aside(
    request: Request,
    file_id: FileId,
    line: int,
    form: Annotated[AsideForm, Form()],
    visit: Annotated[Visit, Depends(_person)],
) -> Response:
    def work(_key: str) -> str:
        service.set_aside(get_context(request), file_id, line, form.reason)
        return f"/bank-files/{file_id}"

    return await submit(request, visit, Act(ActKind.CHANGE, "bank-file", file_id), work)


@router.get("/payouts")
def payout_list(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(_order_reader)],
) -> Response:
    context = get_context(request)
    record(request, visit, Act(ActKind.VIEW, "payouts"))
    found = payouts.listing(context, page)
    orders = payouts.orders(context, PageRequest(10)).rows
    return render(
        request,
        "banking/payouts.html",
        rows=[payout_view(context, payout) for payout in found.rows],
        next=found.next,
        orders=[order_view(context, order) for order in orders],
        accounts=payouts.accounts(context, PageRequest(MAX_ROWS)).rows,
        decides=visit.holds(*_APPROVERS),
    )


@router.post("/payment-orders")
async def propose(
    request: Request,
    form: Annotated[DayForm, Form()],
    visit: Annotated[Visit, Depends(_order_person)],
) -> Response:
    def work(_key: str) -> str:
        payouts.propose(get_context(request), day=form.day, person=visit.account.id)
        return "/payouts"

    return await submit(request, visit, Act(ActKind.APPROVE, "payment-orders"), work)


@router.post("/payment-orders/{order_id}/release")
async def release(
    request: Request,
    order_id: OrderId,
    form: Annotated[ConsoleForm, Form()],
    visit: Annotated[Visit, Depends(_order_person)],
) -> Response:
    def work(_key: str) -> str:
        payouts.release(get_context(request), order_id, person=visit.account.id)
        return "/payouts"

    return await submit(request, visit, Act(ActKind.APPROVE, "payment-order", order_id), work)


@router.post("/payment-orders/{order_id}/drop")
async def drop(
    request: Request,
    order_id: OrderId,
    form: Annotated[ConsoleForm, Form()],
    visit: Annotated[Visit, Depends(_order_person)],
) -> Response:
    def work(_key: str) -> str:
        payouts.drop(get_context(request), order_id, person=visit.account.id)
        return "/payouts"

    return await submit(request, visit, Act(ActKind.REVOKE, "payment-order", order_id), work)


@router.get("/payment-orders/{order_id}/order.xml")
def order_file(
    request: Request, order_id: OrderId, visit: Annotated[Visit, Depends(_order_person)]
) -> Response:
    content = payouts.order_content(get_context(request), order_id)
    record(request, visit, Act(ActKind.EXPORT, "payment-order", order_id))
    return Response(
        content,
        media_type="application/xml",
        headers={"content-disposition": f"attachment; filename={order_id}.xml"},
    )


@router.post("/member-accounts")
async def set_account(
    request: Request,
    form: Annotated[AccountForm, Form()],
    visit: Annotated[Visit, Depends(_order_person)],
) -> Response:
    def work(_key: str) -> str:
        payouts.set_account(
            get_context(request),
            member=form.member,
            account=form.account,
            name=form.name,
            bank_code=form.bank_code,
            person=visit.account.id,
        )
        return "/payouts"

    return await submit(request, visit, Act(ActKind.APPROVE, "member-account", form.member), work)
