"""Counts of calls. A call counts on the day on which it was answered, by the city's calendar; money
in fen, times in Unix seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Counts:
    """Calls of one kind, added up."""

    served: int = 0
    refused: int = 0
    """Refusals with a signed receipt; they cost nothing."""
    voided: int = 0
    """Served calls whose receipt was voided since; they cost nothing either."""
    units: int = 0
    amount: int = 0

    @property
    def answered(self) -> int:
        """Calls with a receipt of this node."""
        return self.served + self.refused + self.voided

    def __add__(self, other: Self) -> Counts:
        """Both together."""
        return Counts(
            self.served + other.served,
            self.refused + other.refused,
            self.voided + other.voided,
            self.units + other.units,
            self.amount + other.amount,
        )


@dataclass(frozen=True, slots=True)
class CountedCall:
    """What one answered or voided call adds to the counts."""

    agreement_id: bytes
    asset_id: bytes
    buyer: str
    columns: tuple[str, ...]
    """The columns that were delivered, by name; none of a refused call."""
    at: int
    counts: Counts


@dataclass(frozen=True, slots=True)
class Period:
    """From the beginning of a day until before the beginning of another."""

    since: int
    until: int


@dataclass(frozen=True, slots=True)
class AssetUsage:
    """An asset with its counts in a period."""

    asset_id: bytes
    counts: Counts


@dataclass(frozen=True, slots=True)
class DayUsage:
    """A day, or a month by its first day."""

    day: int
    counts: Counts


@dataclass(frozen=True, slots=True)
class BuyerUsage:
    """One member's use under one agreement."""

    buyer: str
    agreement_id: bytes
    counts: Counts


@dataclass(frozen=True, slots=True)
class ColumnUsage:
    """The number of calls that delivered a column. Calls from before columns were counted have an
    empty name.
    """

    column: str
    calls: int


@dataclass(frozen=True, slots=True)
class UsageReport:
    """Who used one asset in a period."""

    asset_id: bytes
    period: Period
    total: Counts
    days: Sequence[DayUsage]
    months: Sequence[DayUsage]
    buyers: Sequence[BuyerUsage]
    columns: Sequence[ColumnUsage]


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One line of the export: a day, a buyer's agreement and a set of columns."""

    day: int
    buyer: str
    agreement_id: bytes
    columns: tuple[str, ...]
    counts: Counts


@dataclass(frozen=True, slots=True)
class AgreementUsage:
    """Use under one agreement."""

    agreement_id: bytes
    asset_id: bytes
    buyer: str
    counts: Counts


@dataclass(frozen=True, slots=True)
class MonthlyEarning:
    """Earnings of an agreement in a month."""

    month: int
    """Its first day."""
    usage: AgreementUsage
