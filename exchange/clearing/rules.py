"""Rules of the clearing book: when a day may be closed, and what its closing commits to. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence

from chain.core.canonical import dumps
from chain.core.errors import BadInput, Conflict, Unavailable
from chain.core.zone import day_after
from chain.ethereum.records import AccountRecord
from exchange.clearing.model import (
    ENTRY_KINDS,
    AccountSums,
    ChainComparison,
    DayState,
    DayTotals,
    Difference,
    Movement,
    MovementKind,
    Position,
    Right,
    SplitRule,
)

_DAY = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])")


def require_day(text: str) -> str:
    """A day as the book names it; ``day_malformed``."""
    if _DAY.fullmatch(text) is None:
        raise BadInput("day_malformed", "A day is written as 2026-11-30.")
    return text


def closes_at(bounds: tuple[int, int], closes_from: str) -> int:
    """When a day may be closed, in Unix seconds.

    Args:
        bounds: when the day starts and ends.
        closes_from: time of day such as ``17:30``; empty where days are closed after their end.
    """
    if not closes_from:
        return bounds[1]
    hours, minutes = closes_from.split(":")
    return bounds[0] + 3_600 * int(hours) + 60 * int(minutes)


def state_of(*, closed: bool, closes_at: int, taken_until: int | None) -> DayState:
    """Status of a day.

    Args:
        closes_at: when the day may be closed.
        taken_until: time of the last block whose events are in the book; None before the first.
    """
    if closed:
        return DayState.CLOSED
    over = taken_until is not None and taken_until >= closes_at
    return DayState.OPEN if over else DayState.RUNNING


def book_day(day: str, last_closed: str) -> str:
    """The day of the book that an entry belongs to: the city's day of its block, or the day after
    the last one that was closed before that block.
    """
    return max(day, day_after(last_closed)) if last_closed else day


def require_closable(state: DayState, *, days_before: int) -> None:
    """Require that a day may be closed now.

    Args:
        days_before: earlier days with entries that are not closed.

    Raises:
        Conflict: ``day_closed``, ``day_running``, ``earlier_day_open``.
    """
    if state is DayState.CLOSED:
        raise Conflict("day_closed", "The day is closed already.")
    if state is DayState.RUNNING:
        raise Conflict(
            "day_running",
            "The day cannot be closed yet.",
            hint="Wait for its closing time, until the book has taken a block after it.",
        )
    if days_before:
        raise Conflict(
            "earlier_day_open",
            f"{days_before} earlier days are not closed.",
            hint="Close the days in their order.",
        )


def sides(entry: Movement) -> Iterator[tuple[str, AccountSums]]:
    """What an entry adds to the sums of its member, and of who paid it."""
    amount = entry.amount
    match entry.kind:
        case MovementKind.DEPOSITED:
            yield entry.member, AccountSums(deposited=amount)
        case MovementKind.WITHDRAWN:
            yield entry.member, AccountSums(withdrawn=amount)
        case MovementKind.PAID | MovementKind.PENALTY:
            yield entry.member, AccountSums(earned=amount)
            yield entry.payer, AccountSums(spent=amount)


def effect(entry: Movement, member: str) -> int:
    """What an entry does to a member's balance, in fen."""
    return sum(sums.balance for of, sums in sides(entry) if of == member)


_SUMS = ("deposited", "earned", "spent", "withdrawn")


def differences(
    book: Mapping[str, AccountSums], proved: Mapping[str, AccountRecord]
) -> list[Difference]:
    """The sums on which the book and the contract differ.

    Args:
        book: each member's sums up to the block under which the accounts were proved; those of all
            under the empty name.
        proved: the contract's accounts, likewise.
    """
    return [
        Difference(member, name, getattr(sums, name), getattr(proved[member], name))
        for member, sums in sorted(book.items())
        for name in _SUMS
        if getattr(sums, name) != getattr(proved[member], name)
    ]


