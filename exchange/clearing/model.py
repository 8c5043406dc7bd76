"""Days of the clearing book. Money in fen, times in Unix seconds, heights in blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from exchange.banking.model import Payout


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
    PENALTY = "penalty"
    """A bond or a stake went to the other party."""
    SPENT = "spent"
    """What a member paid to others. No entry is of this kind: it is the payer's side of payments
    and penalties in a member's sums.
    """


ENTRY_KINDS = tuple(kind for kind in MovementKind if kind is not MovementKind.SPENT)


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
    payer: str = ""
    """Who paid it: the buyer of a payment, the loser of a penalty; empty for any other entry."""


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
        """The number of entries."""
        return sum(self.counts.values())

    @property
    def held(self) -> int:
        """What the entries add to the money that the contract holds."""
        return self.amount(MovementKind.DEPOSITED) - self.amount(MovementKind.WITHDRAWN)

    @property
    def earned(self) -> int:
        """What members were paid, and what penalties brought them."""
        return self.amount(MovementKind.PAID) + self.amount(MovementKind.PENALTY)

    @property
    def account(self) -> AccountSums:
        """A member's sums as its account in the contract has them."""
        return AccountSums(
            self.amount(MovementKind.DEPOSITED),
            self.earned,
            self.amount(MovementKind.SPENT),
            self.amount(MovementKind.WITHDRAWN),
        )


@dataclass(frozen=True, slots=True)
class Position:
    """A member's money on a day: what it had, what moved, and what it has."""

    member: str
    opening: int
    deposited: int
    earned: int
    spent: int
    withdrawn: int

    @property
    def net(self) -> int:
        """What trading brought the member that day."""
        return self.earned - self.spent

    @property
    def closing(self) -> int:
        """Fen that are the member's at the end: free, locked or bonded."""
        return self.opening + self.deposited + self.net - self.withdrawn


@dataclass(frozen=True, slots=True)
class AccountSums:
    """A member's sums since the beginning, as the contract keeps them too."""

    deposited: int = 0
    earned: int = 0
    spent: int = 0
    withdrawn: int = 0

    def __add__(self, other: AccountSums) -> AccountSums:
        return AccountSums(
            self.deposited + other.deposited,
            self.earned + other.earned,
            self.spent + other.spent,
            self.withdrawn + other.withdrawn,
        )

    def __sub__(self, other: AccountSums) -> AccountSums:
        return AccountSums(
            self.deposited - other.deposited,
            self.earned - other.earned,
            self.spent - other.spent,
            self.withdrawn - other.withdrawn,
        )

    @property
    def balance(self) -> int:
        """Fen that are the member's."""
        return self.deposited + self.earned - self.spent - self.withdrawn


@dataclass(frozen=True, slots=True)
class Difference:
    """A sum on which book and contract do not agree, in fen."""

    member: str
    """Empty for the sums of all."""
    sum: str
    """``deposited``, ``earned``, ``spent`` or ``withdrawn``."""
    book: int
    contract: int


@dataclass(frozen=True, slots=True)
class ChainComparison:
    """The book beside the contract, both as of one block."""

    height: int
    held: int
    """Fen that the contract holds."""
    members: int
    differences: Sequence[Difference]
    behind: bool
    """Whether the book has not taken every block up to this one."""
    unpaid: int
    """Withdrawals that the settlement bank has not confirmed as paid out."""
    unpaid_amount: int


class DayState(StrEnum):
    """Status of a day of the book."""

    RUNNING = "running"
    """The day cannot be closed yet, or its last blocks are not in the book."""
    OPEN = "open"
    """The day can be closed."""
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
    proposed_by: str = ""
    """Who approved the closing first, while a second person is awaited."""

    @property
    def closing_balance(self) -> int:
        """Fen held at the end of the day, so far as it has gone."""
        return self.opening + self.totals.held


class Right(StrEnum):
    """Why a member gets a part of a payment."""

    HOLDING = "holding"
    """数据资源持有权."""
    PROCESSING = "processing"
    """数据加工使用权."""
    OPERATING = "operating"
    """数据产品经营权."""
    PLATFORM = "platform"
    """The operator's fee."""
    AGREED = "agreed"
    """A share that the agreement gives to somebody without a right in the asset."""


@dataclass(frozen=True, slots=True)
class SplitRule:
    """How a share is divided of a member that holds several rights, from a day on. The weights are
    basis points and add up to 10,000.
    """

    effective_from: str
    holding: int
    processing: int
    operating: int


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One entry of a member's statement."""

    movement: Movement
    amount: int
    """Fen that came in; negative for what went out. 0 for a refund, which was the member's own."""
    counterparty: str
    parts: Mapping[Right, int]
    """What a payment to the member was for; empty for any other entry."""


@dataclass(frozen=True, slots=True)
class MemberStatement:
    """A member's account over a period of days, both included."""

    member: str
    since: str
    until: str
    opening: int
    lines: Sequence[StatementLine]
    payouts: Sequence[Payout]
    """The withdrawals of the period with their payment."""
    earned: Mapping[Right, int]
    """What was earned by each right."""
    closing: int
    agrees: bool | None
    """Whether the book's sums are those of the contract now; None where they cannot be compared."""
