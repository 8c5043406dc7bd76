"""A firm's or citizen's own pages: who looked at its records and why, consents, records and
disputes, property deals. A subject reaches its own matters alone: every service is asked for the
subject's code or key of the session, never for one of the request.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from chain.core.errors import BadInput, Forbidden, NotFound
from chain.statements.credit import ConsentWithdrawal, CreditDispute
from chain.statements.members import Role
from chain.statements.property import StepKind
from exchange.looks import export as look_export
from exchange.looks import service as looks
from exchange.metering.look_model import Position
from nodes.console.access import get_context, record, require_subject
from nodes.console.accounts.model import Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.deals.pages import Side, person_panel, receive_signature
from nodes.console.deals.views import deal_row, deal_view, money_views, tax_view, title_view
from nodes.console.forms import ConsoleForm, submit
from nodes.console.i18n import N_
from nodes.console.navigation import Entry
from nodes.console.paging import console_page
from nodes.console.rendering import render
from nodes.console.signing.views import (
    SignedForm,
    request_file,
    sign_request,
    signature_of,
    signed_statement,
)
from nodes.console.subjects.views import (
    PURPOSES,
    ConsentView,
    check_view,
    consent_view,
    dispute_about,
    dispute_view,
    look_view,
    record_view,
    roles_of,
)
from nodes.console.subjects.visits import code_of, key_of
from registry.access import NonNegativeInt, hex_bytes
from registry.credit import consents, disputes
from registry.credit.signing import claim_of, withdrawal_of
from registry.pages import PageRequest
from registry.property import deals, export
from registry.property.model import Deal
from registry.property.rules import STEP_NAMES

router = APIRouter()
NAVIGATION: tuple[Entry, ...] = ()
SUBJECT_NAVIGATION = (
    Entry("/my", N_("Overview"), ()),
    Entry("/my/looks", N_("Who looked at my records"), (), Role.DEPARTMENT | Role.BANK, True),
    Entry("/my/consents", N_("My consents"), (), Role.BANK, True),
    Entry("/my/consents/new", N_("Give a consent"), (), Role.DEPARTMENT, True),
    Entry("/my/records", N_("My records"), (), Role.DEPARTMENT, True),
    Entry("/my/deals", N_("My property deals"), (), with_key=True),
)
"""A subject's menu."""

MAX_SAYS = 500
Subject = Annotated[Visit, Depends(require_subject)]


class RequestForm(ConsoleForm):
    """The request that the page made."""

    request: str


class DisputeForm(SignedForm):
    """A signed dispute with what opens its claim."""

    column: str
    says: str
    claim_salt: str


@router.get("/my")
def overview(request: Request, visit: Subject) -> Response:
    record(request, visit, Act(ActKind.VIEW, "own-overview"))
    known = key_of(visit)
    return render(
        request,
        "subjects/overview.html",
        known=known,
        purpose=PURPOSES.get(known.purpose, known.purpose),
        roles=roles_of(get_context(request).roles),
    )


@router.post("/my/signing/request")
def download(request: Request, form: Annotated[RequestForm, Form()], visit: Subject) -> Response:
    data = request_file(form.request)
    record(request, visit, Act(ActKind.EXPORT, "sign-request"))
    return Response(
        data,
        media_type="application/json",
        headers={"content-disposition": 'attachment; filename="sign-request.json"'},
    )


# --- Looks ----------------------------------------------------------------------------------------


@router.get("/my/looks")
def own_looks(
    request: Request, page: Annotated[PageRequest, Depends(console_page)], visit: Subject
) -> Response:
    context, code = get_context(request), code_of(visit)
    record(request, visit, Act(ActKind.VIEW, "own-looks"))
    found = looks.looks_at(context, code, page)
    rows = [look_view(context, look, request.state.language) for look in found.rows]
    return render(
        request,
        "subjects/looks.html",
        rows=rows,
        next=found.next,
        provider=bool(context.roles & Role.DEPARTMENT),
    )


@router.post("/my/looks/check")
async def check_looks(
    request: Request, form: Annotated[ConsoleForm, Form()], visit: Subject
) -> Response:
    context, code = get_context(request), code_of(visit)
    await run_in_threadpool(record, request, visit, Act(ActKind.VIEW, "own-looks-check"))
    found = await looks.check(context, code)

    def page() -> Response:
        return render(request, "subjects/check.html", check=check_view(context, found))

    return await run_in_threadpool(page)


