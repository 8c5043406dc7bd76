"""Projects the contracts' events, in chain order up to the view's head, into the packages' tables.

Events and the cursor are stored in one database transaction, so a kill neither loses an event nor
applies one twice. Every event was proved to be in its block and no block's events are left out
(``ChainView.logs``); events without proof are not applied, and the height stays. Rows from
events are for display and search; permissions rest on proved records.
"""

from __future__ import annotations

import asyncio
import time

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import QiaolianError
from nodes.routers import apply_events
from nodes.store import NodeCursor

NAME = "projector"
BLOCKS_AT_ONCE = 500
_KEEP_SECONDS = 30.0


class Projector:
    """The projector of one node."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._kept_at = 0.0

    async def round(self) -> None:
        """Project every block up to the head; blocks without events need no thread."""
        if not self._pass_quiet_blocks():
            await asyncio.to_thread(self._catch_up)

    def _pass_quiet_blocks(self) -> bool:
        """Pass over the blocks up to the head if none has an event; whether that was so."""
        context = self._context
        if context.projected_height is None or self._keep_is_due():
            return False
        try:
            quiet = context.view.quiet_head(context.projected_height + 1)
        except QiaolianError:
            return False
        if quiet is not None:
            context.projected_height = max(context.projected_height, quiet.height)
        return quiet is not None

    def _keep_is_due(self) -> bool:
        """Whether the height is stored although nothing happened, so that a restart skips it."""
        return time.monotonic() - self._kept_at > _KEEP_SECONDS

    def _catch_up(self) -> None:
        height = self._height()
        try:
            head = self._context.view.head
        except QiaolianError:
            return
        while height < head.height:
            height = self._advance(height + 1, min(head.height, height + BLOCKS_AT_ONCE))

    def _height(self) -> int:
        """The last block that was applied."""
        context = self._context
        if context.projected_height is None:
            with context.database.read() as session:
                row = session.get(NodeCursor, NAME)
            context.projected_height = (
                context.ledger.deployment.deployed_at - 1 if row is None else row.height
            )
        return context.projected_height

    def _advance(self, first: int, last: int) -> int:
        """Apply the events of the next blocks; the last block applied, at or below ``last``."""
        context = self._context
        found = context.view.logs(first, last)
        events = [event for block in found.blocks for event in context.ledger.decode_logs(block)]
        if events or self._keep_is_due():

            def change(session: Session) -> None:
                apply_events(session, events, context)
                session.merge(
                    NodeCursor(name=NAME, height=found.height, block_hash=found.block_hash)
                )

            context.database.write(change)
            self._kept_at = time.monotonic()
        context.projected_height = found.height
        return found.height
