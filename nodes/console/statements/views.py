"""What an account statement shows, on its page and in its files. Money in fen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from chain.context import Context
from chain.core.zone import local_time
from exchange.clearing.model import MemberStatement, Right, StatementLine
from nodes.console.banking.views import PayoutView, payout_view
from nodes.console.clearing.views import KINDS
from nodes.console.exports import Cell
from nodes.console.formatting import yuan
from nodes.console.i18n import N_, gettext
from nodes.console.names import member_name
from nodes.console.pdf import Block, Document, Facts, Heading, Paragraph, Table

RIGHTS: Mapping[Right, str] = {
    Right.HOLDING: N_("resource-holding right"),
    Right.PROCESSING: N_("processing-and-use right"),
    Right.OPERATING: N_("product-operating right"),
    Right.PLATFORM: N_("platform fee"),
    Right.AGREED: N_("share by agreement"),
}
CSV_HEADERS = (
    "day",
    "time",
    "block",
    "event",
    "kind",
    "counterparty",
    "agreement",
    "amount_fen",
    "balance_fen",
    *(f"{right.value}_fen" for right in Right),
)
COLUMNS = (N_("Time"), N_("Kind"), N_("Counterparty"), N_("Amount (yuan)"), N_("Balance (yuan)"))
AGREES: Mapping[bool | None, str] = {
    True: N_("The sums are those of the contract, to the fen."),
    False: N_("The sums differ from the contract's. Ask the operator, and compare both books."),
    None: N_("The sums cannot be compared with the contract now."),
}


@dataclass(frozen=True, slots=True)
class LineView:
    """A line; ``kind`` is a label."""

    at: int
    kind: str
    counterparty: str
    agreement: str
    amount: int
    balance: int
    rights: Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class StatementView:
    """A statement; ``agrees`` is a label."""

    member: str
    name: str
    since: str
    until: str
    opening: int
    closing: int
    lines: Sequence[LineView]
    earned: Sequence[tuple[str, int]]
    payouts: Sequence[PayoutView]
    agrees: str


def statement_view(context: Context, found: MemberStatement) -> StatementView:
    """A statement as its page shows it."""
    return StatementView(
        member=found.member,
        name=member_name(context, found.member),
        since=found.since,
        until=found.until,
        opening=found.opening,
        closing=found.closing,
        lines=list(_lines(context, found)),
        earned=[(RIGHTS[right], fen) for right, fen in found.earned.items()],
        payouts=[payout_view(context, payout) for payout in found.payouts],
        agrees=AGREES[found.agrees],
    )


def _lines(context: Context, found: MemberStatement) -> Iterator[LineView]:
    names: dict[str, str] = {"": ""}
    for line, balance in _with_balance(found):
        entry = line.movement
        if line.counterparty not in names:
            names[line.counterparty] = member_name(context, line.counterparty)
        yield LineView(
            at=entry.at,
            kind=KINDS[entry.kind],
            counterparty=names[line.counterparty],
            agreement="" if entry.agreement_id is None else "0x" + entry.agreement_id.hex(),
            amount=line.amount,
            balance=balance,
            rights=[(RIGHTS[right], fen) for right, fen in line.parts.items()],
        )


def _with_balance(found: MemberStatement) -> Iterator[tuple[StatementLine, int]]:
    balance = found.opening
    for line in found.lines:
        balance += line.amount
        yield line, balance


def csv_rows(found: MemberStatement) -> Iterable[Sequence[Cell]]:
    """The statement's lines as rows of a file."""
    for line, balance in _with_balance(found):
        entry = line.movement
        yield (
            entry.day,
            local_time(entry.at),
            entry.height,
            entry.log_index,
            entry.kind.value,
            line.counterparty,
            "" if entry.agreement_id is None else "0x" + entry.agreement_id.hex(),
            line.amount,
            balance,
            *(line.parts.get(right, 0) for right in Right),
        )


def statement_document(
    shown: StatementView, *, organisation: str, language: str, person: str, now: int
) -> Document:
    """The statement as a PDF; messages are in the language of the request."""
    blocks: list[Block] = [
        Facts(
            [
                (gettext("Member"), f"{shown.name} {shown.member}"),
                (gettext("Period"), f"{shown.since} – {shown.until}"),
                (gettext("Held at the start"), yuan(shown.opening)),
                (gettext("Held at the end"), yuan(shown.closing)),
                *((gettext(right), yuan(fen)) for right, fen in shown.earned),
            ]
        ),
        Paragraph(gettext(shown.agrees), quiet=True),
        Heading(gettext("Entries of the account")),
        Table(
            [gettext(name) for name in COLUMNS],
            [
                [
                    local_time(line.at),
                    gettext(line.kind),
                    line.counterparty,
                    yuan(line.amount),
                    yuan(line.balance),
                ]
                for line in shown.lines
            ],
            (4, 2, 5, 3, 3),
            frozenset({3, 4}),
        ),
    ]
    if shown.payouts:
        rows = [
            [local_time(payout.at), yuan(payout.amount), gettext(payout.state)]
            for payout in shown.payouts
        ]
        headers = [gettext("Time"), gettext("Amount (yuan)"), gettext("State")]
        blocks += [Heading(gettext("Withdrawals")), Table(headers, rows, (3, 2, 4), frozenset({1}))]
    return Document(
        title=gettext("Account statement"),
        organisation=organisation,
        language=language,
        made_at=now,
        blocks=blocks,
        watermark=f"{person} {local_time(now)}",
    )
