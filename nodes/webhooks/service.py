"""Webhooks of one node: made, changed and removed by people; what is owed to them, for the worker.

A secret is shown once, when it is made. It is stored encrypted under a key that the node derives,
so that a copied database alone signs nothing.
"""

from __future__ import annotations

import secrets as random_secrets
from collections.abc import Sequence
from typing import TypeVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Conflict, NotFound
from nodes.webhooks import events, rules, store
from nodes.webhooks.model import (
    Attempt,
    Delivery,
    DeliveryState,
    DueDelivery,
    Event,
    EventKind,
    Webhook,
)
from nodes.webhooks.store import WebhookDeliveryRow, WebhookRow
from registry.pages import Page, PageRequest

T = TypeVar("T")
BY_HAND, FAILING = "by_hand", "failing"
_KEY_LABEL = b"qiaolian.webhook.secret.v1"
_NONCE = 12
_SPREAD_AT_ONCE = 200


# --- People ---------------------------------------------------------------------------------------


def create(
    context: Context, *, url: str, kinds: Sequence[str], description: str = ""
) -> tuple[Webhook, str]:
    """A new webhook and its secret, which is shown this once.

    Raises:
        BadInput: ``webhook_url_refused``, ``event_kind_unknown``; Conflict: ``webhook_exists`` for
            an address that has one, ``too_many_webhooks``.
    """
    rules.require_url(url)
    wanted, secret = rules.require_kinds(kinds), _new_secret()
    row = WebhookRow(
        id=f"wh_{random_secrets.token_hex(8)}",
        url=url,
        description=description[: rules.MAX_DESCRIPTION],
        kinds=list(wanted),
        created_at=context.now(),
        active=True,
        disabled_reason="",
        secret=_seal(context, secret),
    )

    def change(session: Session) -> Webhook:
        present = store.webhooks(session)
        if any(other.url == url for other in present):
            raise Conflict("webhook_exists", "There is a webhook with this address already.")
        if len(present) >= rules.MAX_WEBHOOKS:
            raise Conflict(
                "too_many_webhooks",
                f"A node has at most {rules.MAX_WEBHOOKS} webhooks.",
                hint="Remove one first.",
            )
        session.add(row)
        return row.view()

    return context.database.write(change), secret


def listing(context: Context) -> list[Webhook]:
    """All webhooks, the oldest first."""
    with context.database.read() as session:
        return [row.view() for row in store.webhooks(session)]


def find(context: Context, webhook_id: str) -> Webhook:
    """One webhook; ``webhook_unknown``."""
    with context.database.read() as session:
        return _row(session, webhook_id).view()


def rotate(context: Context, webhook_id: str) -> tuple[Webhook, str]:
    """A fresh secret, shown this once. For a day deliveries are signed with the one before as well;
    ``webhook_unknown``.
    """
    secret = _new_secret()
    sealed, until = _seal(context, secret), context.now() + rules.FORMER_SECRET_SECONDS

    def change(session: Session) -> Webhook:
        row = _row(session, webhook_id)
        row.former_secret, row.former_secret_until = row.secret, until
        row.secret = sealed
        return row.view()

    return context.database.write(change), secret


def set_active(context: Context, webhook_id: str, *, active: bool) -> Webhook:
    """Enable or disable a webhook; what is pending for a disabled one is given up, and can be
    replayed. ``webhook_unknown``.
    """

    def change(session: Session) -> Webhook:
        row = _row(session, webhook_id)
        if row.active and not active:
            _disable(session, row, BY_HAND, context.now())
        elif active:
            row.active, row.disabled_reason, row.failing_since = True, "", None
        return row.view()

    return context.database.write(change)


def remove(context: Context, webhook_id: str) -> None:
    """Delete a webhook, its secret and its deliveries; ``webhook_unknown``."""
    context.database.write(lambda session: store.remove(session, _row(session, webhook_id)))


def send_test(context: Context, webhook_id: str) -> Delivery:
    """Owe a webhook a ``webhook.test`` event; ``webhook_unknown``, ``webhook_disabled``."""
    event = Event(
        id=f"evt_{random_secrets.token_hex(16)}",
        kind=EventKind.TEST,
        object="webhook",
        subject=webhook_id,
        at=context.now(),
        data={},
    )

    def change(session: Session) -> Delivery:
        row = _require_active(_row(session, webhook_id))
        store.add_event(session, event)
        delivery = _owed(row, event, context.now())
        store.spread(session, event.id, [delivery])
        session.flush()
        return delivery.view(event)

    return context.database.write(change)


def deliveries(context: Context, webhook_id: str, page: PageRequest) -> Page[Delivery]:
    """A webhook's deliveries of the last 30 days, the newest first; ``webhook_unknown``."""
    with context.database.read() as session:
        _row(session, webhook_id)
        found = store.delivery_page(session, webhook_id, page)
        named = store.events(session, [row.event_id for row in found.rows])
        return found.map(lambda row: row.view(named[row.event_id]))


