"""Grants given and received; the officer decides with a key that stays outside of the node."""

from __future__ import annotations

import time
from typing import Annotated

from anyio import from_thread
from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import Field
from starlette.responses import Response

from chain.context import Context
from chain.core.errors import BadInput
from chain.core.zone import day_start
from chain.statements.grants import GrantDecision, GrantRevocation, Operation
from nodes.console.access import READERS, get_context, record, require, require_reader
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.forms import ConsoleForm, submit
from nodes.console.grants.views import (
    OPERATIONS,
    STATES,
    grant_view,
    signed_about,
)
from nodes.console.i18n import N_
from nodes.console.names import purpose_name, reason_choices
from nodes.console.navigation import Entry
from nodes.console.operations.views import operation_path
from nodes.console.paging import console_page
from nodes.console.rendering import render
from nodes.console.signing.views import (
    SignedForm,
    SigningView,
    sign_request,
    signature_of,
    signed_statement,
)
from registry.access import hex_bytes
from registry.assets import catalogue
from registry.assets import peers as asset_peers
from registry.grants import export, service
from registry.grants.api import grant_detail
from registry.grants.model import GrantRequest, GrantState, RequestedGrant
from registry.grants.signing import decision_of, revocation_of
from registry.masking import served_columns
from registry.pages import PageRequest

router = APIRouter()
NAVIGATION = (Entry("/grants", N_("Grants"), READERS),)

_officer = require(PersonRole.CHIEF_DATA_OFFICER)
_clerk = require(PersonRole.CLERK)
Reason = Annotated[str, Query(max_length=64)]
MAX_DAYS = 3_650


class RequestForm(ConsoleForm):
    """What a clerk asks an asset's owner for."""

    purpose: str
    scene: str
    columns: Annotated[list[str], Field(default_factory=list)]
    operations: Annotated[list[str], Field(default_factory=list)]
    days: int
    max_uses: int


@router.get("/grants")
def grants(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(require_reader)],
    state: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    record(request, visit, Act(ActKind.VIEW, "grants"))
    context = get_context(request)
    found = service.listing(context, page, state=state or None)
    rows = [grant_view(context, grant, request.state.language) for grant in found.rows]
    return render(
        request, "grants/list.html", rows=rows, next=found.next, state=state, states=_states()
    )


@router.get("/grants/request")
async def request_form(
    request: Request,
    visit: Annotated[Visit, Depends(_clerk)],
    asset: Annotated[str, Query(max_length=66)],
) -> Response:
    context = get_context(request)
    described = await asset_peers.describe(context, hex_bytes(asset))
    await run_in_threadpool(record, request, visit, Act(ActKind.VIEW, "asset", asset))
    metadata, language = described.metadata, request.state.language
    return render(
        request,
        "grants/request.html",
        asset_id=asset,
        name=described.entry.record.name,
        columns=served_columns(metadata.document["masking"]),
        purposes=[(code, purpose_name(code, language)) for code in metadata.purposes.consent],
        operations=[(bit.name.lower(), label) for bit, label in OPERATIONS.items() if bit.name],
        max_days=MAX_DAYS,
    )


@router.post("/grants/request")
async def send_request(
    request: Request,
    form: Annotated[RequestForm, Form()],
    visit: Annotated[Visit, Depends(_clerk)],
    asset: Annotated[str, Query(max_length=66)],
) -> Response:
    context = get_context(request)
    wanted = await run_in_threadpool(_wanted, context, hex_bytes(asset), form)

    def work(key: str) -> str:
        made = from_thread.run(_send, context, wanted, key)
        return operation_path(made.operation, back=f"/grants/0x{made.grant_id.hex()}")

    return await submit(request, visit, Act(ActKind.REQUEST, "grant", asset), work)


@router.get("/grants/{grant_id}")
def grant(
    request: Request, grant_id: str, visit: Annotated[Visit, Depends(require_reader)]
) -> Response:
    context = get_context(request)
    found = service.find(context, hex_bytes(grant_id))
    record(request, visit, Act(ActKind.VIEW, "grant", grant_id))
    return render(
        request,
        "grants/detail.html",
        shown=grant_view(context, found, request.state.language),
        decides=visit.holds(PersonRole.CHIEF_DATA_OFFICER),
        orders=visit.holds(PersonRole.CLERK),
        reasons=reason_choices(request.state.language),
    )


@router.get("/grants/{grant_id}/bundle.json")
async def bundle(
    request: Request, grant_id: str, visit: Annotated[Visit, Depends(require_reader)]
) -> Response:
    data = await export.fetch(get_context(request), hex_bytes(grant_id))
    await run_in_threadpool(record, request, visit, Act(ActKind.EXPORT, "grant", grant_id))
    name = f"grant-{grant_id[2:10]}.json"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type="application/json", headers=headers)


