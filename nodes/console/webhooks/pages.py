"""Webhooks: list, make, change, deliveries and their replay. For administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Path, Request
from pydantic import Field
from starlette.responses import Response

from nodes.console.access import get_context, record, require
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.acts.service import BEGUN
from nodes.console.forms import ConsoleForm, submit
from nodes.console.i18n import N_
from nodes.console.navigation import Entry
from nodes.console.paging import console_page
from nodes.console.rendering import render
from nodes.console.webhooks.views import (
    DELIVERY_LABELS,
    DISABLED_LABELS,
    FAILURE_LABELS,
    KIND_LABELS,
)
from nodes.webhooks import rules, service
from nodes.webhooks.model import SUBSCRIBED, Webhook
from registry.access import NonNegativeInt
from registry.pages import PageRequest

router = APIRouter()
ADMINISTRATORS = (PersonRole.ADMINISTRATOR,)
NAVIGATION = (Entry("/webhooks", N_("Webhooks"), ADMINISTRATORS),)
require_administrator = require(*ADMINISTRATORS)
Administrator = Annotated[Visit, Depends(require_administrator)]
Id = Annotated[str, Path(min_length=1, max_length=64)]


class WebhookForm(ConsoleForm):
    """A new webhook."""

    url: Annotated[str, Field(min_length=1, max_length=rules.MAX_URL)]
    description: Annotated[str, Field(max_length=rules.MAX_DESCRIPTION)] = ""
    kinds: Annotated[list[str], Field(default_factory=list)]


@router.get("/webhooks")
def listing(request: Request, visit: Administrator) -> Response:
    record(request, visit, Act(ActKind.VIEW, "webhooks"))
    return render(
        request,
        "webhooks/list.html",
        webhooks=service.listing(get_context(request)),
        kinds=SUBSCRIBED,
        kind_labels=KIND_LABELS,
        disabled_labels=DISABLED_LABELS,
    )


@router.post("/webhooks")
def create(
    request: Request, form: Annotated[WebhookForm, Form()], visit: Administrator
) -> Response:
    """The secret is shown once, in this answer."""
    act = Act(ActKind.CHANGE, "webhook")
    record(request, visit, act, outcome=BEGUN)
    found, secret = service.create(
        get_context(request), url=form.url, kinds=form.kinds, description=form.description
    )
    record(request, visit, Act(ActKind.CHANGE, "webhook", found.id))
    return _show_secret(request, found, secret)


@router.get("/webhooks/{webhook_id}")
def detail(
    request: Request,
    webhook_id: Id,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Administrator,
) -> Response:
    context = get_context(request)
    found = service.find(context, webhook_id)
    record(request, visit, Act(ActKind.VIEW, "webhook", webhook_id))
    deliveries = service.deliveries(context, webhook_id, page)
    return render(
        request,
        "webhooks/detail.html",
        webhook=found,
        rows=deliveries.rows,
        next=deliveries.next,
        kind_labels=KIND_LABELS,
        disabled_labels=DISABLED_LABELS,
        delivery_labels=DELIVERY_LABELS,
        failure_labels=FAILURE_LABELS,
    )


@router.post("/webhooks/{webhook_id}/secret")
def rotate(
    request: Request, webhook_id: Id, form: Annotated[ConsoleForm, Form()], visit: Administrator
) -> Response:
    act = Act(ActKind.CHANGE, "webhook", webhook_id)
    record(request, visit, act, outcome=BEGUN)
    found, secret = service.rotate(get_context(request), webhook_id)
    record(request, visit, act)
    return _show_secret(request, found, secret)


@router.post("/webhooks/{webhook_id}/enable")
async def enable(
    request: Request, webhook_id: Id, form: Annotated[ConsoleForm, Form()], visit: Administrator
) -> Response:
    return await _set_active(request, webhook_id, visit, active=True)


@router.post("/webhooks/{webhook_id}/disable")
async def disable(
    request: Request, webhook_id: Id, form: Annotated[ConsoleForm, Form()], visit: Administrator
) -> Response:
    return await _set_active(request, webhook_id, visit, active=False)


@router.post("/webhooks/{webhook_id}/remove")
async def remove(
    request: Request, webhook_id: Id, form: Annotated[ConsoleForm, Form()], visit: Administrator
) -> Response:
    def work(_key: str) -> str:
        service.remove(get_context(request), webhook_id)
        return "/webhooks"

    return await submit(request, visit, Act(ActKind.CHANGE, "webhook", webhook_id), work)


@router.post("/webhooks/{webhook_id}/test")
async def send_test(
    request: Request, webhook_id: Id, form: Annotated[ConsoleForm, Form()], visit: Administrator
) -> Response:
    def work(_key: str) -> str:
        service.send_test(get_context(request), webhook_id)
        return f"/webhooks/{webhook_id}"

    return await submit(request, visit, Act(ActKind.CHANGE, "webhook", webhook_id), work)


@router.post("/webhooks/{webhook_id}/deliveries/{delivery_id}/replay")
async def replay(
    request: Request,
    webhook_id: Id,
    delivery_id: NonNegativeInt,
    form: Annotated[ConsoleForm, Form()],
    visit: Administrator,
) -> Response:
    def work(_key: str) -> str:
        service.replay(get_context(request), webhook_id, delivery_id)
        return f"/webhooks/{webhook_id}"

    return await submit(request, visit, Act(ActKind.CHANGE, "webhook", webhook_id), work)


async def _set_active(request: Request, webhook_id: str, visit: Visit, *, active: bool) -> Response:
    def work(_key: str) -> str:
        service.set_active(get_context(request), webhook_id, active=active)
        return f"/webhooks/{webhook_id}"

    return await submit(request, visit, Act(ActKind.CHANGE, "webhook", webhook_id), work)


def _show_secret(request: Request, webhook: Webhook, secret: str) -> Response:
    return render(request, "webhooks/secret.html", webhook=webhook, secret=secret)
