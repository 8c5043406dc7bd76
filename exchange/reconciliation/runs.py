"""The supervisor's runs: every agreement compared in the background, page by page.

A run continues where it was after a crash. A finding is followed from run to run: it is settled
when a run compares its agreement and does not find it any more.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Forbidden
from chain.statements.members import Role
from chain.statements.trade import Agreement
from exchange.agreements import service as agreements
from exchange.reconciliation import service, store
from exchange.reconciliation.model import (
    CONTRADICTIONS,
    Comparison,
    OpenFinding,
    ReconciliationFinding,
    ReconciliationReport,
    ReconciliationRun,
    RunState,
)
from exchange.reconciliation.rules import ANSWER_SECONDS
from registry.pages import Page, PageRequest

PAGE_ROWS = 50
FOLLOWED = (*CONTRADICTIONS, "lost")
"""Kinds of findings that are followed; money not claimed yet is none of them."""


def require_supervisor(context: Context) -> None:
    """Require that this node is a supervisor's; ``not_supervisor``."""
    if not context.roles & Role.SUPERVISOR:
        raise Forbidden(
            "not_supervisor", "The report over everybody's agreements is the supervisor's."
        )


def start(context: Context) -> ReconciliationRun:
    """Start a run; while one is under way, that one is returned. ``not_supervisor``."""
    require_supervisor(context)

    def change(session: Session) -> ReconciliationRun:
        return store.running(session) or store.start_run(session, context.now())

    return context.database.write(change)


def listing(context: Context, page: PageRequest) -> Page[ReconciliationRun]:
    """Runs, the latest first; ``not_supervisor``, ``cursor_malformed``."""
    require_supervisor(context)
    with context.database.read() as session:
        return store.runs_page(session, page)


def findings(
    context: Context, page: PageRequest, *, settled: bool = False, kinds: Sequence[str] = ()
) -> Page[OpenFinding]:
    """Open or settled findings, the latest first; ``not_supervisor``, ``cursor_malformed``."""
    require_supervisor(context)
    with context.database.read() as session:
        return store.findings_page(session, page, settled=settled, kinds=kinds)


def open_counts(context: Context) -> tuple[int, int]:
    """The numbers of open and of overdue findings."""
    with context.database.read() as session:
        return store.count_open(session), store.count_open(session, due_before=context.now())


class RunWorker:
    """Carries out the run that is under way, one page of agreements a round."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.has_work = False
        """Whether a run is under way."""

    async def round(self) -> None:
        """Compare the next agreements of the run, if there is one."""
        context = self._context
        run = await context.database.aread(store.running)
        self.has_work = run is not None
        if run is None:
            return
        found = await service.report(context, PageRequest(PAGE_ROWS, run.cursor))
        ids = [compared.agreement_id for compared in found.agreements]
        terms = await asyncio.to_thread(agreements.terms_of, context, ids)
        now = context.now()

        def change(session: Session) -> ReconciliationRun:
            for compared in found.agreements:
                _follow(session, compared, terms[compared.agreement_id], now)
            after = _advanced(run, found, now)
            store.save_run(session, after)
            return after

        after = await context.database.awrite(change)
        self.has_work = after.state is RunState.RUNNING


def _advanced(run: ReconciliationRun, found: ReconciliationReport, now: int) -> ReconciliationRun:
    """The run after one page."""
    contradictions = sum(
        finding.kind in CONTRADICTIONS
        for compared in found.agreements
        for finding in compared.findings
    )
    over = found.next is None
    return replace(
        run,
        state=RunState.DONE if over else RunState.RUNNING,
        finished_at=now if over else None,
        agreements=run.agreements + len(found.agreements),
        lanes=run.lanes + found.lanes,
        positions=run.positions + found.positions,
        findings=run.findings + contradictions,
        lost=run.lost + found.lost,
        conserved=found.conserved and run.conserved is not False,
        cursor=found.next or "",
    )


def _follow(session: Session, compared: Comparison, terms: Agreement, now: int) -> None:
    """Store what was found of an agreement, and settle what was not found again."""
    known: dict[tuple[str, int | None, str], list[OpenFinding]] = {}
    for item in store.open_of(session, compared.agreement_id):
        known.setdefault(_subject(item.finding), []).append(item)
    for finding in compared.findings:
        if finding.kind not in FOLLOWED:
            continue
        before = known.get(_subject(finding))
        if before:
            store.seen_again(session, before.pop(0).id, finding, now)
            continue
        item = OpenFinding(
            id=0,
            agreement_id=compared.agreement_id,
            provider=terms.provider,
            buyer=terms.buyer,
            finding=finding,
            first_seen=now,
            last_seen=now,
            due_at=now + ANSWER_SECONDS,
            settled_at=None,
        )
        store.add_finding(session, item)
    unreachable = any(finding.kind == "unreachable" for finding in compared.findings)
    for item in itertools.chain.from_iterable(known.values()):
        # A side that showed nothing settles nothing.
        if not unreachable or item.finding.kind == "unreachable":
            store.settle(session, item.id, now)


def _subject(finding: ReconciliationFinding) -> tuple[str, int | None, str]:
    """What a finding is about, from run to run."""
    return finding.kind, finding.lane, finding.side