def require_balanced(found: ChainComparison) -> None:
    """Require that the book agrees with the contract to the fen, for all and for each member.

    Raises:
        Unavailable: ``book_behind`` while the book lacks blocks; Conflict: ``book_unbalanced``.
    """
    if not found.differences:
        return
    if found.behind:
        raise Unavailable(
            "book_behind",
            "The chain has money movements that the book has not taken yet.",
            hint="Try again in a few seconds.",
        )
    first = found.differences[0]
    raise Conflict(
        "book_unbalanced",
        f"{first.member or 'All members'}: the book has {first.book} fen {first.sum}, the contract "
        f"{first.contract}. {len(found.differences)} sums differ as of block {found.height}.",
        hint="Do not close the day. Compare the book with another member's node.",
    )


def positions(
    before: Mapping[str, AccountSums], moved: Mapping[str, AccountSums]
) -> list[Position]:
    """Each member's position: what it had, and what a day moved."""
    none = AccountSums()
    return [
        Position(
            member,
            before.get(member, none).balance,
            (sums := moved.get(member, none)).deposited,
            sums.earned,
            sums.spent,
            sums.withdrawn,
        )
        for member in sorted({*before, *moved} - {""})
    ]


def closing_digest(
    day: str, opening: int, totals: DayTotals, entries: bytes, members: Sequence[Position]
) -> bytes:
    """What a closing commits to: the day, its balances, each member's position and the hash of its
    entries; SHA-256 of canonical JSON.
    """
    content = {
        "closing": str(opening + totals.held),
        "counts": {kind.value: totals.counts.get(kind, 0) for kind in ENTRY_KINDS},
        "day": day,
        "entries": "0x" + entries.hex(),
        "opening": str(opening),
        "positions": [[one.member, str(one.opening), str(one.closing)] for one in members],
        "sums": {kind.value: str(totals.amount(kind)) for kind in ENTRY_KINDS},
    }
    return hashlib.sha256(b"qiaolian.day-closing.v2\0" + dumps(content)).digest()


# --- What a payment is for ------------------------------------------------------------------------

WHOLE = 10_000
DEFAULT_SPLIT = SplitRule("0001-01-01", 5_000, 3_000, 2_000)
"""Where the operator has set no rule."""


def require_split(rule: SplitRule) -> SplitRule:
    """Require that a rule divides the whole: ``day_malformed``, ``split_not_whole``."""
    require_day(rule.effective_from)
    weights = (rule.holding, rule.processing, rule.operating)
    if min(weights) < 0 or sum(weights) != WHOLE:
        raise BadInput(
            "split_not_whole",
            "The three weights are basis points and add up to 10,000.",
            hint="Such as 5000 for holding, 3000 for processing and 2000 for operating.",
        )
    return rule


def split_digest(rule: SplitRule) -> bytes:
    """What two persons approve when a rule is set."""
    content = [rule.effective_from, rule.holding, rule.processing, rule.operating]
    return hashlib.sha256(b"qiaolian.split-rule.v1\0" + dumps(content)).digest()


def rule_on(found: Sequence[SplitRule], day: str) -> SplitRule:
    """The rule in effect on a day: the latest that began by then."""
    begun = [rule for rule in found if rule.effective_from <= day]
    return max(begun, key=lambda rule: rule.effective_from, default=DEFAULT_SPLIT)


def parts_of(
    amount: int, member: str, holders: Mapping[Right, str], *, platform: bool, rule: SplitRule
) -> dict[Right, int]:
    """What a payment to a member is for.

    A member with one right in the asset has it for that right. The share of one with several is
    divided by their weights; the fen that rounding leaves go to the first of them. The share of a
    member without any is the platform's fee where it is an operator.

    Args:
        holders: who holds each right in the asset.
        platform: whether the member is an operator of the network.
    """
    weights = {
        Right.HOLDING: rule.holding,
        Right.PROCESSING: rule.processing,
        Right.OPERATING: rule.operating,
    }
    held = [right for right in weights if holders.get(right) == member]
    if not held:
        return {Right.PLATFORM if platform else Right.AGREED: amount}
    total = sum(weights[right] for right in held)
    if len(held) == 1 or not total:
        return {held[0]: amount}
    parts = {right: amount * weights[right] // total for right in held}
    parts[held[0]] += amount - sum(parts.values())
    return {right: part for right, part in parts.items() if part}
