"""Rules of the clearing book: when a day may be closed, and what its closing commits to. Pure."""

from __future__ import annotations

import hashlib
import re

from chain.core.canonical import dumps
from chain.core.errors import BadInput, Conflict, Unavailable
from chain.ethereum.records import AccountRecord
from exchange.clearing.model import DayState, DayTotals, MovementKind

_DAY = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])")


def require_day(text: str) -> str:
    """A day as the book names it; ``day_malformed``."""
    if _DAY.fullmatch(text) is None:
        raise BadInput("day_malformed", "A day is written as 2026-11-30.")
    return text


def state_of(*, closed: bool, day_end: int, taken_until: int | None) -> DayState:
    """Where a day stands.

    Args:
        day_end: when the day ends.
        taken_until: time of the last block whose events are in the book; None before the first.
    """
    if closed:
        return DayState.CLOSED
    over = taken_until is not None and taken_until >= day_end
    return DayState.OPEN if over else DayState.RUNNING


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
            "The day is not over yet.",
            hint="Close it after midnight, once the book has taken a block of the next day.",
        )
    if days_before:
        raise Conflict(
            "earlier_day_open",
            f"{days_before} earlier days are not closed.",
            hint="Close the days in their order.",
        )


def require_balanced(book: DayTotals, proved: AccountRecord) -> None:
    """Require that the whole book agrees with the contract's totals.

    Args:
        book: the sums of every entry up to the block under which the totals were proved.

    Raises:
        Unavailable: ``book_behind`` when the contract has more than the book.
        Conflict: ``book_unbalanced`` when the book has what the contract does not.
    """
    deposited = book.amount(MovementKind.DEPOSITED)
    withdrawn = book.amount(MovementKind.WITHDRAWN)
    if (deposited, withdrawn) == (proved.deposited, proved.withdrawn):
        return
    if deposited <= proved.deposited and withdrawn <= proved.withdrawn:
        raise Unavailable(
            "book_behind",
            "The chain has money movements that the book has not taken yet.",
            hint="Try again in a few seconds.",
        )
    raise Conflict(
        "book_unbalanced",
        f"The book has {deposited} fen deposited and {withdrawn} fen withdrawn; the contract "
        f"has {proved.deposited} and {proved.withdrawn}.",
        hint="Do not close the day. Compare the book with another member's node.",
    )


def closing_digest(day: str, opening: int, totals: DayTotals, entries: bytes) -> bytes:
    """What a closing commits to: the day, its balances and the hash of its entries; SHA-256 of
    canonical JSON.
    """
    content = {
        "closing": str(opening + totals.held),
        "counts": {kind.value: totals.counts.get(kind, 0) for kind in MovementKind},
        "day": day,
        "entries": "0x" + entries.hex(),
        "opening": str(opening),
        "sums": {kind.value: str(totals.amount(kind)) for kind in MovementKind},
    }
    return hashlib.sha256(b"qiaolian.day-closing.v1\0" + dumps(content)).digest()
