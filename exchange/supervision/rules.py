"""Rules of the supervisor's sums: what a claim adds, and which period is asked for. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from chain.core.errors import BadInput

MAX_SUM = 2**53 - 1
"""Sums are counted by the database, whose integers end at 2**63: one event adds at most this."""
HOUR_SECONDS = 3_600
MAX_PERIOD_DAYS = 366
DAILY_DAYS = 31
"""Longer periods are summed from months."""


@dataclass(frozen=True, slots=True)
class LaneTotals:
    """The totals of a lane that were counted."""

    seq: int = 0
    units: int = 0
    amount: int = 0

    def since(self, earlier: LaneTotals) -> LaneTotals:
        """What these totals have more than earlier ones; never less than nothing."""
        return LaneTotals(
            _added(self.seq, earlier.seq),
            _added(self.units, earlier.units),
            _added(self.amount, earlier.amount),
        )


def _added(now: int, before: int) -> int:
    return min(MAX_SUM, max(0, now - before))


def hour_of(at: int) -> int:
    """The start of the hour of a moment."""
    return at - at % HOUR_SECONDS


def month_of(day: str) -> str:
    """The month of a day, as sums name it: it sorts apart from days."""
    return f"m{day[:7]}"


def require_period(days: int) -> int:
    """A period's length in days; ``period_malformed``."""
    if not 1 <= days <= MAX_PERIOD_DAYS:
        raise BadInput(
            "period_malformed", f"A period has from 1 to {MAX_PERIOD_DAYS} days.", field="days"
        )
    return days
