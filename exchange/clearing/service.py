"""The clearing book by day, and closing a day.

A day is closed once, by two persons: its sums, each member's position and the hash of its entries
become an entry of the node's log, which the chain anchors. It is not closed while the book and the
contract differ by a fen. Nothing is added to a closed day: later entries belong to the next one.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Forbidden, QiaolianError
from chain.core.zone import day_after, day_bounds, local_day
from chain.ethereum.proved_records import TOTALS_RECORDS, ProvedRecords, account_records
from chain.statements.members import Role
from exchange.approvals import service as approvals
from exchange.approvals.model import Matter
from exchange.banking import payouts
from exchange.banking.service import settings_of
from exchange.clearing import rules, store
from exchange.clearing.model import (
    AccountSums,
    BookDay,
    ChainComparison,
    DayClosing,
    Movement,
    Position,
)
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
            "not_book_keeper", "The clearing book belongs to the operator and the supervisor."
        )


def days(context: Context, *, before: str = "", limit: int = MAX_DAYS) -> list[BookDay]:
    """The days with entries, the latest first, each with its balances; and today.

    Args:
        before: only days before this one.
    """
    require_keeper(context)
    today = local_day(context.now())
    with context.database.read() as session:
        if before:
            found = store.days(session, before=rules.require_day(before), limit=limit)
        else:
            # A day that was closed early has entries of the next day before midnight.
            latest = store.days(session, before="", limit=limit)
            found = sorted({today, *latest}, reverse=True)[:limit]
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


def positions(context: Context, name: str) -> list[Position]:
    """Each member's position of a day: as it was closed, or so far as the day has gone."""
    require_keeper(context)
    with context.database.read() as session:
        rules.require_day(name)
        if store.find_closing(session, name) is not None:
            found = store.positions(session, name)
        else:
            found = _positions(session, name)
    return [one for one in found if one.opening or one.closing or one.deposited or one.earned]


def _positions(session: Session, name: str) -> list[Position]:
    return rules.positions(
        store.account_sums(session, before=name), store.moved_sums(session, name)
    )


def compare(context: Context) -> ChainComparison:
    """The book beside the contract, to the fen, for all and for each member; both as of one proved
    block. ``not_book_keeper``, ``chain_view_stale``.
    """
    require_keeper(context)
    with context.database.read() as session:
        members = sorted(store.account_sums(session))
    proved = _prove(context, members)
    with context.database.read() as session:
        return _compare(context, session, proved)


def _prove(context: Context, members: Sequence[str]) -> ProvedRecords:
    wanted = [record for member in members if member for record in account_records(member)]
    return context.view.proved([*TOTALS_RECORDS, *wanted])


def _compare(context: Context, session: Session, proved: ProvedRecords) -> ChainComparison:
    book = _sums_until(session, proved.height)
    accounts = {"": proved.totals()}
    accounts |= {member: proved.account(member) for member in book if member}
    totals = proved.totals()
    number, amount = payouts.unpaid(session)
    return ChainComparison(
        height=proved.height,
        held=totals.free + totals.locked + totals.bonded,
        members=len(accounts) - 1,
        differences=rules.differences(book, accounts),
        behind=(context.projected_height or 0) < proved.height,
        unpaid=number,
        unpaid_amount=amount,
    )


def _sums_until(session: Session, height: int) -> dict[str, AccountSums]:
    """Each member's sums up to a block, and those of all under the empty name."""
    found = store.account_sums(session)
    later: dict[str, AccountSums] = {}
    for entry in store.entries_after(session, height):
        for member, sums in rules.sides(entry):
            later[member] = later.get(member, AccountSums()) + sums
    found = {
        member: sums - later.get(member, AccountSums()) for member, sums in found.items() if member
    }
    return {**found, "": sum(found.values(), AccountSums())}


def close_day(context: Context, name: str, *, person: str) -> BookDay:
    """Close a day of the book: one person proposes it, a second one closes it. Both approve the
    same sums; if money moved between, the second one is the first of the new sums.

    Raises:
        Forbidden: ``not_operator``, ``person_unnamed``, ``second_person_needed``; BadInput:
            ``day_malformed``; Conflict: ``day_closed``, ``day_running``, ``earlier_day_open``,
            ``book_unbalanced``; Unavailable: ``book_behind``, ``chain_view_stale``.
    """
    if not context.roles & Role.OPERATOR:
        raise Forbidden("not_operator", "The operator closes the days of the book.")
    bounds = day_bounds(rules.require_day(name))
    with context.database.read() as session:
        members = sorted(store.account_sums(session))
    proved = _prove(context, members)
    taken_until = _taken_until(context)

    def change(session: Session) -> None:
        closed = store.find_closing(session, name) is not None
        state = rules.state_of(
            closed=closed, closes_at=_closes_at(context, bounds), taken_until=taken_until
        )
        rules.require_closable(state, days_before=store.open_days(session, before=name))
        rules.require_balanced(_compare(context, session, proved))
        closing, members = _closing(context, session, name)
        approval = approvals.approve(context, session, Matter.CLOSING, name, closing.digest, person)
        if approval.complete:
            sums = store.account_sums(session, before=day_after(name))
            store.add_positions(session, name, members, sums)
            store.add_closing(session, closing)
            append(session, kind=ENTRY_KIND, digest=closing.digest, at=closing.closed_at)

    context.database.write(change)
    return day(context, name)


def _closing(context: Context, session: Session, name: str) -> tuple[DayClosing, list[Position]]:
    """A day's closing as it would be now, with the members' positions."""
    opening, totals = store.held_before(session, name), store.day_totals(session, name)
    members = _positions(session, name)
    digest = rules.closing_digest(name, opening, totals, store.entries_hash(session, name), members)
    closing = DayClosing(
        day=name,
        opening=opening,
        totals=totals,
        height=max(context.projected_height or 0, store.last_height(session)),
        closed_at=context.now(),
        digest=digest,
    )
    return closing, members


def _closes_at(context: Context, bounds: tuple[int, int]) -> int:
    return rules.closes_at(bounds, settings_of(context).closes_from)


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
            closed=closing is not None,
            closes_at=_closes_at(context, day_bounds(name)),
            taken_until=taken_until,
        )
        proposed = approvals.find(session, Matter.CLOSING, name)
        waits = proposed is not None and not proposed.complete
        by = proposed.first if proposed is not None and waits else ""
        found[name] = BookDay(name, state, opening, totals, closing, by)
        opening += totals.held
    return [found[name] for name in names]


def _taken_until(context: Context) -> int | None:
    """Time of the last block whose events are in the database; None while it is unknown."""
    height = context.projected_height
    if height is None:
        return None
    try:
        return context.view.header(height).timestamp
    except QiaolianError:
        return None
