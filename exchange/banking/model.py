"""Bank statements, payouts and orders of payments. Money in fen, times in Unix seconds, days as the
city writes them (``2026-11-30``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

CURRENCY = "CNY"
MAX_FILE_BYTES = 4_000_000
MAX_ENTRIES = 2_000
"""Entries of one statement."""
MAX_PAYMENTS = 500
"""Payments of one order."""


@dataclass(frozen=True, slots=True)
class ClearingSettings:
    """The network's account at the settlement bank, and when days are closed."""

    account: str = ""
    """IBAN or the bank's own number; empty where this node takes no bank files."""
    account_name: str = ""
    bank_code: str = ""
    """The bank's number in the national clearing system (CNAPS, 12 digits)."""
    closes_from: str = ""
    """Time of day such as ``17:30`` from which a day may be closed; empty: once it is over."""


class Direction(StrEnum):
    """Which way an entry of a statement goes, seen from the account."""

    CREDIT = "credit"
    DEBIT = "debit"


@dataclass(frozen=True, slots=True)
class StatementEntry:
    """One booked or pending amount of a statement, as the bank wrote it."""

    line: int
    """From 1, in the file's order."""
    direction: Direction
    amount: int
    currency: str
    reference: str
    """The bank's own; empty where it gave none."""
    end_to_end_id: str
    """What the payer gave the payment; empty where there is none."""
    booked: bool
    """Whether the bank has booked it, and not only announced it."""
    day: str
    """When it was booked; empty where the bank does not say."""
    account: str
    """The other side's account; empty where it is not named."""
    party: str
    """The other side's name."""
    party_code: str
    """The other side's code, as the bank has it."""
    text: str
    """What the payer wrote."""
    return_reason: str
    """Why a payment came back, such as ``AC04``; empty for any other entry."""


@dataclass(frozen=True, slots=True)
class BankStatement:
    """A statement of one account."""

    message_id: str
    statement_id: str
    account: str
    currency: str
    opening: int
    closing: int
    entries: Sequence[StatementEntry]


class EntryAction(StrEnum):
    """What booking an entry does."""

    NONE = "none"
    """Nothing: it is not understood, or set aside."""
    DEPOSIT = "deposit"
    """Confirms the money for a member."""
    PAYOUT = "payout"
    """Confirms that a withdrawal was paid out."""
    RETURN = "return"
    """A payment came back: the money is confirmed for the member again."""


class EntryState(StrEnum):
    """State of an entry."""

    UNDERSTOOD = "understood"
    """It is booked once two persons approve."""
    UNCLEAR = "unclear"
    """``problem`` says why; a person names the member or sets it aside."""
    ASIDE = "aside"
    """A person set it aside, with a reason."""
    BOOKED = "booked"


@dataclass(frozen=True, slots=True)
class Reading:
    """What this node makes of an entry."""

    action: EntryAction
    member: str = ""
    payout: str = ""
    problem: str = ""
    """Code of what is not understood."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """An entry with what is made of it."""

    entry: StatementEntry
    reading: Reading
    state: EntryState
    reason: str
    """Why a person set it aside."""
    operation: str
    """The contract call of a deposit; empty before it is booked."""


class FileState(StrEnum):
    """State of a bank file."""

    OPEN = "open"
    """Some entries are to be booked, named or set aside."""
    BOOKED = "booked"
    """Nothing is left to do."""


@dataclass(frozen=True, slots=True)
class BankFile:
    """A file that was taken, without its entries."""

    id: str
    """SHA-256 of its bytes in hexadecimal."""
    name: str
    statement: BankStatement
    """Without its entries."""
    state: FileState
    taken_at: int
    taken_by: str
    booked_at: int | None


@dataclass(frozen=True, slots=True)
class FilePreview:
    """A file with what booking it would do."""

    file: BankFile
    counts: dict[EntryState, int]
    deposits: int
    """Fen that would be confirmed for members."""
    payouts: int
    """Fen of withdrawals that would be confirmed as paid out."""
    digest: bytes
    """What two persons approve: changes with anything that would be booked."""
    first: str
    """The person who approved it first and waits for a second one; empty for none."""


class PayoutState(StrEnum):
    """State of a withdrawal on its way to the member's account."""

    ORDERED = "ordered"
    """The member withdrew it on the chain."""
    PROPOSED = "proposed"
    """It is in an order that one person made."""
    INSTRUCTED = "instructed"
    """Two persons released the order to the bank."""
    PAID = "paid"
    """The settlement bank confirmed the payment."""
    RETURNED = "returned"
    """The payment came back, and the money was confirmed for the member again."""


UNPAID = (PayoutState.ORDERED, PayoutState.PROPOSED, PayoutState.INSTRUCTED)


@dataclass(frozen=True, slots=True)
class Payout:
    """A withdrawal of the chain and its payment."""

    id: str
    """Also the payment's end-to-end id at the bank."""
    member: str
    amount: int
    operation_id: bytes
    """The withdrawal's id on the chain."""
    height: int
    at: int
    state: PayoutState
    order_id: str
    paid_at: int | None
    reason: str
    """Why the payment came back."""
    confirmed_by: str
    """The settlement bank that signed; empty before that."""


@dataclass(frozen=True, slots=True)
class MemberAccount:
    """The account that a member is paid to, and from which its deposits are recognised."""

    member: str
    account: str
    name: str
    bank_code: str
    since: int


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment of an order."""

    id: str
    amount: int
    to: MemberAccount


class OrderState(StrEnum):
    """State of an order of payments."""

    PROPOSED = "proposed"
    RELEASED = "released"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class PaymentOrder:
    """Payments that the bank is asked to make in one file."""

    id: str
    day: str
    """When the bank is to pay."""
    payments: int
    total: int
    state: OrderState
    digest: bytes
    """SHA-256 of the file."""
    made_at: int
    made_by: str
    released_at: int | None
    released_by: str
