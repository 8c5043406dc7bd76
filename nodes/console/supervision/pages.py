"""Records back to their source, reconciliation, violations, freezing, proofs and the verifier."""

from __future__ import annotations

import functools
import hashlib
import json
from decimal import Decimal
from importlib import resources
from typing import Annotated, Literal

from anyio import from_thread
from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import Field
from starlette.responses import Response

from chain.core.errors import QiaolianError
from chain.ethereum.eip712 import encode_code
from chain.statements.members import Role
from exchange.agreements.model import AgreementSide
from exchange.disputes import fines
from exchange.disputes import service as disputes
from exchange.disputes.model import FineRequest
from exchange.reconciliation import runs
from exchange.reconciliation import service as reconciliation
from exchange.settlement import bundles
from exchange.supervision.service import WATCHERS
from exchange.supervision.trace import MAX_QUERY_CHARACTERS, trace
from nodes.console.access import READERS, get_context, record, require, require_person
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.errors import error_view
from nodes.console.forms import ConsoleForm, submit
from nodes.console.i18n import N_
from nodes.console.names import member_name, reason_choices
from nodes.console.navigation import Entry
from nodes.console.operations.views import operation_path
from nodes.console.paging import console_page
from nodes.console.rendering import render
from nodes.console.supervision.views import (
    EquivocationView,
    comparison_view,
    finding_view,
    fork_view,
    frozen_view,
    money_view,
    trace_view,
)
from nodes.version import VERSION
from registry.access import hex_bytes
from registry.assets import status
from registry.evidence import witness
from registry.grants import export as grant_bundles
from registry.members import service as members
from registry.pages import PageRequest
from registry.property import export as deal_bundles
from registry.reasons import reason_code

router = APIRouter()
_SUPERVISOR = Role.SUPERVISOR
NAVIGATION = (
    Entry("/trace", N_("Trace a record"), READERS, WATCHERS),
    Entry("/reconciliation", N_("Reconciliation"), READERS, _SUPERVISOR),
    Entry("/violations", N_("Violations"), READERS, _SUPERVISOR),
    Entry("/freeze", N_("Freeze"), tuple(PersonRole), _SUPERVISOR),
    Entry("/verifier", N_("Check proofs"), tuple(PersonRole)),
)

_reader = require(*READERS, nodes=WATCHERS)
_supervisor = require(*READERS, nodes=_SUPERVISOR)
_anyone = require(*PersonRole, nodes=_SUPERVISOR)
_clerk = require(PersonRole.CLERK, PersonRole.AUDITOR, nodes=_SUPERVISOR)
_officer = require(PersonRole.CHIEF_DATA_OFFICER, nodes=_SUPERVISOR)
_administrator = require(PersonRole.ADMINISTRATOR, nodes=_SUPERVISOR)
HOLD, RELEASE = "asset.hold", "asset.release"
FREEZE_AGREEMENT, UNFREEZE_AGREEMENT = "agreement.freeze", "agreement.unfreeze"


class FineForm(ConsoleForm):
    """A fine out of a provider's bond, for two governors to approve."""

    agreement: str
    amount: Annotated[Decimal, Field(gt=0, le=10**12, decimal_places=2)]
    """Yuan."""
    to: Annotated[str, Field(min_length=18, max_length=18)]
    reason: Annotated[str, Field(max_length=31)]


class HoldForm(ConsoleForm):
    """An asset to be held for a reason, or released."""

    asset: str
    reason: str = ""
    placed: bool = True


class AgreementFreezeForm(ConsoleForm):
    """An agreement whose calls are to stop for a reason, or to continue."""

    agreement: str
    reason: str = ""
    placed: bool = True


class SuspensionForm(ConsoleForm):
    """A member whose suspension, or its end, is proposed to the governors."""

    member: str
    reason: str = ""
    function: Literal["suspend", "lift"] = "suspend"


# --- Trace ----------------------------------------------------------------------------------------


@router.get("/trace")
def trace_page(
    request: Request,
    visit: Annotated[Visit, Depends(_reader)],
    q: Annotated[str, Query(max_length=MAX_QUERY_CHARACTERS)] = "",
) -> Response:
    context, shown, refusal = get_context(request), None, None
    if q.strip():
        record(request, visit, Act(ActKind.VIEW, "trace", q.strip()[:100]))
        try:
            shown = trace_view(context, trace(context, q), request.state.language)
        except QiaolianError as error:
            refusal = error_view(error, request.state.language)
    return render(request, "supervision/trace.html", q=q, shown=shown, refusal=refusal)


