"""One-stop credit reports: make one under a consent, see it with its proofs, take it as a PDF."""

from __future__ import annotations

from typing import Annotated

from anyio import from_thread
from fastapi import APIRouter, Depends, Form, Query, Request
from pydantic import Field
from starlette.responses import Response

from chain.context import Context
from chain.core.errors import BadInput
from chain.statements.members import Role
from exchange.reports import service
from exchange.reports.service import ReportPart
from nodes.console.access import get_context, record, require
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.consents.views import consent_view
from nodes.console.forms import ConsoleForm, submit
from nodes.console.i18n import N_, in_language
from nodes.console.navigation import Entry
from nodes.console.paging import console_page
from nodes.console.pdf import pdf_response
from nodes.console.rendering import render
from nodes.console.reports.views import (
    report_document,
    report_page,
    report_row,
    source_view,
    usable,
)
from registry.access import hex_bytes
from registry.credit import consents, queries
from registry.credit.model import CreditReport, OwnQuery
from registry.identifiers import normalised_identifier
from registry.list_limits import MAX_ROWS
from registry.pages import PageRequest

router = APIRouter()
_BANK = Role.BANK
_ROLES = (PersonRole.CLERK, PersonRole.AUDITOR)
NAVIGATION = (Entry("/reports", N_("Credit reports"), _ROLES, _BANK),)
PURPOSE = "credit-assessment"

_clerk = require(PersonRole.CLERK, nodes=_BANK)
_reader = require(*_ROLES, nodes=_BANK)


class ReportForm(ConsoleForm):
    """Whose report, under which consent, with which agreements' columns."""

    subject: Annotated[str, Field(min_length=1, max_length=256)]
    consent: Annotated[str, Field(min_length=64, max_length=66)]
    columns: Annotated[list[str], Field(default_factory=list, max_length=512)]
    """``AGREEMENT/COLUMN``, each ticked one."""


@router.get("/reports")
def reports(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(_reader)],
) -> Response:
    record(request, visit, Act(ActKind.VIEW, "reports"))
    found = queries.list_queries(get_context(request), page)
    rows = [report_row(query) for query in found.rows if isinstance(query, OwnQuery)]
    return render(
        request,
        "reports/list.html",
        rows=rows,
        next=found.next,
        clerk=visit.holds(PersonRole.CLERK),
    )


@router.get("/reports/new")
def report_form(
    request: Request,
    visit: Annotated[Visit, Depends(_clerk)],
    subject: Annotated[str, Query(max_length=256)] = "",
) -> Response:
    context, language = get_context(request), request.state.language
    wanted = normalised_identifier(subject)
    record(request, visit, Act(ActKind.VIEW, "consents"))
    held = []
    if wanted:
        found = consents.reviewed(context, PageRequest(MAX_ROWS), subject=wanted).rows
        held = [
            consent_view(context, row, language)
            for row in found
            if row.stored.package.consent.purpose == PURPOSE
        ]
    sources = service.sources(context, PURPOSE) if usable(held) else []
    return render(
        request,
        "reports/form.html",
        subject=wanted,
        consents=held,
        usable=usable(held),
        sources=[source_view(context, source) for source in sources],
    )


@router.post("/reports/new")
async def make(
    request: Request,
    form: Annotated[ReportForm, Form()],
    visit: Annotated[Visit, Depends(_clerk)],
) -> Response:
    context, parts = get_context(request), _parts(form.columns)
    consent, subject = hex_bytes(form.consent), normalised_identifier(form.subject)

    def work(key: str) -> str:
        made = from_thread.run(_make, context, subject, consent, parts, key)
        return f"/reports/0x{made.query_id.hex()}"

    return await submit(request, visit, Act(ActKind.USE, "consent", form.consent), work)


def _parts(ticked: list[str]) -> list[ReportPart]:
    """The parts by agreement, in the order of the form."""
    columns: dict[bytes, list[str]] = {}
    for item in ticked:
        agreement, _, column = item.partition("/")
        columns.setdefault(hex_bytes(agreement), []).append(column)
    if not columns:
        raise BadInput("report_empty", "A report needs at least one department.")
    return [ReportPart(agreement, tuple(names)) for agreement, names in columns.items()]


async def _make(
    context: Context, subject: str, consent: bytes, parts: list[ReportPart], key: str
) -> CreditReport:
    return await service.make(
        context, subject=subject, consent=consent, purpose=PURPOSE, parts=parts, key=key
    )


@router.get("/reports/{query_id}")
def report(request: Request, query_id: str, visit: Annotated[Visit, Depends(_reader)]) -> Response:
    context = get_context(request)
    found = service.evidence(context, hex_bytes(query_id))
    record(request, visit, Act(ActKind.VIEW, "report", query_id))
    return render(request, "reports/detail.html", shown=report_page(context, found))


@router.get("/reports/{query_id}/report.pdf")
def report_pdf(
    request: Request, query_id: str, visit: Annotated[Visit, Depends(_reader)]
) -> Response:
    context, account = get_context(request), visit.account
    found = service.evidence(context, hex_bytes(query_id))
    record(request, visit, Act(ActKind.EXPORT, "report", query_id))
    with in_language(request.state.language):
        document = report_document(
            report_page(context, found),
            organisation=request.app.state.config.name,
            language=request.state.language,
            person=f"{account.name} ({account.login})",
            now=context.now(),
        )
    return pdf_response("credit-report", document)
