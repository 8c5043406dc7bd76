"""Members with their keys, and proposals, which governors' administrators sign."""

from __future__ import annotations

from typing import Annotated

from anyio import from_thread
from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import Response

from chain.context import Context
from chain.statements.members import Approval
from nodes.console.access import get_context, record, require
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.forms import submit
from nodes.console.i18n import N_
from nodes.console.members.views import key_view, member_view, proposal_view
from nodes.console.navigation import Entry
from nodes.console.paging import console_page
from nodes.console.rendering import render
from nodes.console.signing.views import SignedForm, sign_request, signature_of, signed_statement
from registry.access import hex_bytes
from registry.members import service
from registry.pages import PageRequest

router = APIRouter()
_GOVERN = (PersonRole.ADMINISTRATOR, PersonRole.AUDITOR)
NAVIGATION = (
    Entry("/members", N_("Members"), tuple(PersonRole)),
    Entry("/proposals", N_("Proposals"), _GOVERN),
)

_anyone = require(*PersonRole)
_governor = require(*_GOVERN)
_administrator = require(PersonRole.ADMINISTRATOR)


@router.get("/members")
def members(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(_anyone)],
) -> Response:
    record(request, visit, Act(ActKind.VIEW, "members"))
    found = service.listing(get_context(request), page)
    rows = [member_view(member) for member in found.rows]
    return render(request, "members/list.html", rows=rows, next=found.next)


@router.get("/members/{member}")
def member(request: Request, member: str, visit: Annotated[Visit, Depends(_anyone)]) -> Response:
    found = service.find(get_context(request), member)
    record(request, visit, Act(ActKind.VIEW, "member", member))
    return render(
        request,
        "members/detail.html",
        shown=member_view(found.member),
        keys=[key_view(key) for key in found.keys],
    )


@router.get("/proposals")
def proposals(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(_governor)],
) -> Response:
    record(request, visit, Act(ActKind.VIEW, "proposals"))
    context = get_context(request)
    found = service.proposals(context, page)
    rows = [proposal_view(context, proposal) for proposal in found.rows]
    return render(request, "members/proposals.html", rows=rows, next=found.next)


@router.get("/proposals/{proposal_id}")
def proposal(
    request: Request, proposal_id: str, visit: Annotated[Visit, Depends(_governor)]
) -> Response:
    context = get_context(request)
    found = service.find_proposal(context, hex_bytes(proposal_id))
    shown = proposal_view(context, found)
    record(request, visit, Act(ActKind.VIEW, "proposal", proposal_id))
    signs = shown.pending and visit.holds(PersonRole.ADMINISTRATOR)
    about = {N_("Action"): found.function, **dict(shown.arguments)}
    return render(
        request,
        "members/proposal.html",
        shown=shown,
        view=sign_request(context, found.approval, about=about) if signs else None,
        action=f"/proposals/{proposal_id}/approval",
    )


@router.post("/proposals/{proposal_id}/approval")
async def approve(
    request: Request,
    proposal_id: str,
    form: Annotated[SignedForm, Form(media_type="multipart/form-data")],
    visit: Annotated[Visit, Depends(_administrator)],
) -> Response:
    context = get_context(request)
    statement = signed_statement(form, Approval)
    signature = await signature_of(context, form, statement)

    def work(_key: str) -> str:
        from_thread.run(_approve, context, hex_bytes(proposal_id), signature)
        return f"/proposals/{proposal_id}"

    return await submit(request, visit, Act(ActKind.APPROVE, "proposal", proposal_id), work)


async def _approve(context: Context, proposal_id: bytes, signature: bytes) -> None:
    await service.approve(context, proposal_id, signature)
