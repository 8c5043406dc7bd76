"""Sums by month, forecast and alarms of spending. Pure; plain arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

from chain.statements.trade import Agreement
from exchange.metering.model import SpentTotals
from exchange.spending.model import RATE_DAYS, Alarm, Forecast

DAY = 86_400
NEAR_PERCENT = 80
SOON_DAYS = 14


def by_month(names: Sequence[str], before: Sequence[int], now: int) -> dict[str, int]:
    """Fen of each month from the totals before each month and those of now."""
    ends = [*before[1:], now]
    return {name: end - begin for name, begin, end in zip(names, before, ends, strict=True)}


def forecast(
    agreement: Agreement, used: SpentTotals, *, earlier: SpentTotals, now: int
) -> Forecast:
    """When the cap is reached at the rate of the last days: what is left divided by what was spent
    a day. Of money and count, the one that is reached first.

    Args:
        earlier: the totals ``RATE_DAYS`` days ago.
    """
    running = max(0, min(now, agreement.ends_at) - agreement.starts_at)
    days = max(1, min(RATE_DAYS, -(-running // DAY)))
    ends = []
    if agreement.price and used.amount > earlier.amount:
        left = max(0, agreement.cap - used.amount)
        ends.append(now + left * days * DAY // (used.amount - earlier.amount))
    if agreement.max_units and used.units > earlier.units:
        left = max(0, agreement.max_units - used.units)
        ends.append(now + left * days * DAY // (used.units - earlier.units))
    return Forecast(days, used.amount - earlier.amount, min(ends, default=None))


def alarms(agreement: Agreement, used: SpentTotals, expected: Forecast, *, now: int) -> list[Alarm]:
    """The alarms of an open agreement."""
    found = []
    if _is_used_up(agreement, used):
        found.append(Alarm.CAP_REACHED)
    elif _is_near(used.amount, agreement.cap) or _is_near(used.units, agreement.max_units):
        found.append(Alarm.CAP_NEAR)
    if (
        Alarm.CAP_REACHED not in found
        and expected.cap_at is not None
        and expected.cap_at < agreement.ends_at
    ):
        found.append(Alarm.CAP_BEFORE_END)
    if now <= agreement.ends_at < now + SOON_DAYS * DAY:
        found.append(Alarm.ENDS_SOON)
    return found


def _is_used_up(agreement: Agreement, used: SpentTotals) -> bool:
    by_money = agreement.price > 0 and agreement.cap - used.amount < agreement.price
    return by_money or 0 < agreement.max_units <= used.units


def _is_near(used: int, limit: int) -> bool:
    return limit > 0 and used * 100 >= limit * NEAR_PERCENT