def replay(context: Context, webhook_id: str, delivery_id: int) -> Delivery:
    """Send a delivery again at once, with the same event id; ``delivery_unknown``,
    ``webhook_unknown``, ``webhook_disabled``.
    """

    def change(session: Session) -> Delivery:
        _require_active(_row(session, webhook_id))
        row = store.delivery(session, delivery_id)
        if row is None or row.webhook_id != webhook_id:
            raise NotFound("delivery_unknown", "This webhook has no such delivery.")
        now = context.now()
        row.state, row.attempts, row.created_at = DeliveryState.PENDING, 0, now
        row.next_at = row.changed_at = now
        return row.view(store.events(session, [row.event_id])[row.event_id])

    return context.database.write(change)


# --- The worker -----------------------------------------------------------------------------------


def spread_events(context: Context) -> None:
    """Make deliveries of the events that were noted, for those whom they concern."""
    with context.database.read() as session:
        found = store.new_events(session, limit=_SPREAD_AT_ONCE)
    for event in found:
        _spread(context, event, concerned=events.involved(context, event))


def note_local_events(context: Context) -> None:
    """Make deliveries of new incidents and nearly spent caps."""
    with context.database.read() as session:
        wanted = events.wanted_kinds(session)
    if not wanted & {EventKind.ASSET_INCIDENT, EventKind.AGREEMENT_CAP_NEAR}:
        return
    for event in events.local_events(context):
        with context.database.read() as session:
            stored = store.has_event(session, event.id)
        if not stored and event.kind in wanted:
            _add(context, event)
            _spread(context, event, concerned=True)


def _add(context: Context, event: Event) -> None:
    context.database.write(lambda session: store.add_event(session, event))


def _spread(context: Context, event: Event, *, concerned: bool) -> None:
    def change(session: Session) -> None:
        rows = [
            _owed(row, event, context.now())
            for row in store.webhooks(session)
            if concerned and event.kind in row.kinds and row.created_at <= event.at
        ]
        store.spread(session, event.id, rows)

    context.database.write(change)


def due(context: Context, *, limit: int) -> list[DueDelivery]:
    """Deliveries to make now."""
    now = context.now()
    with context.database.read() as session:
        found = store.due(session, now=now, limit=limit)
        named = store.events(session, [delivery.event_id for delivery, _ in found])
        return [
            DueDelivery(
                delivery.view(named[delivery.event_id]), hook.url, _secrets(context, hook, now)
            )
            for delivery, hook in found
        ]


def next_due(context: Context) -> int | None:
    """When the next delivery is due."""
    with context.database.read() as session:
        return store.next_due(session)


def record(context: Context, made: DueDelivery, attempt: Attempt) -> None:
    """Store how an attempt ended. A webhook that fails for days is disabled."""
    now = context.now()

    def change(session: Session) -> None:
        row = store.delivery(session, made.delivery.id)
        hook = store.find(session, made.delivery.webhook_id)
        if row is None or hook is None:
            return
        row.attempts, row.status, row.error = row.attempts + 1, attempt.status, attempt.error
        row.changed_at = now
        if not attempt.error:
            row.state, hook.failing_since = DeliveryState.DELIVERED, None
            return
        hook.failing_since = hook.failing_since or now
        row.next_at = now + rules.retry_delay(row.attempts)
        if rules.is_given_up(since=row.created_at, now=now):
            row.state = DeliveryState.FAILED
        if hook.active and rules.is_given_up(since=hook.failing_since, now=now):
            _disable(session, hook, FAILING, now)

    context.database.write(change)


def prune(context: Context) -> None:
    """Delete what is older than deliveries are listed for."""
    before = context.now() - rules.KEEP_SECONDS
    context.database.write(lambda session: store.prune(session, before=before))


def _owed(hook: WebhookRow, event: Event, now: int) -> WebhookDeliveryRow:
    """A delivery; for a disabled webhook one that waits for its replay."""
    return WebhookDeliveryRow(
        webhook_id=hook.id,
        event_id=event.id,
        state=DeliveryState.PENDING if hook.active else DeliveryState.FAILED,
        created_at=now,
        attempts=0,
        next_at=now,
        error="" if hook.active else "webhook_disabled",
        changed_at=now,
    )


def _disable(session: Session, row: WebhookRow, reason: str, now: int) -> None:
    row.active, row.disabled_reason = False, reason
    session.flush()
    store.fail_pending(session, row.id, error="webhook_disabled", now=now)


def _require_active(row: WebhookRow) -> WebhookRow:
    if not row.active:
        raise Conflict("webhook_disabled", "The webhook is disabled.", hint="Enable it first.")
    return row


def _row(session: Session, webhook_id: str) -> WebhookRow:
    row = store.find(session, webhook_id)
    if row is None:
        raise NotFound("webhook_unknown", "There is no such webhook.")
    return row


def _new_secret() -> str:
    return f"whsec_{random_secrets.token_urlsafe(32)}"


def _seal(context: Context, secret: str) -> bytes:
    nonce = random_secrets.token_bytes(_NONCE)
    return nonce + AESGCM(context.derive(_KEY_LABEL)).encrypt(nonce, secret.encode(), _KEY_LABEL)


def _secrets(context: Context, row: WebhookRow, now: int) -> tuple[str, ...]:
    """The secrets that a delivery is signed with now."""
    former = row.former_secret if (row.former_secret_until or 0) > now else None
    key = AESGCM(context.derive(_KEY_LABEL))
    return tuple(
        key.decrypt(sealed[:_NONCE], sealed[_NONCE:], _KEY_LABEL).decode()
        for sealed in (row.secret, former)
        if sealed is not None
    )
