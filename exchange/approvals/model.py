"""What two persons approve. Times in Unix seconds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Matter(StrEnum):
    """What needs two persons."""

    BANK_FILE = "bank-file"
    """Book what a bank statement shows."""
    PAYOUT_ORDER = "payout-order"
    """Release an order of payments to the bank."""
    ACCOUNT = "bank-account"
    """Register or change the account that a member is paid to."""
    CLOSING = "day-closing"
    """Close a day of the clearing book."""
    SPLIT_RULE = "split-rule"
    """Change how a share for several rights is divided."""


@dataclass(frozen=True, slots=True)
class Approval:
    """What one person approved, and a second one if there is one. A person is named by the id of an
    account of the console or the name of an access token.
    """

    matter: Matter
    subject: str
    digest: bytes
    """SHA-256 of what they saw."""
    first: str
    first_at: int
    second: str = ""
    second_at: int | None = None

    @property
    def complete(self) -> bool:
        """Whether two persons approved it."""
        return self.second_at is not None
