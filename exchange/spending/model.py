"""Spending of a buyer. Money in fen, times in Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

MONTHS = 12
"""Months that are shown, the present one included."""
RATE_DAYS = 30
"""Days whose spending the forecast goes by."""


class Alarm(StrEnum):
    """An alarm about an agreement's spending."""

    CAP_REACHED = "cap-reached"
    """Less than one unit's price is left, or no unit is."""
    CAP_NEAR = "cap-near"
    """At least ``rules.NEAR_PERCENT`` of the money or the count is used."""
    CAP_BEFORE_END = "cap-before-end"
    """At the present rate the cap is reached before the agreement ends."""
    ENDS_SOON = "ends-soon"
    """The agreement ends within ``rules.SOON_DAYS`` days."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a cap is reached if spending continues as in the last days; None where it is not."""

    days: int
    """Days that the rate was taken from."""
    spent: int
    """Fen in these days."""
    cap_at: int | None


@dataclass(frozen=True, slots=True)
class AgreementSpending:
    """Spending under one agreement."""

    agreement_id: bytes
    provider: str
    asset_id: bytes
    state: str
    price: int
    cap: int
    max_units: int
    """0 where the agreement has no count cap."""
    units: int
    amount: int
    """Delivered to this organisation, by its own receipts."""
    paid: int
    """By the chain, from the deposit."""
    refunded: int
    ends_at: int
    months: Mapping[str, int]
    """Fen by month, such as ``2026-11``, in the city's time."""
    forecast: Forecast
    alarms: Sequence[Alarm]

    @property
    def left(self) -> int:
        """Fen below the cap."""
        return max(0, self.cap - self.amount)


@dataclass(frozen=True, slots=True)
class Spending:
    """The spending of some agreements by month."""

    months: Sequence[str]
    """The latest last."""
    agreements: Sequence[AgreementSpending]

    @property
    def by_month(self) -> dict[str, int]:
        """The sum over the agreements."""
        return {
            month: sum(row.months.get(month, 0) for row in self.agreements) for month in self.months
        }

    @property
    def total(self) -> int:
        """The sum over agreements of all that was ever spent under them."""
        return sum(row.amount for row in self.agreements)
