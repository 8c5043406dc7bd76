"""Fetches other members' demands."""

from __future__ import annotations

from chain.context import Context
from chain.core.errors import QiaolianError
from registry.demands.service import fetch_all


class DemandsWorker:
    """A round asks every bank for its open demands."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def round(self) -> QiaolianError | None:
        """One round; the error of a bank that could not be asked, the others' demands are there."""
        failed = await fetch_all(self._context)
        return next(iter(failed.values()), None)
