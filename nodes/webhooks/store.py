"""Tables of webhooks, events and deliveries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import JSON, BigInteger, LargeBinary, String
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base
from nodes.store import NodeCursor
from nodes.webhooks.model import Delivery, DeliveryState, Event, EventKind, Webhook
from registry.pages import Page, PageRequest, page_of


class WebhookRow(Base):
    """A webhook; its secrets are stored encrypted under a key that the node derives."""

    __tablename__ = "webhook"
    id: Mapped[str] = mapped_column(String(24), primary_key=True)
    url: Mapped[str] = mapped_column(String(500))
    description: Mapped[str] = mapped_column(String(200))
    kinds: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[int] = mapped_column(BigInteger, index=True)
    active: Mapped[bool]
    disabled_reason: Mapped[str] = mapped_column(String(16))
    failing_since: Mapped[int | None] = mapped_column(BigInteger)
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    former_secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    former_secret_until: Mapped[int | None] = mapped_column(BigInteger)

    def view(self) -> Webhook:
        """Without the secrets."""
        return Webhook(
            id=self.id,
            url=self.url,
            description=self.description,
            kinds=tuple(self.kinds),
            created_at=self.created_at,
            active=self.active,
            disabled_reason=self.disabled_reason,
            failing_since=self.failing_since,
            former_secret_until=self.former_secret_until,
        )


class WebhookEventRow(Base):
    """An event. ``spread`` is false until it was decided whom it concerns."""

    __tablename__ = "webhook_event"
    __table_args__ = (
        sa.Index(
            "ix_webhook_event_new",
            "at",
            sqlite_where=sa.text("NOT spread"),
            postgresql_where=sa.text("NOT spread"),
        ),
    )
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    object: Mapped[str] = mapped_column(String(16))
    subject: Mapped[str] = mapped_column(String(80))
    at: Mapped[int] = mapped_column(BigInteger)
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    spread: Mapped[bool]

    def view(self) -> Event:
        """The event."""
        return Event(self.id, self.kind, self.object, self.subject, self.at, self.data)


class WebhookDeliveryRow(Base):
    """A delivery."""

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        sa.UniqueConstraint("webhook_id", "event_id"),
        sa.Index("ix_webhook_delivery_due", "state", "next_at"),
        sa.Index("ix_webhook_delivery_newest", "webhook_id", "id"),
    )
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    webhook_id: Mapped[str] = mapped_column(String(24))
    event_id: Mapped[str] = mapped_column(String(36))
    state: Mapped[str] = mapped_column(String(12))
    created_at: Mapped[int] = mapped_column(BigInteger, index=True)
    attempts: Mapped[int]
    next_at: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[int | None]
    error: Mapped[str] = mapped_column(String(40))
    changed_at: Mapped[int] = mapped_column(BigInteger)

    def view(self, event: Event) -> Delivery:
        """The delivery with its event."""
        return Delivery(
            id=self.id,
            webhook_id=self.webhook_id,
            event=event,
            state=self.state,
            attempts=self.attempts,
            next_at=self.next_at,
            status=self.status,
            error=self.error,
            changed_at=self.changed_at,
        )


def webhooks(session: Session) -> list[WebhookRow]:
    """All webhooks, the oldest first."""
    return list(session.scalars(sa.select(WebhookRow).order_by(WebhookRow.created_at)))


def find(session: Session, webhook_id: str) -> WebhookRow | None:
    """One webhook."""
    return session.get(WebhookRow, webhook_id)


def remove(session: Session, row: WebhookRow) -> None:
    """Delete a webhook with its deliveries."""
    session.execute(sa.delete(WebhookDeliveryRow).where(WebhookDeliveryRow.webhook_id == row.id))
    session.delete(row)


def add_event(session: Session, event: Event) -> None:
    """Store an event unless it is stored."""
    if session.get(WebhookEventRow, event.id) is None:
        session.add(
            WebhookEventRow(
                id=event.id,
                kind=event.kind,
                object=event.object,
                subject=event.subject,
                at=event.at,
                data=event.data,
                spread=False,
            )
        )
        session.flush()


def noted_until(session: Session) -> int:
    """The block up to which events were noted before an upgrade; 0 without one."""
    cursor = session.get(NodeCursor, "webhooks")
    return 0 if cursor is None else cursor.height


def has_event(session: Session, event_id: str) -> bool:
    """Whether an event is stored."""
    return session.get(WebhookEventRow, event_id) is not None


def new_events(session: Session, *, limit: int) -> list[Event]:
    """Events that were not spread yet, the oldest first."""
    query = sa.select(WebhookEventRow).where(sa.text("NOT spread")).order_by(WebhookEventRow.at)
    return [row.view() for row in session.scalars(query.limit(limit))]


def spread(session: Session, event_id: str, deliveries: Iterable[WebhookDeliveryRow]) -> None:
    """Store an event's deliveries; it is not new any more."""
    row = session.get(WebhookEventRow, event_id)
    if row is not None and not row.spread:
        row.spread = True
        session.add_all(deliveries)