@router.get("/trace/bundle/{kind}/{identifier}")
async def bundle(
    request: Request,
    kind: Literal["agreements", "grants", "deals"],
    identifier: str,
    visit: Annotated[Visit, Depends(_reader)],
    lane: Annotated[int, Query(ge=0, le=999)] = 0,
    seq: Annotated[int | None, Query(ge=1, le=2**53 - 1)] = None,
    party: Literal[AgreementSide.PROVIDER, AgreementSide.BUYER] | None = None,
) -> Response:
    context, named = get_context(request), hex_bytes(identifier)
    await run_in_threadpool(record, request, visit, Act(ActKind.EXPORT, kind, identifier))
    if kind == "grants":
        data = await grant_bundles.fetch(context, named)
    elif kind == "deals":
        data = await deal_bundles.fetch(context, named)
    else:
        data = await bundles.fetch(context, named, lane, seq, party=party)
    return _download(f"{kind}-{named.hex()[:12]}.json", data)


def _download(name: str, data: bytes) -> Response:
    return Response(
        data,
        media_type="application/json",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


# --- Reconciliation and violations ----------------------------------------------------------------


@router.get("/reconciliation")
def reconciliation_page(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(_supervisor)],
    settled: bool = False,
) -> Response:
    context = get_context(request)
    found = runs.findings(context, page, settled=settled)
    latest = runs.listing(context, PageRequest(10)).rows
    partial = request.headers.get("hx-request") == "true"
    if not partial:
        record(request, visit, Act(ActKind.VIEW, "reconciliation"))
    open_findings, overdue = runs.open_counts(context)
    return render(
        request,
        "supervision/runs.html" if partial else "supervision/reconciliation.html",
        runs=latest,
        running=bool(latest) and latest[0].finished_at is None,
        rows=[finding_view(context, item) for item in found.rows],
        next=found.next,
        settled=settled,
        open_findings=open_findings,
        overdue=overdue,
        starts=visit.holds(PersonRole.CLERK, PersonRole.AUDITOR),
        money=money_view(context),
    )


@router.post("/reconciliation/runs")
async def start_run(
    request: Request,
    form: Annotated[ConsoleForm, Form()],
    visit: Annotated[Visit, Depends(_clerk)],
) -> Response:
    def work(_key: str) -> str:
        runs.start(get_context(request))
        return "/reconciliation"

    return await submit(request, visit, Act(ActKind.USE, "reconciliation"), work)


@router.get("/reconciliation/{agreement_id}")
async def comparison(
    request: Request, agreement_id: str, visit: Annotated[Visit, Depends(_supervisor)]
) -> Response:
    context = get_context(request)
    await run_in_threadpool(
        record, request, visit, Act(ActKind.VIEW, "reconciliation", agreement_id)
    )
    found = await reconciliation.reconcile(context, hex_bytes(agreement_id))
    return render(request, "supervision/comparison.html", shown=comparison_view(found))


@router.get("/violations")
def violations(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(_supervisor)],
) -> Response:
    context = get_context(request)
    record(request, visit, Act(ActKind.VIEW, "violations"))
    found = runs.findings(context, page)
    forks = witness.forks(context, PageRequest())
    doubled = disputes.equivocations(context, PageRequest())
    return render(
        request,
        "supervision/violations.html",
        forks=[fork_view(context, fork) for fork in forks.rows],
        doubled=[
            EquivocationView(
                agreement="0x" + row.agreement_id.hex(),
                provider=row.provider,
                name=member_name(context, row.provider),
                lane=row.lane,
                seq=row.seq,
                height=row.height,
            )
            for row in doubled.rows
        ],
        rows=[finding_view(context, item) for item in found.rows],
        next=found.next,
    )


