"""Days of the clearing book. Money in fen, times in Unix seconds, heights in blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class MovementKind(StrEnum):
    """What an entry of the book records."""

    DEPOSITED = "deposited"
    """A settlement bank confirmed money of a member."""
    PAID = "paid"
    """A member was paid under an agreement."""
    REFUNDED = "refunded"
    """A closed agreement gave the rest of its cap back to the buyer."""
    WITHDRAWN = "withdrawn"
    """A member took free money out."""


@dataclass(frozen=True, slots=True)
class Movement:
    """One entry of the book: an event of the settlement contract."""

    height: int
    log_index: int
    at: int
    day: str
    """The city's day of the block, such as ``2026-11-30``."""
    kind: MovementKind
    member: str
    agreement_id: bytes | None
    amount: int


@dataclass(frozen=True, slots=True)
class DayTotals:
    """The sums of some entries by kind."""

    amounts: Mapping[MovementKind, int] = field(default_factory=dict)
    counts: Mapping[MovementKind, int] = field(default_factory=dict)

    def amount(self, kind: MovementKind) -> int:
        """The sum of one kind."""
        return self.amounts.get(kind, 0)

    @property
    def entries(self) -> int:
        """How many entries there are."""
        return sum(self.counts.values())

    @property
    def held(self) -> int:
        """What the entries add to the money that the contract holds."""
        return self.amount(MovementKind.DEPOSITED) - self.amount(MovementKind.WITHDRAWN)


class DayState(StrEnum):
    """Where a day of the book stands."""

    RUNNING = "running"
    """The day is not over, or its last blocks are not in the book yet."""
    OPEN = "open"
    """The day is over and can be closed."""
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class DayClosing:
    """A day as it was closed. Its digest is an entry of the node's log."""

    day: str
    opening: int
    """Fen that the contract held at the start of the day."""
    totals: DayTotals
    height: int
    """The last block that the book had taken when the day was closed."""
    closed_at: int
    digest: bytes

    @property
    def closing(self) -> int:
        """Fen that the contract held at the end of the day."""
        return self.opening + self.totals.held


@dataclass(frozen=True, slots=True)
class BookDay:
    """A day of the book with its state."""

    day: str
    state: DayState
    opening: int
    totals: DayTotals
    closing: DayClosing | None

    @property
    def closing_balance(self) -> int:
        """Fen held at the end of the day, so far as it has gone."""
        return self.opening + self.totals.held


@dataclass(frozen=True, slots=True)
class MemberSums:
    """What a day moved for one member."""

    member: str
    totals: DayTotals
