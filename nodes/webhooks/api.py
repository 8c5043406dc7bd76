"""Webhooks: the administrator's endpoints."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from chain.context import Context
from nodes.webhooks import rules, service
from nodes.webhooks.model import SUBSCRIBED, Delivery, Webhook
from registry.access import NonNegativeInt, Principal, get_context, page_request, require_local
from registry.pages import ListAnswer, PageRequest

router = APIRouter(tags=["webhooks"])
_administrator = require_local("administrator")
_readers = require_local("administrator", "auditor")
Id = Annotated[str, Path(min_length=1, max_length=64)]


class WebhookBody(BaseModel):
    """A new webhook; without ``kinds`` it receives every event."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "url": "https://core.bank.example/qiaolian",
                "kinds": ["grant.approved", "grant.revoked"],
                "description": "core banking",
            }
        },
    )
    url: Annotated[str, Field(min_length=1, max_length=rules.MAX_URL)]
    kinds: Annotated[list[str], Field(max_length=len(SUBSCRIBED))] = []
    description: Annotated[str, Field(max_length=rules.MAX_DESCRIPTION)] = ""


class WebhookAnswer(BaseModel):
    """A webhook; times in Unix seconds. ``disabledReason`` is ``by_hand`` or ``failing``."""

    id: str
    url: str
    description: str
    kinds: list[str]
    createdAt: int
    active: bool
    disabledReason: str
    failingSince: int | None
    formerSecretUntil: int | None

    @classmethod
    def of(cls, webhook: Webhook) -> WebhookAnswer:
        """As the API shows it."""
        return cls(**_shown(webhook))


class WebhookWithSecret(WebhookAnswer):
    """A webhook with its secret, which is shown this once."""

    secret: str


class WebhookList(BaseModel):
    """All webhooks."""

    webhooks: list[WebhookAnswer]


class DeliveryAnswer(BaseModel):
    """A delivery; times in Unix seconds. ``status`` is the receiver's last HTTP status, ``error``
    the code of the last failure.
    """

    id: int
    event: dict[str, Any]
    state: str
    attempts: int
    nextAt: int
    status: int | None
    error: str
    changedAt: int

    @classmethod
    def of(cls, delivery: Delivery, member: str) -> DeliveryAnswer:
        """As the API shows it."""
        return cls(
            id=delivery.id,
            event=delivery.event.to_json(member),
            state=delivery.state,
            attempts=delivery.attempts,
            nextAt=delivery.next_at,
            status=delivery.status,
            error=delivery.error,
            changedAt=delivery.changed_at,
        )


class DeliveryList(ListAnswer):
    """A page of deliveries."""

    deliveries: list[DeliveryAnswer]


@router.post(
    "/v1/webhooks",
    status_code=201,
    summary="Send events to an address of the organisation's own; the secret is shown once",
)
def create(
    body: WebhookBody,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(_administrator),
) -> WebhookWithSecret:
    return _with_secret(
        *service.create(context, url=body.url, kinds=body.kinds, description=body.description)
    )


@router.get("/v1/webhooks", summary="All webhooks")
def listing(
    context: Context = Depends(get_context), _caller: Principal = Depends(_readers)
) -> WebhookList:
    return WebhookList(webhooks=[WebhookAnswer.of(found) for found in service.listing(context)])


@router.post(
    "/v1/webhooks/{webhook_id}/secret",
    summary="Make a fresh secret, shown once; the former one is used beside it for a day",
)
def rotate(
    webhook_id: Id,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(_administrator),
) -> WebhookWithSecret:
    return _with_secret(*service.rotate(context, webhook_id))


@router.post("/v1/webhooks/{webhook_id}/enable", summary="Deliver again")
def enable(
    webhook_id: Id,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(_administrator),
) -> WebhookAnswer:
    return WebhookAnswer.of(service.set_active(context, webhook_id, active=True))


@router.post("/v1/webhooks/{webhook_id}/disable", summary="Deliver nothing until it is enabled")
def disable(
    webhook_id: Id,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(_administrator),
) -> WebhookAnswer:
    return WebhookAnswer.of(service.set_active(context, webhook_id, active=False))


@router.delete(
    "/v1/webhooks/{webhook_id}",
    status_code=204,
    summary="Delete a webhook, its secret and its list of deliveries",
)
def remove(
    webhook_id: Id,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(_administrator),
) -> None:
    service.remove(context, webhook_id)


@router.post("/v1/webhooks/{webhook_id}/test", status_code=202, summary="Send a webhook.test event")
def send_test(
    webhook_id: Id,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(_administrator),
) -> DeliveryAnswer:
    return DeliveryAnswer.of(service.send_test(context, webhook_id), context.member)


@router.get(
    "/v1/webhooks/{webhook_id}/deliveries",
    summary="Deliveries of the last 30 days, the newest first",
)
def deliveries(
    webhook_id: Id,
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(_readers),
) -> DeliveryList:
    found = service.deliveries(context, webhook_id, page)
    rows = [DeliveryAnswer.of(delivery, context.member) for delivery in found.rows]
    return DeliveryList(deliveries=rows, next=found.next)


@router.post(
    "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/replay",
    status_code=202,
    summary="Send a delivery again, with the same event id",
)
def replay(
    webhook_id: Id,
    delivery_id: NonNegativeInt,
    context: Context = Depends(get_context),
    _caller: Principal = Depends(_administrator),
) -> DeliveryAnswer:
    return DeliveryAnswer.of(service.replay(context, webhook_id, delivery_id), context.member)


def _shown(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": webhook.url,
        "description": webhook.description,
        "kinds": list(webhook.kinds),
        "createdAt": webhook.created_at,
        "active": webhook.active,
        "disabledReason": webhook.disabled_reason,
        "failingSince": webhook.failing_since,
        "formerSecretUntil": webhook.former_secret_until,
    }


def _with_secret(webhook: Webhook, secret: str) -> WebhookWithSecret:
    return WebhookWithSecret(**_shown(webhook), secret=secret)