@router.get("/grants/{grant_id}/decision")
def decision_form(
    request: Request,
    grant_id: str,
    visit: Annotated[Visit, Depends(_officer)],
    approved: bool = False,
    reason: Reason = "",
) -> Response:
    statement = decision_of(
        hex_bytes(grant_id), approved=approved, reason=reason, now=int(time.time())
    )
    view = _panel(request, grant_id, statement)
    record(request, visit, Act(ActKind.VIEW, "grant", grant_id))
    return render(
        request,
        "grants/sign.html",
        view=view,
        grant=grant_id,
        action=f"/grants/{grant_id}/decision",
        label=N_("Approve") if approved else N_("Refuse"),
    )


@router.post("/grants/{grant_id}/decision")
async def decide(
    request: Request,
    grant_id: str,
    form: Annotated[SignedForm, Form(media_type="multipart/form-data")],
    visit: Annotated[Visit, Depends(_officer)],
) -> Response:
    context = get_context(request)
    statement = signed_statement(form, GrantDecision)
    signature = await signature_of(context, form, statement)

    def work(_key: str) -> str:
        operation = service.decide(context, hex_bytes(grant_id), statement, signature)
        return operation_path(operation, back=f"/grants/{grant_id}")

    kind = ActKind.APPROVE if statement.approved else ActKind.REFUSE
    action = f"grant.{kind.value}"
    return await submit(request, visit, Act(kind, "grant", grant_id), work, action=action)


@router.get("/grants/{grant_id}/revocation")
def revocation_form(
    request: Request,
    grant_id: str,
    visit: Annotated[Visit, Depends(_officer)],
    reason: Reason = "",
) -> Response:
    statement = revocation_of(hex_bytes(grant_id), reason=reason, now=int(time.time()))
    view = _panel(request, grant_id, statement)
    record(request, visit, Act(ActKind.VIEW, "grant", grant_id))
    return render(
        request,
        "grants/sign.html",
        view=view,
        grant=grant_id,
        action=f"/grants/{grant_id}/revocation",
        label=N_("Revoke"),
    )


@router.post("/grants/{grant_id}/revocation")
async def revoke(
    request: Request,
    grant_id: str,
    form: Annotated[SignedForm, Form(media_type="multipart/form-data")],
    visit: Annotated[Visit, Depends(_officer)],
) -> Response:
    context = get_context(request)
    statement = signed_statement(form, GrantRevocation)
    signature = await signature_of(context, form, statement)

    def work(_key: str) -> str:
        operation = service.revoke(context, hex_bytes(grant_id), statement, signature)
        return operation_path(operation, back=f"/grants/{grant_id}")

    act = Act(ActKind.REVOKE, "grant", grant_id)
    return await submit(request, visit, act, work, action="grant.revoke")


def _panel(
    request: Request, grant_id: str, statement: GrantDecision | GrantRevocation
) -> SigningView:
    """What the officer signs; ``grant_of_others`` where another organisation decides."""
    context = get_context(request)
    service.own_grant(context, hex_bytes(grant_id))
    detail = service.describe(context, hex_bytes(grant_id))
    view = grant_view(context, detail.grant, request.state.language)
    return sign_request(
        context,
        statement,
        about=signed_about(detail, view),
        described=grant_detail(detail).model_dump(),
    )


def _states() -> list[tuple[str, str]]:
    return [(state.value, STATES[state]) for state in GrantState]


def _wanted(context: Context, asset_id: bytes, form: RequestForm) -> GrantRequest:
    """The request of a form: whole days of the city's calendar, from today on.

    Raises:
        BadInput: ``grant_operation_unknown``, ``grant_days_out_of_range``.
    """
    if not 1 <= form.days <= MAX_DAYS:
        raise BadInput(
            "grant_days_out_of_range",
            f"A grant lasts from 1 to {MAX_DAYS} days.",
            hint="Choose a number of days in this range.",
        )
    entry, now = catalogue.find(context, asset_id), int(time.time())
    return GrantRequest(
        asset_id=asset_id,
        asset_version=entry.record.asset_version,
        owner=entry.record.holder,
        operations=_operations(form.operations),
        scene=form.scene,
        purpose=form.purpose,
        columns=form.columns,
        not_before=day_start(now),
        not_after=day_start(now, days=form.days + 1) - 1,
        max_uses=form.max_uses,
    )


def _operations(names: list[str]) -> int:
    bits = Operation(0)
    for name in names:
        if name.upper() not in Operation.__members__:
            raise BadInput("grant_operation_unknown", f"There is no operation {name}.")
        bits |= Operation[name.upper()]
    return int(bits)


async def _send(context: Context, wanted: GrantRequest, key: str) -> RequestedGrant:
    return await service.request(context, wanted, idempotency_key=key)
