"""Disputes of records: what the subject says, what is held, and the department's answer."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Form, Request
from pydantic import ConfigDict, Field
from starlette.responses import Response

from chain.statements.members import Role
from nodes.console.access import READERS, get_context, record, require
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.forms import ConsoleForm, submit
from nodes.console.i18n import N_
from nodes.console.navigation import Entry
from nodes.console.operations.views import operation_path
from nodes.console.paging import console_page
from nodes.console.record_disputes.views import dispute_view, repaired_record
from nodes.console.rendering import render
from registry.access import hex_bytes
from registry.credit import disputes
from registry.pages import PageRequest

router = APIRouter()
_DEPARTMENTS = Role.DEPARTMENT
NAVIGATION = (Entry("/record-disputes", N_("Record disputes"), READERS, _DEPARTMENTS),)

_reader = require(*READERS, nodes=_DEPARTMENTS)
_clerk = require(PersonRole.CLERK, nodes=_DEPARTMENTS)


class AnswerForm(ConsoleForm):
    """The department's answer; the lists run side by side."""

    model_config = ConfigDict(str_strip_whitespace=False)
    answer: Literal["repair", "confirm"]
    columns: Annotated[list[str], Field(default_factory=list, max_length=1_000)]
    cells: Annotated[list[str], Field(default_factory=list, max_length=1_000)]


@router.get("/record-disputes")
def listing(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(_reader)],
) -> Response:
    context = get_context(request)
    record(request, visit, Act(ActKind.VIEW, "disputes"))
    found = disputes.list_disputes(context, page)
    return render(
        request,
        "record_disputes/list.html",
        rows=[dispute_view(context, dispute) for dispute in found.rows],
        next=found.next,
        waiting=disputes.unanswered(context),
    )


@router.get("/record-disputes/{dispute_id}")
def dispute(
    request: Request, dispute_id: str, visit: Annotated[Visit, Depends(_reader)]
) -> Response:
    context = get_context(request)
    found = disputes.find_dispute(context, hex_bytes(dispute_id))
    record(request, visit, Act(ActKind.VIEW, "dispute", dispute_id))
    return render(
        request,
        "record_disputes/detail.html",
        shown=dispute_view(context, found),
        clerk=visit.holds(PersonRole.CLERK),
    )


@router.post("/record-disputes/{dispute_id}/answer")
async def answer(
    request: Request,
    dispute_id: str,
    form: Annotated[AnswerForm, Form()],
    visit: Annotated[Visit, Depends(_clerk)],
) -> Response:
    context, identifier = get_context(request), hex_bytes(dispute_id)
    repairs = form.answer == "repair"

    def work(_key: str) -> str:
        found = disputes.find_dispute(context, identifier)
        repaired = repaired_record(found, form.columns, form.cells) if repairs else None
        made = disputes.answer(context, identifier, new_record=repaired)
        return operation_path(made.operation, back=f"/record-disputes/{dispute_id}")

    kind = ActKind.APPROVE if repairs else ActKind.REFUSE
    return await submit(request, visit, Act(kind, "dispute", dispute_id), work)
