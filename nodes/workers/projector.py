"""Follows the contracts' events up to the view's head and hands them, in chain order, to the packages that keep books
of them.

Events and the cursor are stored in one database transaction, so a kill neither loses an event nor applies one twice.
The blocks that events name are checked against the view's sealed headers; a chain node that lags behind the view is
waited for. What allows something is never read from these books but from proved words.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from sqlalchemy.orm import Session

from chain.context import Context
from chain.errors import QiaolianError, Unavailable
from chain.ledger import Event
from nodes.routers import apply_events
from nodes.store import NodeCursor

NAME = "projector"
BLOCKS_AT_ONCE = 1_000
_KEEP_SECONDS = 30.0


class Projector:
    """One node's follower."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._height: int | None = None
        self._kept_at = 0.0

    async def round(self) -> None:
        """Take everything up to the head."""
        await asyncio.to_thread(self._catch_up)

    def _catch_up(self) -> None:
        try:
            head = self._context.view.head
        except QiaolianError:
            return
        at = self._cursor()
        while at < head.height:
            end = min(head.height, at + BLOCKS_AT_ONCE)
            self._advance(at + 1, end)
            at = end

    def _cursor(self) -> int:
        if self._height is None:
            with self._context.database.read() as session:
                row = session.get(NodeCursor, NAME)
            self._height = self._context.ledger.deployment.deployed_at - 1 if row is None else row.height
        return self._height

    def _advance(self, start: int, end: int) -> None:
        context = self._context
        events = context.ledger.events(start, end)
        # Asked after the events: a node that had not reached the end could have left some out.
        if context.ledger.height() < end:
            context.ledger.rpc.pass_over()
            raise Unavailable("chain_node_lags", "The chain node is behind the view.", hint="It is waited for.")
        self._require_sealed(events)
        last_hash = context.view.header(end).block_hash
        if events or time.monotonic() - self._kept_at > _KEEP_SECONDS:

            def change(session: Session) -> None:
                apply_events(session, events, context)
                session.merge(NodeCursor(name=NAME, height=end, block_hash=last_hash))

            context.database.write(change)
            self._kept_at = time.monotonic()
        self._height = end

    def _require_sealed(self, events: Sequence[Event]) -> None:
        for height, block_hash in {(event.height, event.block_hash) for event in events}:
            if self._context.view.header(height).block_hash != block_hash:
                self._context.ledger.rpc.pass_over()
                raise Unavailable(
                    "chain_header_refused",
                    f"The chain node gave events of another block {height}.",
                    hint="Use another node.",
                )
