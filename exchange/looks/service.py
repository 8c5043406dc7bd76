"""Who looked at a subject's record and why, and whether the account of it is complete.

The account is the provider's: each call left a receipt in its gateway, its log and, once claimed,
on the chain; the buyer keeps the same call on its own side. The check compares all four.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping

from chain.context import Context
from chain.core.errors import QiaolianError
from chain.ethereum.proved_records import lane_record
from chain.statements.members import Role
from chain.statements.trade import Agreement
from exchange.agreements import service as agreements
from exchange.looks import peers
from exchange.looks.model import AccountCheck, LaneAccount
from exchange.looks.rules import account_findings
from exchange.metering import looks
from exchange.metering.digests import settlement_digest
from exchange.metering.look_model import Look, Position
from registry.evidence import log as evidence_log
from registry.pages import Page, PageRequest

_PEER_SECONDS = 10.0


def looks_at(context: Context, subject: str, page: PageRequest) -> Page[Look]:
    """Who asked for a subject's record here, the latest first: at a department its gateway's calls,
    at a bank its own.

    Raises:
        BadInput: ``cursor_malformed``.
    """
    if context.roles & Role.DEPARTMENT:
        return looks.served(context, subject, page)
    return looks.bought(context, subject, page)


def positions_for(context: Context, provider: str, subject: str) -> list[Position]:
    """This buyer's answered calls for a subject under its agreements with a provider, which asks:
    it answered every one of them.
    """
    bought = agreements.bought_from(context, provider)
    return sorted(looks.bought_positions(context, subject, bought))[: peers.MAX_POSITIONS]


async def check(context: Context, subject: str) -> AccountCheck:
    """Compare this gateway's account of a subject's looks with its receipts, its log, the chain's
    proved lanes and every buyer's own account.

    Raises:
        Unavailable: ``chain_view_stale``.
    """
    provided = await asyncio.to_thread(agreements.provided, context)
    terms = await asyncio.to_thread(agreements.terms_of, context, provided)
    lanes, height = await asyncio.to_thread(_lanes, context, terms)
    ours = _by_buyer(
        await asyncio.to_thread(looks.served_positions, context, subject, provided), terms
    )
    missing = await asyncio.to_thread(_missing_in_log, context, subject)
    buyers = sorted({agreement.buyer for agreement in terms.values()})
    theirs = dict(
        zip(
            buyers,
            await asyncio.gather(*(_asked(context, buyer, subject) for buyer in buyers)),
            strict=True,
        )
    )
    return AccountCheck(
        looks=sum(map(len, ours.values())),
        agreements=len(terms),
        calls=sum(lane.calls for lane in lanes),
        buyers=len(buyers),
        height=height,
        findings=account_findings(
            lanes, ours, theirs, provider=context.member, missing_in_log=missing
        ),
    )


def _lanes(context: Context, terms: Mapping[bytes, Agreement]) -> tuple[list[LaneAccount], int]:
    """Each used lane with what the chain was claimed up to, and the block of the proof."""
    counts = looks.lane_counts(context, terms)
    proved = context.view.proved([lane_record(lane.agreement_id, lane.lane) for lane in counts])
    return [
        LaneAccount(
            agreement_id=lane.agreement_id,
            buyer=terms[lane.agreement_id].buyer,
            lane=lane.lane,
            calls=lane.calls,
            last=lane.last,
            unnamed=lane.unnamed,
            claimed=proved.lane(lane.agreement_id, lane.lane).seq,
        )
        for lane in counts
    ], proved.height


def _by_buyer(
    positions: Collection[Position], terms: Mapping[bytes, Agreement]
) -> dict[str, set[Position]]:
    found: dict[str, set[Position]] = defaultdict(set)
    for position in positions:
        found[terms[position.agreement_id].buyer].add(position)
    return found


def _missing_in_log(context: Context, subject: str) -> int:
    """The number of receipts of a subject's calls that are missing from this node's log."""
    digest = settlement_digest(context)
    digests = [digest(receipt) for receipt in looks.receipts_about(context, subject)]
    return len(digests) - evidence_log.count_known(context, digests)


async def _asked(context: Context, buyer: str, subject: str) -> set[Position] | None:
    """A buyer's own account; None where its node does not give it."""
    try:
        async with asyncio.timeout(_PEER_SECONDS):
            return await peers.positions_of(context, buyer, subject)
    except (QiaolianError, TimeoutError):
        return None
