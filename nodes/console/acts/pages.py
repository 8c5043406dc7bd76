"""Acts of persons, for auditors: filter, page, export."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from chain.core.zone import local_time
from nodes.console.access import get_context, record, require
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts import service
from nodes.console.acts.model import Act, ActFilter, ActKind, RecordedAct
from nodes.console.acts.views import KIND_LABELS
from nodes.console.exports import csv_response
from nodes.console.i18n import N_, gettext, in_language
from nodes.console.navigation import Entry
from nodes.console.paging import all_rows, console_page
from nodes.console.rendering import render
from registry.pages import PageRequest

router = APIRouter()
AUDITORS = (PersonRole.AUDITOR, PersonRole.CHIEF_DATA_OFFICER)
NAVIGATION = (Entry("/acts", N_("Acts of persons"), AUDITORS),)

require_auditor = require(*AUDITORS)


def act_filter(
    kind: Annotated[str, Query(max_length=24)] = "",
    object: Annotated[str, Query(max_length=32)] = "",
    subject: Annotated[str, Query(max_length=100)] = "",
    person: Annotated[str, Query(max_length=64)] = "",
) -> ActFilter:
    """The filter of a request."""
    return ActFilter(account_id=person, kind=kind, object=object, subject=subject.strip())


@router.get("/acts")
def acts(
    request: Request,
    wanted: Annotated[ActFilter, Depends(act_filter)],
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(require_auditor)],
) -> Response:
    record(request, visit, Act(ActKind.VIEW, "acts"))
    found = service.listing(get_context(request), wanted, page)
    return render(
        request,
        "acts/list.html",
        rows=found.rows,
        next=found.next,
        wanted=wanted,
        kinds=list(ActKind),
        kind_labels=KIND_LABELS,
    )


@router.get("/acts.csv")
def export(
    request: Request,
    wanted: Annotated[ActFilter, Depends(act_filter)],
    visit: Annotated[Visit, Depends(require_auditor)],
) -> Response:
    context = get_context(request)
    record(request, visit, Act(ActKind.EXPORT, "acts"))
    rows = all_rows(lambda page: service.listing(context, wanted, page))
    with in_language(request.state.language):
        headers = [gettext(label) for label in _COLUMNS]
    return csv_response("acts", headers, map(_cells, rows))


_COLUMNS = (
    N_("Time"),
    N_("Person"),
    N_("Act"),
    N_("Object"),
    N_("Id"),
    N_("Page or command"),
    N_("Outcome"),
    N_("Commitment in the log"),
)


def _cells(act: RecordedAct) -> list[str]:
    return [
        local_time(act.at),
        act.person or act.account_id,
        act.kind,
        act.object,
        act.subject,
        act.place,
        act.outcome,
        "0x" + act.commitment.hex(),
    ]
