"""Acts in this organisation's disputes by itself: a provider claims what nobody acknowledged before
the window of a notice runs out and answers contests; a buyer contests what its own records show to
be wrong, up to a stake; and whoever has a dispute ends it in time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from chain.context import Context
from chain.core.errors import QiaolianError
from chain.ethereum.proved_records import agreement_records
from exchange.agreements import service as agreements
from exchange.disputes import service
from exchange.disputes.model import Dispute, DisputeRole, DisputeStep
from exchange.settlement.rules import closing_window

log = logging.getLogger("qiaolian.disputes")

_QUIET = ("wrong_step", "step_open", "step_over", "receipt_acknowledged", "no_arbiter")
"""What another node, or an earlier round, has made superfluous."""


class DisputeWorker:
    """One round looks at every dispute and every agreement in notice."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._refused: dict[bytes, str] = {}
        self.has_work = False
        """Whether the last round found disputes that have not ended, or receipts to be claimed."""

    async def round(self) -> None:
        """One round, off the event loop."""
        await asyncio.to_thread(self._round)

    def _round(self) -> None:
        ending = agreements.provided_in_notice(self._context)
        waiting = [agreement_id for agreement_id in ending if self._claim_late(agreement_id)]
        disputes = service.live_of_own(self._context)
        self.has_work = bool(disputes or waiting)
        for dispute in disputes:
            self._try(dispute.receipt_id, partial(self._act, dispute))

    def _claim_late(self, agreement_id: bytes) -> bool:
        """Past half of the closing window the buyer's vouchers are not waited for any longer. Each
        receipt is claimed once; whether there are any that were not.
        """
        context = self._context
        if not agreements.load(context, agreement_id).agreement.arbiter:
            return False
        waiting = service.unclaimed(context, agreement_id)
        if waiting and self._is_late(agreement_id):
            for receipt_id, lane in waiting.items():
                self._try(receipt_id, partial(service.claim, context, agreement_id, lane))
        return bool(waiting)

    def _is_late(self, agreement_id: bytes) -> bool:
        agreement = agreements.load(self._context, agreement_id).agreement
        records = self._context.view.proved(agreement_records(agreement_id))
        state = records.agreement(agreement_id)
        window = closing_window(agreement, state, height=records.height, time=records.timestamp)
        return window is not None and window.half and not state.closed_at

    def _act(self, dispute: Dispute) -> None:
        """End the dispute if its step is over; else answer as its provider, or contest as its buyer
        what this node's own records show to be wrong.
        """
        shown = service.show(self._context, dispute.receipt_id)
        if shown.deadline is not None and shown.deadline.over:
            service.end(self._context, dispute.receipt_id)
        elif dispute.role == DisputeRole.PROVIDER and dispute.step == DisputeStep.CONTESTED:
            service.answer(self._context, dispute.receipt_id)
        elif dispute.role == DisputeRole.BUYER and dispute.step == DisputeStep.CLAIMED:
            service.contest_by_itself(self._context, shown)

    def _try(self, name: bytes, act: Callable[[], object]) -> None:
        """Act, and report each new refusal once."""
        try:
            act()
            self._refused.pop(name, None)
        except QiaolianError as error:
            if error.code not in _QUIET and self._refused.get(name) != error.code:
                self._refused[name] = error.code
                log.warning("a dispute waits: %s", error.sentence, extra={"code": error.code})
