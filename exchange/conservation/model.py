"""What a check of the chain's money looked at, and what did not add up. Money in fen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from chain.ethereum.records import AccountRecord, AgreementRecord


class Line(StrEnum):
    """A sum that must hold; ``docs/disputes.md`` describes each."""

    TOTALS = "totals"
    """Deposited = withdrawn + free + locked + bonded, over all members."""
    EARNINGS = "earnings"
    """What some members spent is what others earned."""
    ACCOUNT = "account"
    """Of a member: deposited + earned = withdrawn + spent + free + locked + bonded."""
    MEMBERS = "members"
    """The members' accounts add up to the totals."""
    AGREEMENT = "agreement"
    """Of an agreement: opened = paid + refunded + locked, and nothing stays locked once closed."""
    LOCKED = "locked"
    """What is locked in a buyer's account is what its open agreements lock."""
    BONDED = "bonded"
    """What is bonded in an account is its agreements' bonds and its contests' stakes."""


LATE = frozenset({Line.MEMBERS, Line.LOCKED, Line.BONDED})
"""Lines that compare records with the members, agreements and contests that this node knows by
events. They may differ while an event of the proved block has not been taken.
"""


@dataclass(frozen=True, slots=True)
class AgreementMoney:
    """An agreement's parties and its money on the chain."""

    provider: str
    buyer: str
    record: AgreementRecord


@dataclass(frozen=True, slots=True)
class Books:
    """Records of money proved under one block."""

    totals: AccountRecord
    accounts: Mapping[str, AccountRecord]
    agreements: Mapping[bytes, AgreementMoney]
    stakes: Mapping[str, int]
    """By buyer, what its open contests bond."""
    complete: bool
    """Whether ``agreements`` are all that are open."""


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A sum that does not hold."""

    line: Line
    subject: str
    """The member's code or the agreement's id; empty for the totals."""
    stated: int
    """What the chain states."""
    counted: int
    """What it should be, by the other records."""


@dataclass(frozen=True, slots=True)
class ConservationReport:
    """The latest check."""

    height: int
    """The block under which everything was proved; 0 before the first check."""
    checked_at: int
    """Unix seconds."""
    members: int
    agreements: int
    """Open agreements that were looked at, of ``open_agreements``."""
    open_agreements: int
    discrepancies: Sequence[Discrepancy] = ()
