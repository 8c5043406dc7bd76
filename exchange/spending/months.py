"""Months of the city's calendar."""

from __future__ import annotations

import datetime

from exchange.spending.model import MONTHS


def month_starts(now: int, zone: datetime.tzinfo, count: int = MONTHS) -> list[tuple[str, int]]:
    """The latest months by name with the second each begins at, the earliest first."""
    moment = datetime.datetime.fromtimestamp(now, zone)
    first = datetime.datetime(moment.year, moment.month, 1, tzinfo=zone)
    found = []
    for _ in range(count):
        found.append((f"{first:%Y-%m}", int(first.timestamp())))
        first = (first - datetime.timedelta(days=1)).replace(day=1)
    return found[::-1]