@router.get("/my/looks/{agreement_id}/{lane}/{seq}/bundle.json")
async def look_bundle(
    request: Request,
    agreement_id: str,
    lane: NonNegativeInt,
    seq: NonNegativeInt,
    visit: Subject,
) -> Response:
    position = Position(hex_bytes(agreement_id), lane, seq)
    data = await look_export.fetch(get_context(request), position, subject=code_of(visit))
    act = Act(ActKind.EXPORT, "own-look", agreement_id)
    await run_in_threadpool(record, request, visit, act)
    name = f"look-{agreement_id[2:10]}-{lane}-{seq}.json"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type="application/json", headers=headers)


# --- Consents -------------------------------------------------------------------------------------


@router.get("/my/consents")
def own_consents(
    request: Request, visit: Subject, sent: Annotated[str, Query(max_length=1)] = ""
) -> Response:
    context, language = get_context(request), request.state.language
    record(request, visit, Act(ActKind.VIEW, "own-consents"))
    held = consents.held_of(context, code_of(visit))
    rows = [consent_view(context, consent, key_of(visit), language) for consent in held]
    return render(request, "subjects/consents.html", rows=rows, request_sent=bool(sent))


@router.get("/my/consents/{consent_id}/withdrawal")
def withdrawal_form(request: Request, consent_id: str, visit: Subject) -> Response:
    context = get_context(request)
    held = _own_consent(request, consent_id, visit)
    record(request, visit, Act(ActKind.VIEW, "own-consents"))
    view = sign_request(
        context,
        withdrawal_of(hex_bytes(consent_id), now=context.now()),
        about={
            N_("You take back your consent to"): held.bank,
            N_("to query your records for"): held.purpose,
        },
    )
    return render(
        request,
        "subjects/sign.html",
        view=view,
        action=f"/my/consents/{consent_id}/withdrawal",
        label=N_("Withdraw the consent"),
        back="/my/consents",
        back_label=N_("My consents"),
        hidden={},
    )


@router.post("/my/consents/{consent_id}/withdrawal")
async def withdraw(
    request: Request,
    consent_id: str,
    form: Annotated[SignedForm, Form(media_type="multipart/form-data")],
    visit: Subject,
) -> Response:
    context = get_context(request)
    statement = signed_statement(form, ConsentWithdrawal)
    if statement.consent != hex_bytes(consent_id):
        raise BadInput("other_consent", "The signature is for another consent than this page's.")
    signature = await signature_of(context, form, statement)

    def work(_key: str) -> str:
        consents.require_held_of(context, code_of(visit), hex_bytes(consent_id))
        consents.relay_withdrawal(context, statement, signature)
        return "/my/consents?sent=1"

    return await submit(request, visit, Act(ActKind.REVOKE, "own-consent", consent_id), work)


# --- Records and disputes -------------------------------------------------------------------------


@router.get("/my/records")
def own_records(request: Request, visit: Subject) -> Response:
    context, code = get_context(request), code_of(visit)
    record(request, visit, Act(ActKind.VIEW, "own-records"))
    found = disputes.records_of(context, code)
    return render(
        request,
        "subjects/records.html",
        records=[record_view(name, asset_id, shown) for name, asset_id, shown in found],
        disputes=[dispute_view(context, one) for one in disputes.own_disputes(context, code)],
        may_dispute=key_of(visit).purpose == "dispute",
        max_says=MAX_SAYS,
    )


@router.get("/my/records/{asset_id}/dispute")
def dispute_form(
    request: Request,
    asset_id: str,
    visit: Subject,
    column: Annotated[str, Query(max_length=100)],
    says: Annotated[str, Query(min_length=1, max_length=MAX_SAYS)],
) -> Response:
    context, known = get_context(request), key_of(visit)
    found = disputes.subject_record(context, {"code": code_of(visit)}, hex_bytes(asset_id))
    draft = claim_of(
        known,
        department=context.member,
        asset_id=hex_bytes(asset_id),
        record=found,
        column=column,
        says=says,
        now=context.now(),
    )
    record(request, visit, Act(ActKind.VIEW, "own-records"))
    shown = record_view(asset_id[:10], hex_bytes(asset_id), found)
    return render(
        request,
        "subjects/sign.html",
        view=sign_request(context, draft.dispute, about=dispute_about(shown, column, says)),
        action=f"/my/records/{asset_id}/dispute",
        label=N_("Dispute the record"),
        back="/my/records",
        back_label=N_("My records"),
        hidden={
            "column": column,
            "says": says,
            "claim_salt": "0x" + draft.claim_salt.hex(),
        },
    )


