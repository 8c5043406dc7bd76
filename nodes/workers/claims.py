"""Claims what the organisation has earned, without anybody asking for it."""

from __future__ import annotations

import asyncio

from exchange.settlement.claims import ClaimMonitor


class ClaimWorker:
    """A round looks at what may have changed and queues the claims that are due."""

    def __init__(self, monitor: ClaimMonitor) -> None:
        self._monitor = monitor

    async def round(self) -> None:
        """One round, off the event loop."""
        await asyncio.to_thread(self._monitor.round)
