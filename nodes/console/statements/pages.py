"""This member's account statement, on a page, as CSV and as PDF; at the operator and the supervisor
any member's.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from exchange.clearing import statements
from exchange.clearing.model import MemberStatement
from exchange.clearing.service import KEEPERS
from nodes.console.access import READERS, get_context, record, require
from nodes.console.accounts.model import Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.exports import csv_response
from nodes.console.i18n import N_, in_language
from nodes.console.navigation import Entry
from nodes.console.pdf import pdf_response
from nodes.console.rendering import render
from nodes.console.statements.views import (
    CSV_HEADERS,
    csv_rows,
    statement_document,
    statement_view,
)

router = APIRouter()
NAVIGATION = (Entry("/statement", N_("Account statement"), READERS),)
SHOWN_LINES = 500
"""Lines of the page; the files have all of them."""

_reader = require(*READERS)
Date = Annotated[str, Query(max_length=10)]
Code = Annotated[str, Query(max_length=18)]


def _found(request: Request, since: str, until: str, member: str) -> MemberStatement:
    return statements.statement(get_context(request), since=since, until=until, member=member)


@router.get("/statement")
def statement(
    request: Request,
    visit: Annotated[Visit, Depends(_reader)],
    since: Date = "",
    until: Date = "",
    member: Code = "",
) -> Response:
    context, found = get_context(request), _found(request, since, until, member)
    record(request, visit, Act(ActKind.VIEW, "statement", found.member))
    shown = statement_view(context, found)
    return render(
        request,
        "statements/page.html",
        shown=shown,
        lines=shown.lines[-SHOWN_LINES:],
        query={"since": shown.since, "until": shown.until, "member": shown.member},
        others=bool(context.roles & KEEPERS),
    )


@router.get("/statement.csv")
def statement_csv(
    request: Request,
    visit: Annotated[Visit, Depends(_reader)],
    since: Date = "",
    until: Date = "",
    member: Code = "",
) -> Response:
    found = _found(request, since, until, member)
    record(request, visit, Act(ActKind.EXPORT, "statement", found.member))
    return csv_response(_name(found), CSV_HEADERS, csv_rows(found))


@router.get("/statement.pdf")
def statement_pdf(
    request: Request,
    visit: Annotated[Visit, Depends(_reader)],
    since: Date = "",
    until: Date = "",
    member: Code = "",
) -> Response:
    context, account = get_context(request), visit.account
    found = _found(request, since, until, member)
    record(request, visit, Act(ActKind.EXPORT, "statement", found.member))
    with in_language(request.state.language):
        document = statement_document(
            statement_view(context, found),
            organisation=request.app.state.config.name,
            language=request.state.language,
            person=f"{account.name} ({account.login})",
            now=context.now(),
        )
    return pdf_response(_name(found), document)


def _name(found: MemberStatement) -> str:
    return f"statement-{found.member}-{found.since}-{found.until}"