@router.post("/my/records/{asset_id}/dispute")
async def dispute(
    request: Request,
    asset_id: str,
    form: Annotated[DisputeForm, Form(media_type="multipart/form-data")],
    visit: Subject,
) -> Response:
    context, code = get_context(request), code_of(visit)
    statement = signed_statement(form, CreditDispute)
    signature = await signature_of(context, form, statement)

    def work(_key: str) -> str:
        disputes.raise_dispute(
            context,
            statement,
            signature,
            claim={"column": form.column, "says": form.says},
            claim_salt=hex_bytes(form.claim_salt, length=32),
            subject=code,
        )
        return "/my/records"

    return await submit(request, visit, Act(ActKind.REQUEST, "own-dispute", asset_id), work)


# --- Property deals -------------------------------------------------------------------------------


@router.get("/my/deals")
def own_deals(request: Request, visit: Subject) -> Response:
    context = get_context(request)
    record(request, visit, Act(ActKind.VIEW, "own-deals"))
    rows = [deal_row(context, found) for found in deals.of_key(context, key_of(visit).key)]
    return render(request, "subjects/deals.html", rows=rows)


@router.get("/my/deals/{deal_id}")
def own_deal(request: Request, deal_id: str, visit: Subject) -> Response:
    context = get_context(request)
    side = _side(_own_deal(request, deal_id, visit), visit)
    found = deals.describe(context, hex_bytes(deal_id))
    record(request, visit, Act(ActKind.VIEW, "own-deal", deal_id))
    shown, taxes = deal_view(context, found), tax_view(context, found)
    return render(
        request,
        "subjects/deal.html",
        shown=shown,
        taxes=taxes,
        money=money_views(shown, taxes),
        title=title_view(context, found.deal, shown.steps),
        side=side,
    )


@router.get("/my/deals/{deal_id}/bundle.json")
async def own_deal_bundle(request: Request, deal_id: str, visit: Subject) -> Response:
    await run_in_threadpool(_own_deal, request, deal_id, visit)
    data = await export.fetch(get_context(request), hex_bytes(deal_id))
    await run_in_threadpool(record, request, visit, Act(ActKind.EXPORT, "own-deal", deal_id))
    headers = {"content-disposition": f'attachment; filename="deal-{deal_id[2:10]}.json"'}
    return Response(data, media_type="application/json", headers=headers)


@router.get("/my/deals/{deal_id}/sign/{side}")
def own_step_form(request: Request, deal_id: str, side: Side, visit: Subject) -> Response:
    found = _own_deal(request, deal_id, visit)
    _require_side(found, visit, side)
    record(request, visit, Act(ActKind.VIEW, "own-deal", deal_id))
    return render(
        request,
        "subjects/sign.html",
        view=person_panel(get_context(request), found, STEP_NAMES[side]),
        action=f"/my/deals/{deal_id}/sign/{side}",
        label=N_("Seller signs") if side == "seller" else N_("Buyer signs"),
        back=f"/my/deals/{deal_id}",
        back_label=N_("My property deals"),
        hidden={},
    )


@router.post("/my/deals/{deal_id}/sign/{side}")
async def own_step(
    request: Request,
    deal_id: str,
    side: Side,
    form: Annotated[SignedForm, Form(media_type="multipart/form-data")],
    visit: Subject,
) -> Response:
    found = await run_in_threadpool(_own_deal, request, deal_id, visit)
    _require_side(found, visit, side)
    path = f"/my/deals/{deal_id}"
    return await receive_signature(request, visit, form, deal_id, side, back=path, follow=False)


# --- What a session reaches -----------------------------------------------------------------------


def _own_consent(request: Request, consent_id: str, visit: Visit) -> ConsentView:
    context, wanted = get_context(request), hex_bytes(consent_id)
    for held in consents.held_of(context, code_of(visit)):
        if held.status.consent_id == wanted:
            return consent_view(context, held, key_of(visit), request.state.language)
    raise NotFound("consent_unknown", "This bank holds no such consent.")


def _own_deal(request: Request, deal_id: str, visit: Visit) -> Deal:
    """A deal that the session's key signs; ``deal_unknown`` for any other, known or not."""
    wanted = hex_bytes(deal_id)
    for found in deals.of_key(get_context(request), key_of(visit).key):
        if found.deal.deal_id == wanted:
            return found.deal
    raise NotFound("deal_unknown", "This node knows no such deal.")


def _side(deal: Deal, visit: Visit) -> str:
    key = key_of(visit).key
    return StepKind.SELLER.name.lower() if deal.terms.seller == key else StepKind.BUYER.name.lower()


def _require_side(deal: Deal, visit: Visit, side: str) -> None:
    if _side(deal, visit) != side:
        raise Forbidden("wrong_party", "The deal's other party signs this step.")
