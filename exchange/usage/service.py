"""Counting calls, and reports of the counts."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import BadInput
from chain.core.zone import city_zone, day_start, month_start
from exchange.usage import store
from exchange.usage.model import (
    AssetUsage,
    ColumnUsage,
    CountedCall,
    Counts,
    DayUsage,
    MonthlyEarning,
    Period,
    UsageReport,
    UsageRow,
)
from registry.pages import Page, PageRequest

DEFAULT_DAYS = 30
MAX_DAYS = 3_660


def record(session: Session, calls: Iterable[CountedCall]) -> None:
    """Count calls, in the transaction that stores their receipts or voids."""
    rows: dict[tuple[bytes, int, tuple[str, ...]], UsageRow] = {}
    assets: dict[bytes, bytes] = {}
    for call in calls:
        day = day_start(call.at)
        columns = tuple(sorted(set(call.columns)))
        key = (call.agreement_id, day, columns)
        before = rows.get(key)
        counts = call.counts if before is None else before.counts + call.counts
        rows[key] = UsageRow(day, call.buyer, call.agreement_id, columns, counts)
        assets[call.agreement_id] = call.asset_id
    if rows:
        store.add(session, list(rows.values()), assets)


def period_of(context: Context, *, since: str = "", until: str = "") -> Period:
    """The period between two days of the city's calendar, both included; by default the last 30
    days.

    Args:
        since, until: dates such as ``2026-11-30``.

    Raises:
        BadInput: ``period_malformed``.
    """
    now = context.now()
    try:
        last = now if not until else _moment(until)
        end = day_start(last, days=1)
        begin = day_start(now if not until else last, days=1 - DEFAULT_DAYS)
        if since:
            begin = _moment(since)
    except ValueError as error:
        raise _malformed() from error
    if not begin < end or end - begin > MAX_DAYS * 86_400:
        raise _malformed()
    return Period(begin, end)


def assets(context: Context, period: Period) -> list[AssetUsage]:
    """Every asset that was asked for in a period, the most asked for first."""
    with context.database.read() as session:
        return store.by_asset(session, period)


def report(context: Context, asset_id: bytes, period: Period) -> UsageReport:
    """Who used an asset in a period: by day, month, buyer and column."""
    with context.database.read() as session:
        days = store.by_day(session, period, asset_id=asset_id)
        buyers = store.by_buyer(session, asset_id, period)
        columns = store.by_columns(session, asset_id, period)
    return UsageReport(
        asset_id=asset_id,
        period=period,
        total=sum((day.counts for day in days), Counts()),
        days=days,
        months=months(days),
        buyers=buyers,
        columns=calls_by_column(columns),
    )


def rows(context: Context, page: PageRequest, asset_id: bytes, period: Period) -> Page[UsageRow]:
    """The counts of an asset by day, agreement and columns; ``cursor_malformed``."""
    with context.database.read() as session:
        return store.page(session, page, asset_id, period)


def by_agreement(context: Context, agreement_ids: Sequence[bytes]) -> dict[bytes, Counts]:
    """The counts of each of some agreements, at most as many as a list shows."""
    with context.database.read() as session:
        return store.by_agreement(session, agreement_ids)


def total(context: Context) -> Counts:
    """The counts of all calls that this gateway answered."""
    with context.database.read() as session:
        return store.total(session)


def monthly(context: Context, period: Period) -> list[MonthlyEarning]:
    """What each agreement earned in each month of a period, the latest month first."""
    found: list[MonthlyEarning] = []
    with context.database.read() as session:
        for part in months_of(period):
            month = month_start(part.since)
            whole = _is_whole(context, part)
            used = store.of_month(session, month) if whole else store.by_agreement_in(session, part)
            used.sort(key=lambda usage: (-usage.counts.amount, usage.agreement_id))
            found += [MonthlyEarning(month, usage) for usage in used]
    return found


def months_of(period: Period) -> list[Period]:
    """The parts of a period that lie in one month each, the latest first."""
    found, since = [], period.since
    while since < period.until:
        until = min(period.until, _next_month(since))
        found.append(Period(since, until))
        since = until
    return found[::-1]


def earned_months(
    context: Context, period: Period, agreement_id: bytes | None = None
) -> list[DayUsage]:
    """What was earned in each month, in all or under one agreement, the latest month first."""
    found: list[DayUsage] = []
    with context.database.read() as session:
        for part in months_of(period):
            query = store.by_month if _is_whole(context, part) else store.by_day
            found += months(query(session, part, agreement_id=agreement_id))
    return found


def _is_whole(context: Context, part: Period) -> bool:
    """Whether a part of a month holds all that was counted in the month so far."""
    ends = min(_next_month(part.since), day_start(context.now(), days=1))
    return part.since == month_start(part.since) and part.until >= ends


def months(days: Sequence[DayUsage]) -> list[DayUsage]:
    """Days added up by month, in order."""
    found: defaultdict[int, Counts] = defaultdict(Counts)
    for day in days:
        found[month_start(day.day)] += day.counts
    return [DayUsage(month, counts) for month, counts in sorted(found.items())]


def calls_by_column(sets: Mapping[tuple[str, ...], int]) -> list[ColumnUsage]:
    """The number of calls that delivered each column, the most delivered first."""
    found: defaultdict[str, int] = defaultdict(int)
    for columns, calls in sets.items():
        for column in columns or ("",):
            found[column] += calls
    return [
        ColumnUsage(column, calls)
        for column, calls in sorted(found.items(), key=lambda item: (-item[1], item[0]))
        if calls
    ]


def _next_month(day: int) -> int:
    """The first midnight after a day's month."""
    first = datetime.datetime.fromtimestamp(month_start(day), city_zone())
    later = first + datetime.timedelta(days=32)
    return month_start(int(later.timestamp()))


def _moment(date: str) -> int:
    found = datetime.date.fromisoformat(date)
    if not 1970 < found.year < 2500:
        raise ValueError("year")
    return int(
        datetime.datetime(found.year, found.month, found.day, tzinfo=city_zone()).timestamp()
    )


def _malformed() -> BadInput:
    return BadInput(
        "period_malformed",
        "A period is two dates, the first not after the second, ten years at most.",
        hint="Write dates as 2026-11-30.",
    )
