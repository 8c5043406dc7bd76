"""What the pages of the clearing book show. Money in fen, times in Unix seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from chain.context import Context
from exchange.clearing.model import BookDay, DayState, DayTotals, MemberSums, Movement, MovementKind
from nodes.console.exports import Cell
from nodes.console.i18n import N_
from nodes.console.names import member_name

_STATES: Mapping[DayState, str] = {
    DayState.RUNNING: N_("still running"),
    DayState.OPEN: N_("to be closed"),
    DayState.CLOSED: N_("closed"),
}
_KINDS: Mapping[MovementKind, str] = {
    MovementKind.DEPOSITED: N_("deposit"),
    MovementKind.PAID: N_("payment"),
    MovementKind.REFUNDED: N_("refund"),
    MovementKind.WITHDRAWN: N_("withdrawal"),
}
CSV_HEADERS = ("block", "event", "unix_time", "kind", "member", "agreement", "amount_fen")


@dataclass(frozen=True, slots=True)
class SumsView:
    """Sums by kind; ``name`` is a member's, empty for all."""

    member: str
    name: str
    deposited: int
    paid: int
    refunded: int
    withdrawn: int
    entries: int


@dataclass(frozen=True, slots=True)
class DayView:
    """A day of the book; ``state`` is a label."""

    day: str
    state: str
    can_close: bool
    opening: int
    closing: int
    sums: SumsView
    closed_at: int | None
    height: int | None
    digest: str


@dataclass(frozen=True, slots=True)
class EntryView:
    """An entry of the book; ``kind`` is a label."""

    height: int
    log_index: int
    at: int
    kind: str
    member: str
    name: str
    agreement: str
    amount: int


def day_view(found: BookDay) -> DayView:
    """A day as the pages show it."""
    closing = found.closing
    return DayView(
        day=found.day,
        state=_STATES[found.state],
        can_close=found.state is DayState.OPEN,
        opening=found.opening,
        closing=found.closing_balance,
        sums=_sums("", "", found.totals),
        closed_at=None if closing is None else closing.closed_at,
        height=None if closing is None else closing.height,
        digest="" if closing is None else "0x" + closing.digest.hex(),
    )


def sums_views(context: Context, found: Sequence[MemberSums]) -> list[SumsView]:
    """A day's sums by member."""
    return [_sums(one.member, member_name(context, one.member), one.totals) for one in found]


def _sums(member: str, name: str, totals: DayTotals) -> SumsView:
    return SumsView(
        member=member,
        name=name,
        deposited=totals.amount(MovementKind.DEPOSITED),
        paid=totals.amount(MovementKind.PAID),
        refunded=totals.amount(MovementKind.REFUNDED),
        withdrawn=totals.amount(MovementKind.WITHDRAWN),
        entries=totals.entries,
    )


def entry_view(context: Context, entry: Movement) -> EntryView:
    """An entry as the pages show it."""
    return EntryView(
        height=entry.height,
        log_index=entry.log_index,
        at=entry.at,
        kind=_KINDS[entry.kind],
        member=entry.member,
        name=member_name(context, entry.member) if entry.member else "",
        agreement="" if entry.agreement_id is None else "0x" + entry.agreement_id.hex(),
        amount=entry.amount,
    )


def entry_rows(entries: Iterable[Movement]) -> Iterator[Sequence[Cell]]:
    """Entries as rows of a file."""
    for entry in entries:
        agreement = "" if entry.agreement_id is None else "0x" + entry.agreement_id.hex()
        yield (
            entry.height,
            entry.log_index,
            entry.at,
            entry.kind.value,
            entry.member,
            agreement,
            entry.amount,
        )
