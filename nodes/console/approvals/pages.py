"""Acts that wait for a second person."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from nodes.console.access import get_context, record, require
from nodes.console.accounts import service as accounts
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.approvals import service
from nodes.console.i18n import N_
from nodes.console.navigation import Entry
from nodes.console.rendering import render

router = APIRouter()
PERSONS = tuple(PersonRole)
NAVIGATION = (Entry("/approvals", N_("To be confirmed"), PERSONS),)


@router.get("/approvals")
def approvals(request: Request, visit: Annotated[Visit, Depends(require(*PERSONS))]) -> Response:
    context = get_context(request)
    record(request, visit, Act(ActKind.VIEW, "approvals"))
    names = {person.id: person.name for person in accounts.listing(context)}
    return render(request, "approvals/list.html", proposals=service.waiting(context), names=names)
