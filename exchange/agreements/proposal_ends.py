"""How proposals end that never open: withdrawn by the buyer, refused by provider or chain, or too
late; and how both sides learn of it.

The buyer's node knows of a refusal first and reports it to the provider's node until that node has
it. Both find out by themselves that ``openBefore`` has passed, by a proof under a fresh head. What
one side reports of a proposal never outweighs the chain: if it opens the agreement, the agreement
is open.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Conflict, Forbidden, NotFound, QiaolianError
from chain.ethereum.proved_records import ProvedRecords, agreement_records
from chain.outbox import cancel, is_known, outcome
from exchange.agreements import peers, rules, service, stages, store
from exchange.agreements.model import (
    PENDING,
    AgreementSide,
    AgreementStage,
    AgreementView,
    ProposalEnd,
)
from exchange.agreements.store import AgreementRow
from registry import fanout
from registry.backoff import Backoff

log = logging.getLogger("qiaolian.agreements")

MAX_PER_ROUND = 500
MIN_PAUSE, MAX_PAUSE = 1.0, 20.0
"""Seconds between two reports to a provider that does not take them: within 30 s of its return both
sides show the same.
"""
ROUND_SECONDS = 30.0
"""How long one provider may take in a round."""
REPORT_SECONDS = 7 * service.DAY
"""So long after ``openBefore`` an end is reported; a provider that never comes back knows by the
chain's time that it is over.
"""


async def withdraw(context: Context, agreement_id: bytes) -> AgreementView:
    """Take back this node's proposal before it is opened; the agreement. Withdrawing again changes
    nothing.

    It means that this node does not send the opening. If the provider has signed, either side can
    still open the agreement until ``openBefore``; then it is open.

    Raises:
        Forbidden: ``not_buyer``; Conflict: ``agreement_open``, ``opening_sent``,
            ``proposal_ended``; NotFound: ``unknown_agreement``;
            Unavailable: ``chain_view_stale``.
    """
    row = await asyncio.to_thread(service.find, context, agreement_id)
    if row.side != AgreementSide.BUYER:
        raise Forbidden("not_buyer", "Only the buyer withdraws a proposal.")
    rules.require_not_open(await asyncio.to_thread(service.proved_state, context, agreement_id))

    def change(session: Session) -> None:
        stored = store.get(session, agreement_id)
        if stored.state == AgreementStage.WITHDRAWN:
            return
        stages.require_pending(AgreementStage(stored.state), stored.reason)
        operation = service.open_operation(agreement_id)
        if not cancel(session, operation) and is_known(session, operation):
            raise Conflict(
                "opening_sent",
                "The opening is on its way to the chain and cannot be taken back.",
                hint=f"See how it ends: qiaolian operation wait {operation}",
            )
        service.set_end(stored, stages.withdrawn(), now=context.now())

    await context.database.awrite(change)
    return await asyncio.to_thread(service.view, context, agreement_id)


def record_reported_end(
    context: Context, buyer: str, agreement_id: bytes, state: AgreementStage, reason: str
) -> AgreementStage:
    """Record what the buyer's node reports of its proposal, at the provider's; the state here.

    Raises:
        NotFound: ``unknown_agreement``; Forbidden: ``not_party``; BadInput: ``end_malformed``.
    """
    row = service.find(context, agreement_id)
    if row.side != AgreementSide.PROVIDER or row.buyer != buyer:
        raise Forbidden("not_party", "Only the buyer reports how its proposal ended.")
    end = stages.reported_end(state, reason)

    def change(session: Session) -> AgreementStage:
        stored = store.get(session, agreement_id)
        service.set_end(stored, end, now=context.now())
        return AgreementStage(stored.state)

    if service.proved_state(context, agreement_id).opened_at:
        return AgreementStage(row.state)
    return context.database.write(change)


class ProposalWorker:
    """Brings every stored proposal to its end, at both sides; belongs to one event loop."""

    def __init__(self, context: Context, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._clock = clock
        self._pauses = Backoff(first=MIN_PAUSE, longest=MAX_PAUSE)
        self.has_work = False
        """Whether the last round found proposals that may end or have to be reported."""

    async def round(self) -> None:
        """End what has ended, then report it."""
        pending, chain_time = await asyncio.to_thread(self._end_pending)
        now = self._clock()
        by_provider: dict[str, list[AgreementRow]] = {}
        unreported = await asyncio.to_thread(self._unreported)
        self.has_work = bool(pending or unreported)
        for row in unreported:
            if self._pauses.is_due(row.provider, now):
                by_provider.setdefault(row.provider, []).append(row)
        outcomes = await fanout.for_each(
            by_provider,
            lambda provider: self._report_all(provider, by_provider[provider], chain_time, now),
            seconds=ROUND_SECONDS,
        )
        for provider, reported in outcomes.items():
            if isinstance(reported, QiaolianError):
                self._pauses.failed(provider, now)

    # --- ending -----------------------------------------------------------------------------------

    def _end_pending(self) -> tuple[int, int]:
        """Record the end of every pending proposal that cannot open any more; how many were
        pending, and the time of the block it was decided by, in Unix seconds.
        """
        context = self._context
        with context.database.read() as session:
            pending = store.pending(session, MAX_PER_ROUND)
            refusals = {row.agreement_id: _refusal(session, row.agreement_id) for row in pending}

        def ended(
            row: AgreementRow, records: ProvedRecords, *, opened_at: int
        ) -> ProposalEnd | None:
            return stages.end_of(
                AgreementStage(row.state),
                AgreementSide(row.side),
                open_before=int(row.agreement["openBefore"]),
                opened_at=opened_at,
                height=records.height,
                chain_time=records.timestamp,
                refusal=refusals[row.agreement_id],
            )

        # Proved only once time or a refusal gives a reason to: most proposals open within seconds.
        records = context.view.proved(
            [],
            following=lambda found: (
                record
                for row in pending
                if ended(row, found, opened_at=0)
                for record in agreement_records(row.agreement_id)
            ),
            watch=False,
        )
        for row in pending:
            if ended(row, records, opened_at=0):
                opened_at = records.agreement(row.agreement_id).opened_at
                end = ended(row, records, opened_at=opened_at)
                if end is not None:
                    self._store(row.agreement_id, end)
        return len(pending), records.timestamp

    def _store(self, agreement_id: bytes, end: ProposalEnd) -> None:
        def change(session: Session) -> None:
            stored = store.get(session, agreement_id)
            if stored.state in PENDING:
                service.set_end(stored, end, now=self._context.now())
                cancel(session, service.open_operation(agreement_id))

        self._context.database.write(change)

    # --- reporting --------------------------------------------------------------------------------

    def _unreported(self) -> Sequence[AgreementRow]:
        with self._context.database.read() as session:
            return store.unreported_ends(session, MAX_PER_ROUND)

    async def _report_all(
        self, provider: str, rows: list[AgreementRow], chain_time: int, now: float
    ) -> None:
        """Report to one provider until it fails to take one; the others meanwhile."""
        for row in rows:
            open_before = int(row.agreement["openBefore"])
            try:
                await peers.report_end(
                    self._context,
                    provider,
                    row.agreement_id,
                    AgreementStage(row.state),
                    row.reason or "",
                )
            except QiaolianError as error:
                never_signed = isinstance(error, NotFound) and error.code == "unknown_agreement"
                if not (never_signed and chain_time > open_before):
                    self._pauses.failed(provider, now)
                    fields = {"peer": provider, "code": error.code}
                    log.info(
                        "the end of a proposal was not reported: %s", error.sentence, extra=fields
                    )
                    if chain_time <= open_before + REPORT_SECONDS:
                        return
            await self._mark_reported(row.agreement_id)
            self._pauses.succeeded(provider)

    async def _mark_reported(self, agreement_id: bytes) -> None:
        def change(session: Session) -> None:
            store.get(session, agreement_id).reported_at = self._context.now()

        await self._context.database.awrite(change)


def _refusal(session: Session, agreement_id: bytes) -> tuple[str, int] | None:
    """Code and height of the chain's refusal of this node's opening."""
    try:
        found = outcome(session, service.open_operation(agreement_id))
    except NotFound:
        return None
    return None if found.code is None or found.height is None else (found.code, found.height)
