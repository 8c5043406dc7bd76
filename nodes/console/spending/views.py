"""View models of the pages of spending. Money in fen, times in Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chain.context import Context
from exchange.spending.model import AgreementSpending, Alarm, Spending
from nodes.console.exports import Cell
from nodes.console.i18n import N_, gettext
from nodes.console.names import asset_name, member_name

ALARMS: Mapping[Alarm, str] = {
    Alarm.CAP_REACHED: N_("The cap is reached; further calls are refused."),
    Alarm.CAP_NEAR: N_("At least 80 per cent of the cap is used."),
    Alarm.CAP_BEFORE_END: N_("At the present rate the cap is reached before the agreement ends."),
    Alarm.ENDS_SOON: N_("The agreement ends within 14 days."),
}


@dataclass(frozen=True, slots=True)
class SpendingRowView:
    """An agreement's spending; ``alarms`` are marked labels."""

    id: str
    asset: str
    provider: str
    amount: int
    this_month: int
    paid: int
    cap: int
    left: int
    percent: int
    cap_at: int | None
    rate_days: int
    rate: int
    """Fen spent in these days."""
    ends_at: int
    alarms: list[str]
    months: list[int]


def row_view(context: Context, row: AgreementSpending, months: list[str]) -> SpendingRowView:
    """One agreement as the page shows it."""
    fen = [row.months.get(month, 0) for month in months]
    return SpendingRowView(
        id="0x" + row.agreement_id.hex(),
        asset=asset_name(context, row.asset_id),
        provider=member_name(context, row.provider),
        amount=row.amount,
        this_month=fen[-1] if fen else 0,
        paid=row.paid,
        cap=row.cap,
        left=row.left,
        percent=min(100, row.amount * 100 // row.cap) if row.cap else 0,
        cap_at=row.forecast.cap_at,
        rate_days=row.forecast.days,
        rate=row.forecast.spent,
        ends_at=row.ends_at,
        alarms=[ALARMS[alarm] for alarm in row.alarms],
        months=fen,
    )


def chart(spending: Spending) -> dict[str, Any]:
    """The ECharts option of the sums by month, in yuan."""
    sums = spending.by_month
    return {
        "grid": {"left": 70, "right": 20, "top": 30, "bottom": 40},
        "xAxis": {"type": "category", "data": list(sums)},
        "yAxis": {"type": "value", "name": gettext("Yuan")},
        "series": [{"type": "bar", "data": [fen / 100 for fen in sums.values()]}],
        "tooltip": {"trigger": "axis"},
    }


EXPORT_COLUMNS = (
    N_("Agreement"),
    N_("Asset"),
    N_("Provider"),
    N_("Spent (yuan)"),
    N_("Cap (yuan)"),
    N_("Left (yuan)"),
)


def export_cells(row: SpendingRowView) -> list[Cell]:
    """One line of the export, then its months."""
    amounts = (row.amount, row.cap, row.left, *row.months)
    return [row.id, row.asset, row.provider, *(plain_yuan(fen) for fen in amounts)]


def plain_yuan(fen: int) -> str:
    """Yuan without separators, as spreadsheets read a number."""
    return f"{fen // 100}.{fen % 100:02d}"
