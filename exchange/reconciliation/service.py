"""Counting at the nodes, and the supervisor's report over all of them.

Each side's counts come with the other side's last signature of every lane, so neither can lower
its debt or raise its claim. An answer that its signatures do not prove is a finding.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from chain.context import Context
from chain.core.errors import BadInput, Forbidden, QiaolianError, Unavailable
from chain.ethereum.proved_records import TOTALS_RECORDS
from chain.statements.trade import Agreement
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide
from exchange.metering.model import CallStatus
from exchange.metering.store import BUYER, GATEWAY, VOUCHERS, call_at, last_calls
from exchange.reconciliation.model import Comparison, LaneCount, ReconciliationFinding
from exchange.reconciliation.rules import (
    claimed_lanes,
    compare,
    compared_records,
    money_of,
    omitted_lanes,
    read,
)
from exchange.settlement import service as settlement
from registry import fanout
from registry.pages import PageRequest

CONTRACT = "TradeSettlement"
SIDE_SECONDS = 10.0
"""How long each side of an agreement may take to show its counts."""
AGREEMENTS_AT_ONCE = 8


# --- At each side ---------------------------------------------------------------------------------


def counters(
    context: Context, agreement_id: bytes, caller: str, *, supervisor: bool
) -> dict[str, Any]:
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
    table = GATEWAY if signed.side == AgreementSide.PROVIDER else BUYER
    return {
        "side": signed.side,
        "lanes": {
            str(lane): reported for lane, reported in _counted(context, table, agreement_id).items()
        },
    }


def _counted(context: Context, table: sa.Table, agreement_id: bytes) -> dict[int, dict[str, Any]]:
    status_counts = (
        sa.select(table.c.lane, table.c.status, sa.func.count())
        .where(table.c.agreement_id == agreement_id)
        .group_by(table.c.lane, table.c.status)
    )
    with context.database.read() as session:
        reported: dict[int, dict[str, Any]] = {}
        for lane, row in last_calls(session, table, agreement_id).items():
            reported[lane] = _lane_count(
                row,
                call_at(session, table, agreement_id, lane, row.seq - 1)
                if _is_outstanding(row)
                else None,
            )
        for lane, status, count in session.execute(status_counts):
            reported[lane]["void_count" if status == CallStatus.VOID else status] = count
        for row in session.execute(
            sa.select(VOUCHERS).where(VOUCHERS.c.agreement_id == agreement_id)
        ):
            if row.lane in reported:
                reported[row.lane]["voucher"] = {
                    "voucher": json.loads(row.voucher),
                    "signature": "0x" + row.signature.hex(),
                }
    return reported


def _lane_count(row: Any, before: Any) -> dict[str, Any]:
    """A lane's count with its proofs; an unanswered last request is not counted as a position."""
    waiting = _is_outstanding(row)
    reported: dict[str, Any] = {
        "seq": row.seq - waiting,
        "units": row.units,
        "amount": row.amount,
        "outstanding": int(waiting),
        "request": _proof("request", row.request, row.request_signature),
    }
    last = before if waiting else row
    if last is None:
        return reported
    if last.void is not None:
        reported["void"] = _proof("void", last.void, last.void_signature)
    elif last.receipt is not None:
        reported["receipt"] = _proof("receipt", last.receipt, last.receipt_signature)
    return reported


def _is_outstanding(row: Any) -> bool:
    return row.status in (CallStatus.ASKED, CallStatus.CONFLICT)


def _proof(name: str, text: str, signature: bytes) -> dict[str, Any]:
    return {name: json.loads(text), "signature": "0x" + signature.hex()}


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
    records = context.view.proved(
        compared_records(agreement, shown_lanes | paid_lanes),
        following=lambda found: omitted_lanes(agreement, shown_lanes | paid_lanes, found),
        watch=False,
    )
    claimed = claimed_lanes(agreement, shown_lanes, records)
    state = records.agreement(agreement_id)
    closed = state.closed_at != 0
    agreed = closed and any(records.final_settlement(agreement_id))
    compared = compare(
        agreement_id, reported[0], reported[1], claimed, contradicted, closed=closed, agreed=agreed
    )
    paid_to = {
        share.member: records.paid_to(agreement_id, share.member) for share in agreement.shares
    }
    compared.money = money_of(agreement, reported[0], reported[1], state, paid_to, agreed=agreed)
    return compared


def shown(compared: Comparison) -> dict[str, Any]:
    """One agreement's outcome as the API gives it."""
    return {
        "agreementId": "0x" + compared.agreement_id.hex(),
        "agree": compared.agree,
        "lanes": {str(lane): reported for lane, reported in compared.lanes.items()},
        "findings": [finding.to_json() for finding in compared.findings],
        "money": None if compared.money is None else compared.money.to_json(),
    }


async def report(
    context: Context, page: PageRequest, *, state: str | None = None
) -> dict[str, Any]:
    """The report over a page of the agreements on the chain: what was covered, where the counts
    differ, the conservation checks.

    Sums are of the agreements in it; whether the money is conserved is of all.

    Raises:
        BadInput: ``cursor_malformed``; Unavailable: ``chain_view_stale``.
    """
    records = await context.view.aproved(TOTALS_RECORDS)
    totals = records.totals()
    opened = await asyncio.to_thread(agreements.opened, context, page, state=state)
    compared = await _reconciled(context, opened.rows)
    return {
        "height": records.height,
        "projectedHeight": context.projected_height,
        "at": context.now(),
        "agreements": [shown(one) for one in compared],
        "next": opened.next,
        "covered": {
            "agreements": len(compared),
            "lanes": sum(len(comparison.lanes) for comparison in compared),
            "positions": sum(
                reported["gateway"]["seq"]
                for comparison in compared
                for reported in comparison.lanes.values()
                if reported["gateway"]
            ),
        },
        "lost": str(sum(one.money.lost for one in compared if one.money is not None)),
        "countersAgree": all(comparison.agree for comparison in compared),
        "conserved": totals.deposited == totals.withdrawn + totals.free + totals.locked,
    }


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


async def _ask(context: Context, member: str, agreement_id: bytes) -> dict[str, Any]:
    if member == context.member:
        answer: Any = await asyncio.to_thread(
            counters, context, agreement_id, member, supervisor=False
        )
    else:
        answer = await context.peers.get(
            member, f"/v1/peer/agreements/0x{agreement_id.hex()}/counters"
        )
    lanes = answer.get("lanes") if isinstance(answer, dict) else None
    if not isinstance(lanes, dict):
        raise BadInput("counts_malformed", "Counts are not a JSON object with lanes.")
    return lanes
