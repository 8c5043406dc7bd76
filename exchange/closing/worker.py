"""Repeats the buyer's proposals of final totals that providers have not answered."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from chain.context import Context
from chain.core.errors import QiaolianError
from exchange.closing import totals
from exchange.closing.buyer import ask_again
from exchange.closing.signing import uncancelled
from registry import fanout
from registry.backoff import Backoff

log = logging.getLogger("qiaolian.closing")

FIRST_PAUSE, MAX_PAUSE = 1.0, 300.0
"""Seconds between two requests to a provider that does not answer."""
ROUND_SECONDS = 30.0
"""How long one agreement may take in a round."""


class ClosingWorker:
    """Repeats proposals that providers have not answered, also after a crash. Belongs to one event
    loop.
    """

    def __init__(self, context: Context, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._clock = clock
        self._pauses = Backoff(first=FIRST_PAUSE, longest=MAX_PAUSE)
        self.has_work = False
        """Whether the last round found proposals without an answer."""

    async def round(self) -> None:
        """Send again every proposal whose pause is over."""
        now = self._clock()
        proposed = await asyncio.to_thread(totals.proposed, self._context)
        self.has_work = bool(proposed)
        due = [agreement_id for agreement_id in proposed if self._pauses.is_due(agreement_id, now)]
        outcomes = await fanout.for_each(due, self._answered, seconds=ROUND_SECONDS)
        for agreement_id, outcome in outcomes.items():
            if isinstance(outcome, QiaolianError):
                self._pauses.failed(agreement_id, now)
                log.info(
                    "a proposed closing has no signature: %s",
                    outcome.sentence,
                    extra={"code": outcome.code},
                )
            else:
                self._pauses.succeeded(agreement_id)

    async def _answered(self, agreement_id: bytes) -> None:
        await uncancelled(ask_again(self._context, agreement_id))
