"""View models of the pages of usage. Money in fen, times in Unix seconds."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chain.context import Context
from chain.core.zone import city_zone
from exchange.metering.model import AnsweredCall, CallStatus
from exchange.usage.model import BuyerUsage, Counts, DayUsage, Period, UsageReport, UsageRow
from nodes.console.calls.views import STATES, meaning_of
from nodes.console.i18n import N_
from nodes.console.names import asset_name, member_name

EXPORT_COLUMNS = (
    N_("Day"),
    N_("Buyer"),
    N_("Agreement"),
    N_("Columns"),
    N_("Served"),
    N_("Refused"),
    N_("Voided"),
    N_("Units"),
    N_("Earned (fen)"),
)


@dataclass(frozen=True, slots=True)
class CountsView:
    """Counts with what they are of. ``since`` and ``until`` are the days of the calls behind it."""

    name: str
    id: str
    counts: Counts
    since: str
    until: str


@dataclass(frozen=True, slots=True)
class ColumnView:
    """A column with its calls."""

    name: str
    calls: int


@dataclass(frozen=True, slots=True)
class UsageView:
    """Who used one asset."""

    asset_id: str
    name: str
    total: Counts
    days: list[CountsView]
    months: list[CountsView]
    buyers: list[CountsView]
    columns: list[ColumnView]


@dataclass(frozen=True, slots=True)
class CallView:
    """A call that was answered; ``state`` is a marked label."""

    at: int
    lane: int
    seq: int
    state: str
    reason: str
    units: int
    amount: int
    receipt: str
    served: bool


def date_of(seconds: int) -> str:
    """The city's date of a moment: ``2026-11-30``."""
    return f"{datetime.datetime.fromtimestamp(seconds, city_zone()):%Y-%m-%d}"


def last_day(period: Period) -> str:
    """The last day of a period."""
    return date_of(period.until - 1)


def usage_view(context: Context, report: UsageReport, buyers: Sequence[BuyerUsage]) -> UsageView:
    """The report as its page shows it, with some of its buyers."""
    since, until = date_of(report.period.since), last_day(report.period)
    member = functools.cache(functools.partial(member_name, context))
    return UsageView(
        asset_id="0x" + report.asset_id.hex(),
        name=asset_name(context, report.asset_id),
        total=report.total,
        days=[_day(day) for day in report.days],
        months=[month_view(month) for month in report.months],
        buyers=[
            CountsView(
                member(usage.buyer),
                "0x" + usage.agreement_id.hex(),
                usage.counts,
                since,
                until,
            )
            for usage in buyers
        ],
        columns=[ColumnView(usage.column, usage.calls) for usage in report.columns],
    )


def _day(usage: DayUsage) -> CountsView:
    date = date_of(usage.day)
    return CountsView(date, "", usage.counts, date, date)


def month_view(usage: DayUsage) -> CountsView:
    """A month's counts with its first and last day."""
    first = datetime.datetime.fromtimestamp(usage.day, city_zone())
    following = (first.replace(day=28) + datetime.timedelta(days=4)).replace(day=1)
    last = date_of(int(following.timestamp()) - 1)
    return CountsView(f"{first:%Y-%m}", "", usage.counts, date_of(usage.day), last)


def usage_chart(shown: Sequence[CountsView], served: str, refused: str) -> Mapping[str, Any]:
    """Served and refused calls as bars."""
    return {
        "tooltip": {"trigger": "axis"},
        "legend": {"data": [served, refused]},
        "grid": {"left": 60, "right": 20, "bottom": 40},
        "xAxis": {"type": "category", "data": [row.name for row in shown]},
        "yAxis": {"type": "value", "minInterval": 1},
        "series": [
            {
                "name": served,
                "type": "bar",
                "stack": "calls",
                "color": "#0b5cad",
                "data": [row.counts.served for row in shown],
            },
            {
                "name": refused,
                "type": "bar",
                "stack": "calls",
                "color": "#b35900",
                "data": [row.counts.refused for row in shown],
            },
        ],
    }


def call_view(answered: AnsweredCall, language: str) -> CallView:
    """A call as the list shows it."""
    call = answered.call
    served = call.status is CallStatus.SERVED
    return CallView(
        at=call.at,
        lane=call.lane,
        seq=call.seq,
        state=STATES[call.status],
        reason=meaning_of(call.reason, language),
        units=answered.units if served else 0,
        amount=answered.amount if served else 0,
        receipt="0x" + answered.digest.hex(),
        served=served,
    )


def export_cells(row: UsageRow) -> list[str | int]:
    """One line of the export."""
    counts = row.counts
    return [
        date_of(row.day),
        row.buyer,
        "0x" + row.agreement_id.hex(),
        "、".join(row.columns),
        counts.served,
        counts.refused,
        counts.voided,
        counts.units,
        counts.amount,
    ]
