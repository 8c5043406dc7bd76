"""What the pages of bank files and payouts show. Money in fen, times in Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chain.context import Context
from chain.core.error_codes import error_code
from exchange.banking.model import (
    BankFile,
    Direction,
    EntryAction,
    EntryState,
    FileEntry,
    FilePreview,
    FileState,
    OrderState,
    PaymentOrder,
    Payout,
    PayoutState,
)
from nodes.console.accounts import service as accounts
from nodes.console.i18n import CHINESE, N_
from nodes.console.names import member_name

_FILES: Mapping[FileState, str] = {
    FileState.OPEN: N_("entries are left"),
    FileState.BOOKED: N_("nothing is left to do"),
}
_ENTRIES: Mapping[EntryState, str] = {
    EntryState.UNDERSTOOD: N_("to be booked"),
    EntryState.UNCLEAR: N_("unclear"),
    EntryState.ASIDE: N_("set aside"),
    EntryState.BOOKED: N_("booked"),
}
_ACTIONS: Mapping[EntryAction, str] = {
    EntryAction.NONE: "",
    EntryAction.DEPOSIT: N_("confirm a deposit"),
    EntryAction.PAYOUT: N_("confirm a payout"),
    EntryAction.RETURN: N_("confirm a returned payment as a deposit"),
}
PAYOUT_STATES: Mapping[PayoutState, str] = {
    PayoutState.ORDERED: N_("waits for an order"),
    PayoutState.PROPOSED: N_("in an order that waits for release"),
    PayoutState.INSTRUCTED: N_("ordered at the bank"),
    PayoutState.PAID: N_("paid, confirmed by the bank"),
    PayoutState.RETURNED: N_("came back"),
}
_ORDERS: Mapping[OrderState, str] = {
    OrderState.PROPOSED: N_("waits for a second person"),
    OrderState.RELEASED: N_("released"),
    OrderState.DROPPED: N_("dropped"),
}


@dataclass(frozen=True, slots=True)
class FileView:
    """A bank file; ``state`` is a label."""

    id: str
    name: str
    statement: str
    opening: int
    closing: int
    state: str
    taken_at: int
    taken_by: str
    booked_at: int | None


@dataclass(frozen=True, slots=True)
class PreviewView:
    """What booking a file would do; ``first`` is the person who approved it first."""

    file: FileView
    understood: int
    unclear: int
    booked: int
    deposits: int
    payouts: int
    digest: str
    first: str


@dataclass(frozen=True, slots=True)
class BankEntryView:
    """An entry; ``state`` and ``action`` are labels, ``problem`` a sentence."""

    line: int
    credit: bool
    amount: int
    reference: str
    day: str
    party: str
    text: str
    action: str
    member: str
    name: str
    problem: str
    state: str
    reason: str
    operation: str
    can_decide: bool


@dataclass(frozen=True, slots=True)
class PayoutView:
    """A withdrawal and its payment; ``state`` is a label."""

    id: str
    member: str
    name: str
    amount: int
    at: int
    state: str
    order: str
    paid_at: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order of payments; ``state`` is a label."""

    id: str
    day: str
    payments: int
    total: int
    state: str
    waits: bool
    released: bool
    made_at: int
    made_by: str
    released_by: str


def person_name(context: Context, person: str) -> str:
    """The name of a person or token that approved something."""
    names = {account.id: account.name for account in accounts.listing(context)}
    return names.get(person, person)


def file_view(context: Context, file: BankFile) -> FileView:
    """A file as the pages show it."""
    return FileView(
        id=file.id,
        name=file.name,
        statement=file.statement.statement_id,
        opening=file.statement.opening,
        closing=file.statement.closing,
        state=_FILES[file.state],
        taken_at=file.taken_at,
        taken_by=person_name(context, file.taken_by),
        booked_at=file.booked_at,
    )


def preview_view(context: Context, found: FilePreview) -> PreviewView:
    """A preview as its page shows it."""
    return PreviewView(
        file=file_view(context, found.file),
        understood=found.counts[EntryState.UNDERSTOOD],
        unclear=found.counts[EntryState.UNCLEAR],
        booked=found.counts[EntryState.BOOKED],
        deposits=found.deposits,
        payouts=found.payouts,
        digest="0x" + found.digest.hex(),
        first=person_name(context, found.first) if found.first else "",
    )


def bank_entry_view(context: Context, one: FileEntry, language: str) -> BankEntryView:
    """An entry as the page shows it."""
    entry, reading = one.entry, one.reading
    return BankEntryView(
        line=entry.line,
        credit=entry.direction is Direction.CREDIT,
        amount=entry.amount,
        reference=entry.reference,
        day=entry.day,
        party=entry.party,
        text=entry.text,
        action=_ACTIONS[reading.action],
        member=reading.member,
        name=member_name(context, reading.member) if reading.member else "",
        problem=_sentence(reading.problem, language),
        state=_ENTRIES[one.state],
        reason=one.reason,
        operation=one.operation,
        can_decide=one.state in (EntryState.UNCLEAR, EntryState.ASIDE),
    )


def _sentence(code: str, language: str) -> str:
    """What a code means, in the page's language."""
    if not code:
        return ""
    meaning = error_code(code).sentence
    return meaning.zh if language == CHINESE else meaning.en


def payout_view(context: Context, payout: Payout) -> PayoutView:
    """A withdrawal as the pages show it."""
    return PayoutView(
        id=payout.id,
        member=payout.member,
        name=member_name(context, payout.member),
        amount=payout.amount,
        at=payout.at,
        state=PAYOUT_STATES[payout.state],
        order=payout.order_id,
        paid_at=payout.paid_at,
        reason=payout.reason,
    )


def order_view(context: Context, order: PaymentOrder) -> OrderView:
    """An order as the pages show it."""
    return OrderView(
        id=order.id,
        day=order.day,
        payments=order.payments,
        total=order.total,
        state=_ORDERS[order.state],
        waits=order.state is OrderState.PROPOSED,
        released=order.state is OrderState.RELEASED,
        made_at=order.made_at,
        made_by=person_name(context, order.made_by),
        released_by=person_name(context, order.released_by) if order.released_by else "",
    )
