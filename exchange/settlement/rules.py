"""What may be claimed, and the lines that must always hold. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from chain.words import Account, AgreementState, LaneWord

T = TypeVar("T")
MOST_ITEMS_PER_CLAIM = 64
"""Requests or vouchers one claim transaction carries, well below the outbox's size limit."""


@dataclass(frozen=True)
class Acknowledged:
    """The highest a buyer signed for on a lane."""

    lane: int
    seq: int
    units: int
    amount: int


def worth_claiming(acknowledged: Acknowledged, claimed: LaneWord) -> bool:
    """Whether a claim would pay anything: the contract raises a lane only to a higher amount, never with a lower place or count."""
    return acknowledged.amount > claimed.amount and acknowledged.seq >= claimed.seq and acknowledged.units >= claimed.units


def parts(items: list[T], size: int = MOST_ITEMS_PER_CLAIM) -> list[list[T]]:
    """Items in transactions' worth."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def totals_balance(totals: Account) -> bool:
    """deposited = withdrawn + free + locked, over all members."""
    return totals.deposited == totals.withdrawn + totals.free + totals.locked


def agreements_balance(states: Iterable[AgreementState], totals: Account) -> bool:
    """For each agreement opened = paid + refunded + locked, and the locked parts make the total (the dust of an unclosed one is locked)."""
    locked = 0
    for state in states:
        if state.locked < 0 or (state.closed_at and state.locked):
            return False
        locked += state.locked
    return locked == totals.locked


def split(amount: int, shares: Mapping[str, int]) -> dict[str, int]:
    """What each member has been paid once ``amount`` fen were claimed: floor(amount × basis points / 10,000) each."""
    return {member: amount * points // 10_000 for member, points in shares.items()}
