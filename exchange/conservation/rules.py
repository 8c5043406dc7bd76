"""The sums that must hold over the chain's money. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields

from chain.ethereum.records import AccountRecord, AgreementRecord
from exchange.conservation.model import LATE, AgreementMoney, Books, Discrepancy, Line

CONFIRMATIONS = 3
"""Checks under different blocks that must find the same difference of a line of ``LATE``."""


def discrepancies(books: Books) -> list[Discrepancy]:
    """Every sum that does not hold."""
    return [
        found
        for found in (
            *_totals(books),
            *_accounts(books),
            *_agreements(books),
            *(_open_agreements(books) if books.complete else ()),
        )
        if found.stated != found.counted
    ]


def confirmed(
    found: Sequence[Discrepancy], seen: Counter[Discrepancy]
) -> tuple[list[Discrepancy], Counter[Discrepancy]]:
    """What to report of a check: a difference that events not yet taken could explain only once it
    was found ``CONFIRMATIONS`` times in a row.

    Returns:
        the discrepancies to report, and how often each of them was found in a row.
    """
    counts = Counter({one: seen[one] + 1 for one in found})
    sure = [one for one in found if one.line not in LATE or counts[one] >= CONFIRMATIONS]
    return sure, counts


def _totals(books: Books) -> Iterator[Discrepancy]:
    totals = books.totals
    held = totals.withdrawn + totals.free + totals.locked + totals.bonded
    yield Discrepancy(Line.TOTALS, "", totals.deposited, held)
    yield Discrepancy(Line.EARNINGS, "", totals.earned, totals.spent)


def _accounts(books: Books) -> Iterator[Discrepancy]:
    for member, account in books.accounts.items():
        used = account.withdrawn + account.spent + account.free + account.locked + account.bonded
        yield Discrepancy(Line.ACCOUNT, member, used, account.deposited + account.earned)
    for field in fields(AccountRecord):
        counted = sum(getattr(account, field.name) for account in books.accounts.values())
        yield Discrepancy(Line.MEMBERS, field.name, getattr(books.totals, field.name), counted)


def _agreements(books: Books) -> Iterator[Discrepancy]:
    for agreement_id, agreement in books.agreements.items():
        record = agreement.record
        yield Discrepancy(Line.AGREEMENT, "0x" + agreement_id.hex(), record.opened, _used(record))


def _used(record: AgreementRecord) -> int:
    """Paid, refunded and, while it is open, what can still be paid; never less than nothing."""
    used = record.paid + record.refunded
    return used if record.closed_at else used + max(0, record.locked)


def _open_agreements(books: Books) -> Iterator[Discrepancy]:
    locked: Counter[str] = Counter()
    bonded: Counter[str] = Counter(books.stakes)
    for agreement in books.agreements.values():
        locked[agreement.buyer] += _locked(agreement)
        bonded[agreement.provider] += agreement.record.bond_held
    for member, account in books.accounts.items():
        yield Discrepancy(Line.LOCKED, member, account.locked, locked[member])
        yield Discrepancy(Line.BONDED, member, account.bonded, bonded[member])


def _locked(agreement: AgreementMoney) -> int:
    return 0 if agreement.record.closed_at else agreement.record.locked
