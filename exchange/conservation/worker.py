"""Checks the chain's money by itself."""

from __future__ import annotations

import asyncio

from exchange.conservation.service import ConservationMonitor


class ConservationWorker:
    """A round checks the money under the view's head."""

    def __init__(self, monitor: ConservationMonitor) -> None:
        self._monitor = monitor

    async def round(self) -> None:
        """One round, off the event loop."""
        await asyncio.to_thread(self._monitor.round)
