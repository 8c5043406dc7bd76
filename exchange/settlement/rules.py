"""Rules of claims, of money at risk, and the conservation of money. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from chain.core.errors import Conflict
from chain.ethereum.records import AccountRecord, AgreementRecord, LaneRecord
from chain.statements.trade import Agreement
from exchange.metering.model import AcknowledgedAmount

T = TypeVar("T")
MAX_ITEMS_PER_CLAIM = 64
"""Requests or vouchers one claim transaction carries, well below the outbox's size limit."""


def worth_claiming(acknowledged: AcknowledgedAmount, claimed: LaneRecord) -> bool:
    """Whether a claim would pay anything: the contract accepts only a higher amount, with no lower
    position or units.
    """
    return (
        acknowledged.amount > claimed.amount
        and acknowledged.seq >= claimed.seq
        and acknowledged.units >= claimed.units
    )


def require_claimable(state: AgreementRecord, *, lanes: int) -> None:
    """A claim of so many lanes would pay: ``nothing_to_claim``, ``agreement_is_closed``."""
    if not lanes:
        raise Conflict("nothing_to_claim", "Everything acknowledged has been claimed.")
    if state.closed_at:
        raise Conflict(
            "agreement_is_closed",
            f"The agreement closed in block {state.closed_at}; "
            "nothing can be claimed under it any more.",
            hint="See what was lost with: qiaolian reconcile AGREEMENT",
        )


# --- When to claim --------------------------------------------------------------------------------


class ClaimReason(StrEnum):
    """Why a claim is due now."""

    CLOSING = "closing"
    """Notice was given: what is not claimed when the window has passed returns to the buyer."""
    ENDED = "ended"
    """The agreed end has passed: anybody may give notice."""
    VALUE = "value"
    AGE = "age"


@dataclass(frozen=True)
class ClaimPolicy:
    """When a provider claims without anybody asking for it."""

    min_fen: int = 10_000
    """Claim once an agreement owes so much."""
    max_age_seconds: int = 3_600
    """Claim once a call that is acknowledged and not claimed is so old."""


@dataclass(frozen=True)
class LaneBalance:
    """What the buyer acknowledged on a lane beside what the chain has paid for."""

    acknowledged: AcknowledgedAmount
    claimed: LaneRecord
    oldest_at: int = 0
    """Delivery time of the oldest unclaimed call, Unix seconds; 0 if unknown."""

    @property
    def unclaimed(self) -> int:
        """Fen that a claim would pay."""
        due = worth_claiming(self.acknowledged, self.claimed)
        return self.acknowledged.amount - self.claimed.amount if due else 0


@dataclass(frozen=True)
class ClaimDecision:
    """What is owed under an agreement, and whether to claim it now."""

    unclaimed: int
    reason: ClaimReason | None
    lanes: tuple[int, ...]
    """Lanes that a claim would pay, whether or not it is due."""


def decide_claim(
    lanes: Sequence[LaneBalance],
    state: AgreementRecord,
    *,
    ends_at: int,
    policy: ClaimPolicy,
    now: int,
) -> ClaimDecision:
    """What to claim of an agreement, and why; a closed agreement pays nothing more.

    Args:
        state: proved on the chain.
        now: Unix seconds, of the clock or the latest block, whichever is later.
    """
    paying = [lane for lane in lanes if lane.unclaimed]
    unclaimed = sum(lane.unclaimed for lane in paying)
    reason: ClaimReason | None = None
    if not paying or state.closed_at or not state.opened_at:
        reason = None
    elif state.notice_at:
        reason = ClaimReason.CLOSING
    elif now > ends_at:
        reason = ClaimReason.ENDED
    elif unclaimed >= policy.min_fen:
        reason = ClaimReason.VALUE
    elif now - min(lane.oldest_at for lane in paying) >= policy.max_age_seconds:
        reason = ClaimReason.AGE
    return ClaimDecision(unclaimed, reason, tuple(lane.acknowledged.lane for lane in paying))


# --- What is at risk ------------------------------------------------------------------------------

GRACE_SECONDS = 30
"""A claim that is due and not on the chain after so long is an alarm, whatever holds it up."""


@dataclass(frozen=True)
class ClosingWindow:
    """What is left of the time for claims after a notice. It ends when both have run down."""

    blocks: int
    seconds: int
    ends_at: int
    """Unix seconds from which on nothing but the count of blocks keeps it open."""
    half: bool
    """Whether more than half of both has passed."""

    @property
    def left(self) -> int:
        """Seconds until it ends, at a block each second."""
        return max(self.blocks, self.seconds)


def closing_window(
    agreement: Agreement, state: AgreementRecord, *, height: int, time: int
) -> ClosingWindow | None:
    """The window as of a block; None before a notice."""
    if not state.notice_at:
        return None
    blocks = max(0, state.notice_at + agreement.close_window_blocks + 1 - height)
    ends_at = state.notice_time + agreement.close_window_seconds
    seconds = max(0, ends_at + 1 - time)
    half = (
        2 * blocks <= agreement.close_window_blocks
        and 2 * seconds <= agreement.close_window_seconds
    )
    return ClosingWindow(blocks, seconds, ends_at, half)


@dataclass(frozen=True)
class ClaimStatus:
    """Status of one agreement's claims."""

    agreement_id: bytes
    unclaimed: int = 0
    """Fen acknowledged and not on the chain."""
    reason: ClaimReason | None = None
    due_since: int = 0
    """When the claim became due, Unix seconds; 0 when none is due."""
    window: ClosingWindow | None = None
    refusal: str = ""
    """Code with which the chain refused the last claim of what is still owed."""
    lost: int = 0
    """Fen delivered and not claimed when the agreement closed."""


def at_risk(status: ClaimStatus, now: int) -> bool:
    """Whether what is owed may be lost unless somebody acts: the claim was refused,
    or it is late.
    """
    if not status.unclaimed or status.reason is None:
        return False
    late = now - status.due_since >= GRACE_SECONDS
    return bool(status.refusal) or late or (status.window is not None and status.window.half)


# --- Arithmetic -----------------------------------------------------------------------------------


def batches(items: list[T], size: int = MAX_ITEMS_PER_CLAIM) -> list[list[T]]:
    """Items in transactions' worth."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def totals_balance(totals: AccountRecord) -> bool:
    """deposited = withdrawn + free + locked + bonded, over all members."""
    held = totals.free + totals.locked + totals.bonded
    return totals.deposited == totals.withdrawn + held


def agreements_balance(states: Iterable[AgreementRecord], totals: AccountRecord) -> bool:
    """For each agreement opened = paid + refunded + locked, and the locked parts make the total
    (the dust of an unclosed one is locked).
    """
    locked = 0
    for state in states:
        if state.locked < 0 or (state.closed_at and state.locked):
            return False
        locked += state.locked
    return locked == totals.locked


def split(amount: int, shares: Mapping[str, int]) -> dict[str, int]:
    """What each member has been paid once ``amount`` fen were claimed: floor(amount × basis points
    / 10,000) each.
    """
    return {member: amount * points // 10_000 for member, points in shares.items()}
