"""Claims the organisation's earnings automatically."""

from __future__ import annotations

import asyncio

from exchange.settlement.claims import ClaimMonitor


class ClaimWorker:
    """A round checks changed agreements and queues the claims that are due."""

    def __init__(self, monitor: ClaimMonitor) -> None:
        self._monitor = monitor

    async def round(self) -> None:
        """One round, off the event loop."""
        await asyncio.to_thread(self._monitor.round)
