"""View models of the pages of earnings. Money in fen, times in Unix seconds."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chain.context import Context
from exchange.agreements.model import AgreementStage
from exchange.settlement.earnings import AgreementEarnings
from exchange.usage.model import MonthlyEarning
from nodes.console.agreements.views import STATES
from nodes.console.i18n import N_
from nodes.console.names import asset_name, member_name
from nodes.console.usage.views import CountsView, date_of

EXPORT_COLUMNS = (
    N_("Month"),
    N_("Agreement"),
    N_("Asset"),
    N_("Buyer"),
    N_("Served"),
    N_("Earned (fen)"),
)


@dataclass(frozen=True, slots=True)
class EarningsRow:
    """An agreement's money; ``state`` is a marked label."""

    id: str
    asset: str
    buyer: str
    state: str
    settled: bool
    delivered: int
    claimed: int
    unclaimed: int
    unacknowledged: int


@dataclass(frozen=True, slots=True)
class MonthRow:
    """An agreement's money of one month."""

    month: str
    id: str
    asset: str
    asset_id: str
    buyer: str
    served: int
    amount: int


def earnings_row(context: Context, row: AgreementEarnings) -> EarningsRow:
    """An agreement as the page shows it."""
    view = row.agreement
    return EarningsRow(
        id="0x" + view.agreement_id.hex(),
        asset=asset_name(context, view.agreement.asset_id),
        buyer=member_name(context, view.agreement.buyer),
        state=STATES[view.state],
        settled=view.state is AgreementStage.CLOSED,
        delivered=row.counts.amount,
        claimed=row.claimed,
        unclaimed=row.unclaimed,
        unacknowledged=row.unacknowledged,
    )


def month_rows(context: Context, rows: Sequence[MonthlyEarning]) -> list[MonthRow]:
    """Months of agreements as the page shows them; each name is looked up once."""
    asset = functools.cache(functools.partial(asset_name, context))
    member = functools.cache(functools.partial(member_name, context))
    return [
        MonthRow(
            month=date_of(row.month)[:7],
            id="0x" + row.usage.agreement_id.hex(),
            asset=asset(row.usage.asset_id),
            asset_id="0x" + row.usage.asset_id.hex(),
            buyer=member(row.usage.buyer),
            served=row.usage.counts.served,
            amount=row.usage.counts.amount,
        )
        for row in rows
    ]


def months_chart(months: Sequence[CountsView], label: str) -> Mapping[str, Any]:
    """Yuan of each month as bars; the earliest first."""
    sums = {month.name: month.counts.amount for month in reversed(months)}
    return {
        "tooltip": {"trigger": "axis"},
        "grid": {"left": 70, "right": 20, "bottom": 40},
        "xAxis": {"type": "category", "data": list(sums)},
        "yAxis": {"type": "value"},
        "series": [
            {
                "name": label,
                "type": "bar",
                "color": "#0b5cad",
                "data": [f"{fen // 100}.{fen % 100:02d}" for fen in sums.values()],
            }
        ],
    }


def export_cells(row: MonthRow) -> list[str | int]:
    """One line of the export."""
    return [row.month, row.id, row.asset, row.buyer, row.served, row.amount]
