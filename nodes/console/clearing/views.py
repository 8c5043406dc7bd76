"""View models of the pages of the clearing book. Money in fen, times in Unix seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from chain.context import Context
from exchange.clearing.model import (
    BookDay,
    DayState,
    DayTotals,
    Difference,
    Movement,
    MovementKind,
    Position,
)
from nodes.console.banking.views import person_name
from nodes.console.exports import Cell
from nodes.console.i18n import N_
from nodes.console.names import member_name

_STATES: Mapping[DayState, str] = {
    DayState.RUNNING: N_("still running"),
    DayState.OPEN: N_("to be closed"),
    DayState.CLOSED: N_("closed"),
}
KINDS: Mapping[MovementKind, str] = {
    MovementKind.DEPOSITED: N_("deposit"),
    MovementKind.PAID: N_("payment"),
    MovementKind.REFUNDED: N_("refund"),
    MovementKind.WITHDRAWN: N_("withdrawal"),
    MovementKind.PENALTY: N_("penalty"),
}
CSV_HEADERS = (
    "block",
    "event",
    "unix_time",
    "kind",
    "member",
    "payer",
    "agreement",
    "amount_fen",
)
POSITION_HEADERS = (
    "member",
    "opening_fen",
    "deposited_fen",
    "earned_fen",
    "spent_fen",
    "net_fen",
    "withdrawn_fen",
    "closing_fen",
)


@dataclass(frozen=True, slots=True)
class SumsView:
    """Sums by kind."""

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
    proposed_by: str
    """The person who approved the closing first."""


@dataclass(frozen=True, slots=True)
class PositionView:
    """A member's money on a day."""

    member: str
    name: str
    opening: int
    deposited: int
    net: int
    withdrawn: int
    closing: int


@dataclass(frozen=True, slots=True)
class DifferenceView:
    """A sum on which book and contract differ; ``sum`` is a label, ``name`` empty for all."""

    name: str
    sum: str
    book: int
    contract: int


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


def day_view(context: Context, found: BookDay) -> DayView:
    """A day as the pages show it."""
    closing = found.closing
    return DayView(
        day=found.day,
        state=_STATES[found.state],
        can_close=found.state is DayState.OPEN,
        opening=found.opening,
        closing=found.closing_balance,
        sums=_sums(found.totals),
        closed_at=None if closing is None else closing.closed_at,
        height=None if closing is None else closing.height,
        digest="" if closing is None else "0x" + closing.digest.hex(),
        proposed_by=person_name(context, found.proposed_by) if found.proposed_by else "",
    )


def position_views(context: Context, found: Sequence[Position]) -> list[PositionView]:
    """Positions by member."""
    return [
        PositionView(
            member=one.member,
            name=member_name(context, one.member),
            opening=one.opening,
            deposited=one.deposited,
            net=one.net,
            withdrawn=one.withdrawn,
            closing=one.closing,
        )
        for one in found
    ]


def position_rows(found: Iterable[Position]) -> Iterator[Sequence[Cell]]:
    """Positions as rows of a file."""
    for one in found:
        yield (
            one.member,
            one.opening,
            one.deposited,
            one.earned,
            one.spent,
            one.net,
            one.withdrawn,
            one.closing,
        )


_SUMS: Mapping[str, str] = {
    "deposited": N_("deposits in all"),
    "earned": N_("earned in all"),
    "spent": N_("spent in all"),
    "withdrawn": N_("withdrawals in all"),
}


def difference_views(context: Context, found: Sequence[Difference]) -> list[DifferenceView]:
    """Differences as the page shows them."""
    return [
        DifferenceView(
            name=member_name(context, one.member) if one.member else "",
            sum=_SUMS[one.sum],
            book=one.book,
            contract=one.contract,
        )
        for one in found
    ]


def _sums(totals: DayTotals) -> SumsView:
    return SumsView(
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
        kind=KINDS[entry.kind],
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
            entry.payer,
            agreement,
            entry.amount,
        )
