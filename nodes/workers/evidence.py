"""Keeps this node's log current: entries into the tree and under a checkpoint, checkpoints onto the
chain, anchors' proofs stored.
"""

from __future__ import annotations

import asyncio

from chain.context import Context
from chain.core.errors import Unavailable
from registry.evidence import anchors, checkpoints


class EvidenceWorker:
    """A round checkpoints what is new, asks for an anchor when one is due, and settles anchors that
    are in a block.
    """

    def __init__(self, context: Context, *, anchor_seconds: float) -> None:
        self._context = context
        self._anchor_seconds = anchor_seconds
        self.has_work = False
        """Whether the last round left entries without a proved anchor."""

    async def round(self) -> None:
        """One round, off the event loop."""
        await asyncio.to_thread(self._work)

    def _work(self) -> None:
        checkpoints.make_checkpoint(self._context)
        if _has_head(self._context):
            anchors.anchor_if_due(self._context, seconds=self._anchor_seconds)
            anchors.complete_anchors(self._context)
        self.has_work = not anchors.is_complete(self._context)


def _has_head(context: Context) -> bool:
    """Whether the chain view has seen a block since the start."""
    try:
        return context.view.head.height >= 0
    except Unavailable:
        return False
