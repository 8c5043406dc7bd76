"""Deposits, claims and accounts as values. Money is in fen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chain.ethereum.records import AccountRecord
from chain.statements.trade import DepositConfirmation


@dataclass(frozen=True, slots=True)
class ConfirmedDeposit:
    """The confirmation as it was signed first, and its contract call."""

    confirmation: DepositConfirmation
    operation: str


@dataclass(frozen=True)
class ClaimCall:
    """One transaction of a claim. Its operation id names what it claims, so it is idempotent."""

    operation: str
    function: str
    arguments: Sequence[Any]


@dataclass(frozen=True, slots=True)
class QueuedClaim:
    """The contract calls that claim, and how many lanes they cover."""

    operations: Sequence[str]
    lanes: int


@dataclass(frozen=True, slots=True)
class Accounts:
    """A member's account and the totals of all members, proved under one block."""

    member: str
    account: AccountRecord
    totals: AccountRecord

    @property
    def conserved(self) -> bool:
        """Whether what was deposited is what was withdrawn and what is there."""
        totals = self.totals
        held = totals.free + totals.locked + totals.bonded
        return totals.deposited == totals.withdrawn + held


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment, deposit or withdrawal on the chain."""

    kind: str
    """``paid``, ``deposited`` or ``withdrawn``."""
    member: str
    agreement_id: bytes | None
    amount: int
    height: int
    log_index: int