@router.get("/violations/forks.json")
def forks_file(request: Request, visit: Annotated[Visit, Depends(_supervisor)]) -> Response:
    record(request, visit, Act(ActKind.EXPORT, "forks"))
    found = witness.forks(get_context(request), PageRequest(200))
    content = [
        {
            "origin": fork.origin,
            "first": fork.first,
            "second": fork.second,
            "foundAt": fork.found_at,
        }
        for fork in found.rows
    ]
    return _download("forks.json", json.dumps(content, ensure_ascii=False, indent=1).encode())


# --- Freeze ---------------------------------------------------------------------------------------


@router.get("/freeze")
def freeze(
    request: Request,
    visit: Annotated[Visit, Depends(_anyone)],
    asset: Annotated[str, Query(max_length=66)] = "",
    member: Annotated[str, Query(max_length=18)] = "",
    agreement: Annotated[str, Query(max_length=66)] = "",
) -> Response:
    record(request, visit, Act(ActKind.VIEW, "freeze"))
    return render(
        request,
        "supervision/freeze.html",
        shown=frozen_view(get_context(request)),
        wanted=asset,
        agreement=agreement,
        code=member,
        holds=visit.holds(PersonRole.CHIEF_DATA_OFFICER),
        proposes=visit.holds(PersonRole.ADMINISTRATOR),
        reasons=reason_choices(request.state.language),
    )


@router.post("/freeze/assets")
async def hold(
    request: Request,
    form: Annotated[HoldForm, Form()],
    visit: Annotated[Visit, Depends(_officer)],
) -> Response:
    def work(_key: str) -> str:
        reason = encode_code(reason_code(form.reason)) if form.placed else None
        operation = status.set_hold(get_context(request), hex_bytes(form.asset), reason=reason)
        return operation_path(operation, back="/freeze")

    act = Act(ActKind.CHANGE, "asset", form.asset)
    return await submit(request, visit, act, work, action=HOLD if form.placed else RELEASE)


@router.post("/freeze/agreements")
async def freeze_agreement(
    request: Request,
    form: Annotated[AgreementFreezeForm, Form()],
    visit: Annotated[Visit, Depends(_officer)],
) -> Response:
    def work(_key: str) -> str:
        context, agreement_id = get_context(request), hex_bytes(form.agreement)
        change = functools.partial(disputes.unfreeze, context, agreement_id)
        if form.placed:
            reason = reason_code(form.reason)
            change = functools.partial(disputes.freeze, context, agreement_id, reason)
        return operation_path(change().operation, back="/freeze")

    act = Act(ActKind.CHANGE, "agreement", form.agreement)
    action = FREEZE_AGREEMENT if form.placed else UNFREEZE_AGREEMENT
    return await submit(request, visit, act, work, action=action)


@router.post("/freeze/members")
async def propose(
    request: Request,
    form: Annotated[SuspensionForm, Form()],
    visit: Annotated[Visit, Depends(_administrator)],
) -> Response:
    arguments = {"member": form.member}
    if form.function == "suspend":
        arguments["reason"] = form.reason

    def work(_key: str) -> str:
        shared = from_thread.run(members.propose, get_context(request), form.function, arguments)
        return f"/proposals/0x{shared.proposal.proposal_id.hex()}"

    act = Act(ActKind.CHANGE, "member", form.member)
    return await submit(request, visit, act, work, action=f"member.{form.function}")


@router.post("/freeze/fines")
async def propose_fine(
    request: Request,
    form: Annotated[FineForm, Form()],
    visit: Annotated[Visit, Depends(_administrator)],
) -> Response:
    def work(_key: str) -> str:
        fine = FineRequest(int(form.amount * 100), form.to, reason_code(form.reason))
        agreement_id = hex_bytes(form.agreement)
        shared = from_thread.run(fines.propose, get_context(request), agreement_id, fine)
        return f"/proposals/0x{shared.proposal.proposal_id.hex()}"

    act = Act(ActKind.CHANGE, "agreement", form.agreement)
    return await submit(request, visit, act, work, action="agreement.fine")


# --- The verifier ---------------------------------------------------------------------------------


@router.get("/verifier")
def verifier(request: Request, visit: Annotated[Visit, Depends(require_person)]) -> Response:
    record(request, visit, Act(ActKind.VIEW, "verifier"))
    file = resources.files("chain.bundle").joinpath("browser", "verifier.html")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return render(request, "supervision/verifier.html", digest=digest, release=VERSION)
