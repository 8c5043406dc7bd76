"""The clearing book by day, and closing a day.

A day is closed once: its sums and the hash of its entries become an entry of the node's log, which
the chain anchors. Nothing is added to a closed day, since a block of the next day was taken before.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Forbidden, NotFound, QiaolianError
from chain.core.zone import day_bounds, local_day
from chain.ethereum.proved_records import TOTALS_RECORDS
from chain.statements.members import Role
from exchange.clearing import rules, store
from exchange.clearing.model import BookDay, DayClosing, DayState, MemberSums, Movement
from registry.evidence.log import append
from registry.pages import Page, PageRequest

KEEPERS = Role.OPERATOR | Role.SUPERVISOR
"""Members whose nodes keep the book."""
ENTRY_KIND = "DayClosing"
MAX_DAYS = 31


def require_keeper(context: Context) -> None:
    """Require that this node keeps the book; ``not_book_keeper``."""
    if not context.roles & KEEPERS:
        raise Forbidden(
            "not_book_keeper", "The clearing book is kept by the operator and the supervisor."
        )


def days(context: Context, *, before: str = "", limit: int = MAX_DAYS) -> list[BookDay]:
    """The days with entries, the latest first, each with its balances; today first of all.

    Args:
        before: only days before this one.
    """
    require_keeper(context)
    today = local_day(context.now())
    with context.database.read() as session:
        if before:
            found = store.days(session, before=rules.require_day(before), limit=limit)
        else:
            found = [today, *store.days(session, before=today, limit=limit - 1)]
        return _book_days(context, session, found)


def day(context: Context, name: str) -> BookDay:
    """One day; ``day_malformed``, ``not_book_keeper``."""
    require_keeper(context)
    day_bounds(rules.require_day(name))
    with context.database.read() as session:
        (found,) = _book_days(context, session, [name])
    return found


def entries(context: Context, name: str, page: PageRequest) -> Page[Movement]:
    """A day's entries, the latest first; ``cursor_malformed``."""
    require_keeper(context)
    with context.database.read() as session:
        return store.movements(session, page, day=rules.require_day(name))


def member_sums(context: Context, name: str) -> list[MemberSums]:
    """What a day moved for each member."""
    require_keeper(context)
    with context.database.read() as session:
        return store.member_sums(session, rules.require_day(name))


def find_closing(context: Context, name: str) -> DayClosing:
    """A closed day; ``day_not_closed``."""
    with context.database.read() as session:
        found = store.find_closing(session, rules.require_day(name))
    if found is None:
        raise NotFound("day_not_closed", "The day is not closed.", hint="Close it first.")
    return found


def close_day(context: Context, name: str) -> DayClosing:
    """Close a day of the book.

    Raises:
        Forbidden: ``not_operator``; BadInput: ``day_malformed``; Conflict: ``day_closed``,
            ``day_running``, ``earlier_day_open``, ``book_unbalanced``; Unavailable:
            ``book_behind``, ``chain_view_stale``.
    """
    if not context.roles & Role.OPERATOR:
        raise Forbidden("not_operator", "The operator closes the days of the book.")
    _, end = day_bounds(rules.require_day(name))
    proved = context.view.proved(TOTALS_RECORDS).totals()
    taken_until = _taken_until(context)

    def change(session: Session) -> DayClosing:
        closed = store.find_closing(session, name) is not None
        state = rules.state_of(closed=closed, day_end=end, taken_until=taken_until)
        rules.require_closable(state, days_before=store.open_days(session, before=name))
        rules.require_balanced(store.all_totals(session), proved)
        return _close(context, session, name)

    return context.database.write(change)


def _close(context: Context, session: Session, name: str) -> DayClosing:
    opening, totals = store.held_before(session, name), store.day_totals(session, name)
    digest = rules.closing_digest(name, opening, totals, store.entries_hash(session, name))
    closing = DayClosing(
        day=name,
        opening=opening,
        totals=totals,
        height=context.projected_height or 0,
        closed_at=context.now(),
        digest=digest,
    )
    store.add_closing(session, closing)
    append(session, kind=ENTRY_KIND, digest=digest, at=closing.closed_at)
    return closing


def _book_days(context: Context, session: Session, names: Sequence[str]) -> list[BookDay]:
    """Consecutive days with entries, in the order given; each opens with the balance of the one
    before.
    """
    taken_until, ascending = _taken_until(context), sorted(names)
    opening = store.held_before(session, ascending[0]) if ascending else 0
    found: dict[str, BookDay] = {}
    for name in ascending:
        closing, totals = store.find_closing(session, name), store.day_totals(session, name)
        state = rules.state_of(
            closed=closing is not None, day_end=day_bounds(name)[1], taken_until=taken_until
        )
        found[name] = BookDay(name, state, opening, totals, closing)
        opening += totals.held
    return [found[name] for name in names]


def _taken_until(context: Context) -> int | None:
    """Time of the last block whose events are in the database; None while it cannot be told."""
    height = context.projected_height
    if height is None:
        return None
    try:
        return context.view.header(height).timestamp
    except QiaolianError:
        return None


__all__ = [
    "DayState",
    "close_day",
    "day",
    "days",
    "entries",
    "find_closing",
    "member_sums",
    "require_keeper",
]
