"""Steps of a deal that this node lacks: fetched from the party that signed them, with retries.

A signed step is sent to the other parties at once (``steps.sign``). That may fail: a node is down,
its chain view is stale, the sender is killed. The chain's events name each step, so missing steps
follow from the database; nothing is queued, and a restart loses nothing. A party that fails to
answer, or whose answer differs from the chain, is asked again after a pause that doubles up to
``MAX_PAUSE``. Other parties are asked meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Sequence

from chain.context import Context
from chain.core.errors import QiaolianError, Unavailable
from chain.statements.property import StepKind
from registry import fanout
from registry.backoff import Backoff
from registry.property import peers, store
from registry.property.deals import find
from registry.property.rules import step_holder
from registry.property.steps import receive_step

log = logging.getLogger("qiaolian.deals")

MIN_PAUSE = 1.0
MAX_PAUSE = 300.0
"""Seconds."""
MAX_CONCURRENT = 100
"""Steps requested of one party in a round."""
ROUND_SECONDS = 30.0
"""How long one party may take in a round."""


class StepDelivery:
    """Fetches the steps that this node lacks; belongs to one event loop."""

    def __init__(self, context: Context, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._clock = clock
        self._looked_at = 0
        """Height up to which the database was searched; a new process searches all of it."""
        self._missing: dict[tuple[bytes, StepKind], str] = {}
        """Missing steps and the member that has each."""
        self._pauses = Backoff(first=MIN_PAUSE, longest=MAX_PAUSE)
        self._reported: dict[Hashable, str] = {}

    @property
    def has_work(self) -> bool:
        """Whether steps are missing."""
        return bool(self._missing)

    async def round(self) -> None:
        """Find steps recorded since the last round and request each missing one that is due."""
        await asyncio.to_thread(self._look)
        by_holder: dict[str, list[tuple[bytes, StepKind]]] = {}
        for missing, holder in self._missing.items():
            by_holder.setdefault(holder, []).append(missing)
        now = self._clock()
        due = [holder for holder in by_holder if self._pauses.is_due(holder, now)]
        outcomes = await fanout.for_each(
            due, lambda holder: self._ask(holder, by_holder[holder], now), seconds=ROUND_SECONDS
        )
        for holder, outcome in outcomes.items():
            if isinstance(outcome, QiaolianError):
                self._failed(holder, outcome, holder, now)

    def _look(self) -> None:
        with self._context.database.read() as session:
            newest = store.last_step_height(session)
            if newest == self._looked_at:
                return
            for missing in store.missing_steps(session, above=self._looked_at, up_to=newest):
                holder = step_holder(missing.terms, missing.step)
                if holder != self._context.member:
                    self._missing[missing.deal_id, missing.step] = holder
        self._looked_at = newest

    async def _ask(
        self, holder: str, missing: Sequence[tuple[bytes, StepKind]], now: float
    ) -> None:
        """Request steps of one party; a failure pauses the party, a refused answer its step."""
        for deal_id, step in [item for item in missing if self._pauses.is_due(item, now)][
            :MAX_CONCURRENT
        ]:
            try:
                await fetch_step(self._context, deal_id, step)
            except Unavailable as error:
                self._failed(holder, error, holder, now)
                return
            except QiaolianError as error:
                self._failed((deal_id, step), error, holder, now)
            else:
                del self._missing[deal_id, step]
                for what in (holder, (deal_id, step)):
                    self._pauses.succeeded(what)
                    self._reported.pop(what, None)

    def _failed(self, what: Hashable, error: QiaolianError, holder: str, now: float) -> None:
        self._pauses.failed(what, now)
        if self._reported.get(what) != error.code:
            self._reported[what] = error.code
            log.warning(
                "a deal's step was not obtained: %s",
                error.sentence,
                extra={"peer": holder, "code": error.code},
            )


async def fetch_step(context: Context, deal_id: bytes, step: StepKind) -> None:
    """Fetch a signed step that this node lacks from its party, with all checks of ``receive_step``.

    Raises:
        Conflict: ``step_taken`` for another statement than the chain has; BadInput:
            ``step_malformed``, ``record_differs``, ``tax_differs``, and what else ``receive_step``
            refuses; Unavailable: the party cannot be reached; and whatever refusal it gives.
    """
    known = await context.database.aread(
        lambda session: store.find_step(session, deal_id, int(step))
    )
    if known is None or known.signature is not None:
        return
    terms = (await asyncio.to_thread(find, context, deal_id)).terms
    signed = await peers.fetch_step(context, terms, step)
    await asyncio.to_thread(receive_step, context, step_holder(terms, step), deal_id, signed)
