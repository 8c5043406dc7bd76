"""The background worker of webhooks: spreads events, makes deliveries, and forgets old ones."""

from __future__ import annotations

import asyncio
import time

from chain.context import Context
from nodes.webhooks import service
from nodes.webhooks.delivery import Sender
from nodes.webhooks.model import DueDelivery

AT_ONCE = 16
LOCAL_SECONDS = 30.0
"""Pause between two looks at incidents and caps."""
PRUNE_SECONDS = 3_600.0


class WebhookWorker:
    """Belongs to the running event loop."""

    def __init__(self, context: Context, sender: Sender) -> None:
        self._context = context
        self._sender = sender
        self._next_due: int | None = None
        self._looked_at = self._pruned_at = float("-inf")

    @property
    def has_work(self) -> bool:
        """Whether a delivery is due although nothing changed."""
        return self._next_due is not None and self._next_due <= self._context.now()

    async def round(self) -> None:
        """Make every delivery that is due."""
        await asyncio.to_thread(self._prepare)
        due = await asyncio.to_thread(service.due, self._context, limit=AT_ONCE)
        await asyncio.gather(*(self._deliver(delivery) for delivery in due))
        self._next_due = await asyncio.to_thread(service.next_due, self._context)

    def _prepare(self) -> None:
        service.spread_events(self._context)
        now = time.monotonic()
        if now - self._looked_at >= LOCAL_SECONDS:
            self._looked_at = now
            service.note_local_events(self._context)
        if now - self._pruned_at >= PRUNE_SECONDS:
            self._pruned_at = now
            service.prune(self._context)

    async def _deliver(self, due: DueDelivery) -> None:
        attempt = await self._sender.send(due, member=self._context.member, at=self._context.now())
        await asyncio.to_thread(service.record, self._context, due, attempt)
