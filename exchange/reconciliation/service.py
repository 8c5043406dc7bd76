"""Counting at the nodes, and the supervisor's report over all of them.

Each side's counts come with the other side's last signature of every lane, so neither can lower
its debt or raise its claim. An answer that its signatures do not prove is a finding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from chain.context import Context
from chain.core.errors import Forbidden, QiaolianError, Unavailable
from chain.ethereum.proved_records import TOTALS_RECORDS
from chain.statements.trade import Agreement
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide
from exchange.metering import records
from exchange.reconciliation import peers
from exchange.reconciliation.model import (
    Comparison,
    LaneCount,
    ReconciliationFinding,
    ReconciliationReport,
    SideCounts,
)
from exchange.reconciliation.rules import (
    claimed_lanes,
    compare,
    compared_records,
    money_of,
    omitted_lanes,
    read,
    rights_findings,
)
from exchange.settlement import service as settlement
from exchange.settlement.rules import totals_balance
from registry import fanout
from registry.pages import PageRequest

CONTRACT = "TradeSettlement"
SIDE_SECONDS = 10.0
"""How long each side of an agreement may take to show its counts."""
AGREEMENTS_AT_ONCE = 8


# --- At each side ---------------------------------------------------------------------------------


def counters(context: Context, agreement_id: bytes, caller: str, *, supervisor: bool) -> SideCounts:
    """This node's counts of an agreement's lanes, for the other party or a supervisor;
    ``not_party`` for anybody else.
    """
    signed = agreements.load(context, agreement_id)
    if not supervisor and caller not in (
        signed.agreement.provider,
        signed.agreement.buyer,
        context.member,
    ):
        raise Forbidden("not_party", "Counts are for the parties and supervisors.")
    if signed.side == AgreementSide.OBSERVER:
        raise Forbidden("not_party", "This node is no party of the agreement.")
    return SideCounts(signed.side, records.lanes(context, signed.side, agreement_id))


# --- At the supervisor ----------------------------------------------------------------------------


async def reconcile(
    context: Context, agreement_id: bytes, *, silent: set[str] | None = None
) -> Comparison:
    """Ask both nodes and the chain about one agreement.

    Args:
        silent: members that did not answer lately; they are not asked, and a member that does not
            answer now joins them.
    """
    unheard: set[str] = set() if silent is None else silent
    agreement = (await asyncio.to_thread(agreements.load, context, agreement_id)).agreement
    members = {"provider": agreement.provider, "buyer": agreement.buyer}

    async def counted(side: str) -> tuple[dict[int, LaneCount], list[ReconciliationFinding]]:
        if members[side] in unheard:
            raise Unavailable("peer_timeout", "The member's node did not answer before.")
        answer = await _ask(context, members[side], agreement_id)
        return read(side, agreement, answer, context.domain(CONTRACT))

    outcomes = await fanout.for_each(members, counted, seconds=SIDE_SECONDS)
    unheard.update(
        members[side] for side, outcome in outcomes.items() if isinstance(outcome, Unavailable)
    )
    return await asyncio.to_thread(_compared, context, agreement_id, agreement, outcomes)


def _compared(
    context: Context,
    agreement_id: bytes,
    agreement: Agreement,
    outcomes: Mapping[
        str, tuple[dict[int, LaneCount], list[ReconciliationFinding]] | QiaolianError
    ],
) -> Comparison:
    """What both sides showed, held against the chain. A side that showed nothing is None."""
    reported: list[dict[int, LaneCount] | None] = []
    contradicted: list[ReconciliationFinding] = []
    for side in ("provider", "buyer"):
        outcome = outcomes[side]
        if isinstance(outcome, QiaolianError):
            reported.append(None)
            continue
        reported.append(outcome[0])
        contradicted.extend(outcome[1])
    shown_lanes = {lane for counts in reported if counts for lane in counts}
    paid_lanes = settlement.claimed_lanes(context, agreement_id)
    proved = context.view.proved(
        compared_records(agreement, shown_lanes | paid_lanes),
        following=lambda found: omitted_lanes(agreement, shown_lanes | paid_lanes, found),
        watch=False,
    )
    claimed = claimed_lanes(agreement, shown_lanes, proved)
    state = proved.agreement(agreement_id)
    closed = state.closed_at != 0
    agreed = closed and any(proved.final_settlement(agreement_id))
    compared = compare(
        agreement_id, reported[0], reported[1], claimed, contradicted, closed=closed, agreed=agreed
    )
    compared.findings.extend(
        rights_findings(agreement, reported[0], proved.grant(agreement.grant_id))
    )
    paid_to = {
        share.member: proved.paid_to(agreement_id, share.member) for share in agreement.shares
    }
    compared.money = money_of(agreement, reported[0], reported[1], state, paid_to, agreed=agreed)
    return compared


async def report(
    context: Context, page: PageRequest, *, state: str | None = None
) -> ReconciliationReport:
    """The report over a page of the agreements on the chain: what was covered, where the counts
    differ, the conservation checks.

    Raises:
        BadInput: ``cursor_malformed``; Unavailable: ``chain_view_stale``.
    """
    proved = await context.view.aproved(TOTALS_RECORDS)
    opened = await asyncio.to_thread(agreements.opened, context, page, state=state)
    return ReconciliationReport(
        height=proved.height,
        projected_height=context.projected_height,
        agreements=await _reconciled(context, opened.rows),
        next=opened.next,
        conserved=totals_balance(proved.totals()),
        at=context.now(),
    )


async def _reconciled(context: Context, opened: Sequence[bytes]) -> list[Comparison]:
    """Every agreement, several at a time. A silent member costs one time limit, not one for each
    agreement.
    """
    semaphore = asyncio.Semaphore(AGREEMENTS_AT_ONCE)
    silent: set[str] = set()

    async def one(agreement_id: bytes) -> Comparison:
        async with semaphore:
            return await reconcile(context, agreement_id, silent=silent)

    return await asyncio.gather(*(one(agreement_id) for agreement_id in opened))


async def _ask(context: Context, member: str, agreement_id: bytes) -> Mapping[str, Any]:
    """A member's counts by lane as its node reports them; this node's own in the same form."""
    if member != context.member:
        return await peers.counters(context, member, agreement_id)
    own = await asyncio.to_thread(counters, context, agreement_id, member, supervisor=False)
    return own.lanes_json()
