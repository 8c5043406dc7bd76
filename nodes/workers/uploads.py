"""Deletes uploaded files that nothing uses any more."""

from __future__ import annotations

import asyncio

from chain.context import Context
from nodes.console.publishing.service import remove_unused


class UploadsWorker:
    """A round deletes abandoned drafts, and the files of cancelled assets and deleted drafts."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def round(self) -> None:
        """One round, off the event loop."""
        await asyncio.to_thread(remove_unused, self._context)
