"""Webhooks, the events they receive, and deliveries. Times are Unix seconds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class EventKind(StrEnum):
    """The events that a webhook can receive; ``webhook.test`` is sent on request only."""

    GRANT_REQUESTED = "grant.requested"
    GRANT_APPROVED = "grant.approved"
    GRANT_REFUSED = "grant.refused"
    GRANT_REVOKED = "grant.revoked"
    AGREEMENT_OPENED = "agreement.opened"
    AGREEMENT_NOTICE = "agreement.notice"
    AGREEMENT_CLOSED = "agreement.closed"
    AGREEMENT_CAP_NEAR = "agreement.cap_near"
    CLAIM_SETTLED = "claim.settled"
    ASSET_INCIDENT = "asset.incident"
    TEST = "webhook.test"


SUBSCRIBED = tuple(kind for kind in EventKind if kind is not EventKind.TEST)


class DeliveryState(StrEnum):
    """Status of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    """Given up, or made while the webhook was disabled; replaying it sends it again."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address of the organisation's own that receives events."""

    id: str
    url: str
    description: str
    kinds: tuple[str, ...]
    created_at: int
    active: bool
    disabled_reason: str
    """``by_hand``, or ``failing``: nothing was delivered for days. Empty while active."""
    failing_since: int | None
    former_secret_until: int | None
    """Until when deliveries are signed with the secret before as well."""


@dataclass(frozen=True, slots=True)
class Event:
    """What happened. It names ids, codes and amounts, never a person or a record."""

    id: str
    kind: str
    object: str
    subject: str
    """Id of the object: a grant's, an agreement's, an asset's."""
    at: int
    data: dict[str, str | int]

    def to_json(self, member: str) -> dict[str, str | int | dict[str, str | int]]:
        """The body of a delivery; ``member`` is the node's organisation."""
        return {
            "id": self.id,
            "kind": self.kind,
            "member": member,
            "object": self.object,
            "subject": self.subject,
            "at": self.at,
            "data": self.data,
        }


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one webhook."""

    id: int
    webhook_id: str
    event: Event
    state: str
    attempts: int
    next_at: int
    """When the next attempt follows, while pending."""
    status: int | None
    """HTTP status of the last answer."""
    error: str
    """Code of the last failure; empty after a success."""
    changed_at: int


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """A delivery to make now, with what it needs."""

    delivery: Delivery
    url: str
    secrets: tuple[str, ...]
    """The secret, and the former one while that still counts."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Outcome of one attempt: ``error`` is empty for an answer of 200 to 299."""

    status: int | None
    error: str