def delivery(session: Session, delivery_id: int) -> WebhookDeliveryRow | None:
    """One delivery."""
    return session.get(WebhookDeliveryRow, delivery_id)


def delivery_page(session: Session, webhook_id: str, page: PageRequest) -> Page[WebhookDeliveryRow]:
    """A webhook's deliveries, the newest first; ``cursor_malformed``."""
    query = sa.select(WebhookDeliveryRow).where(WebhookDeliveryRow.webhook_id == webhook_id)
    return page_of(session, query, (WebhookDeliveryRow.id,), page)


def events(session: Session, ids: Sequence[str]) -> dict[str, Event]:
    """Events by id."""
    query = sa.select(WebhookEventRow).where(WebhookEventRow.id.in_(list(ids)))
    return {row.id: row.view() for row in session.scalars(query)}


def due(session: Session, *, now: int, limit: int) -> list[tuple[WebhookDeliveryRow, WebhookRow]]:
    """Pending deliveries of active webhooks whose time has come, and their webhooks."""
    query = (
        sa.select(WebhookDeliveryRow, WebhookRow)
        .join(WebhookRow, WebhookRow.id == WebhookDeliveryRow.webhook_id)
        .where(WebhookDeliveryRow.state == DeliveryState.PENDING.value)
        .where(WebhookDeliveryRow.next_at <= now)
        .where(WebhookRow.active)
        .order_by(WebhookDeliveryRow.next_at)
        .limit(limit)
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def next_due(session: Session) -> int | None:
    """When the next attempt follows."""
    query = sa.select(sa.func.min(WebhookDeliveryRow.next_at)).where(
        WebhookDeliveryRow.state == DeliveryState.PENDING.value
    )
    found: int | None = session.scalar(query)
    return found


def fail_pending(session: Session, webhook_id: str, *, error: str, now: int) -> None:
    """Give up what is pending for a webhook."""
    session.execute(
        sa.update(WebhookDeliveryRow)
        .where(WebhookDeliveryRow.webhook_id == webhook_id)
        .where(WebhookDeliveryRow.state == DeliveryState.PENDING.value)
        .values(state=DeliveryState.FAILED.value, error=error, changed_at=now)
    )


def prune(session: Session, *, before: int) -> None:
    """Delete deliveries and events from before a time. Pending ones stay, and so do events of
    nearly spent caps, which are sent once.
    """
    old = WebhookDeliveryRow.created_at < before
    ended = WebhookDeliveryRow.state != DeliveryState.PENDING.value
    session.execute(sa.delete(WebhookDeliveryRow).where(old, ended))
    used = sa.select(WebhookDeliveryRow.event_id)
    session.execute(
        sa.delete(WebhookEventRow).where(
            WebhookEventRow.at < before,
            WebhookEventRow.id.not_in(used),
            WebhookEventRow.kind != EventKind.AGREEMENT_CAP_NEAR.value,
        )
    )
