"""What a bank statement must be to be taken, what each entry of it means, and what an order of
payments may hold. Pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from chain.core.canonical import dumps
from chain.core.errors import BadInput, Conflict, QiaolianError, Unavailable
from exchange.banking.iso20022 import is_iban
from exchange.banking.model import (
    CURRENCY,
    BankStatement,
    ClearingSettings,
    Direction,
    EntryAction,
    EntryState,
    FileEntry,
    MemberAccount,
    Payout,
    PayoutState,
    Reading,
    StatementEntry,
)
from registry import uscc

MAX_REFERENCE = 128
_MEMBER_IN_TEXT = re.compile(r"(?<![0-9A-Z])[0-9A-HJ-NPQRTUWXY]{18}(?![0-9A-Z])")
_ACCOUNT = re.compile(r"[0-9A-Z]{1,34}")
_BANK_CODE = re.compile(r"[0-9]{12}")


# --- The file -------------------------------------------------------------------------------------


def require_settings(settings: ClearingSettings) -> ClearingSettings:
    """The settings of a node that handles bank files; ``bank_account_unset``."""
    if not settings.account:
        raise Unavailable(
            "bank_account_unset",
            "This node's configuration does not name the network's account.",
            hint="Set account, account_name and bank_code under [clearing] in node.toml.",
        )
    return settings


def require_statement(statement: BankStatement, settings: ClearingSettings) -> None:
    """Require that a statement is of the network's account and adds up.

    Raises:
        BadInput: ``bank_account_differs``, ``bank_currency_differs``, ``bank_sum_differs``,
            ``bank_reference_doubled``.
    """
    if statement.account != settings.account:
        raise BadInput(
            "bank_account_differs",
            f"The statement is of the account {statement.account}, not of the network's.",
            hint="Download the statement of the account that node.toml names.",
        )
    for currency in (statement.currency, *(entry.currency for entry in statement.entries)):
        if currency != CURRENCY:
            raise BadInput(
                "bank_currency_differs",
                f"The statement has amounts in {currency or 'no currency'}; the account is in "
                f"{CURRENCY}.",
                hint="Ask the bank about the entry; nothing of the file was taken.",
            )
    moved = sum(_signed(entry) for entry in statement.entries if entry.booked)
    if statement.opening + moved != statement.closing:
        raise BadInput(
            "bank_sum_differs",
            f"The entries add up to {moved} fen, the balances differ by "
            f"{statement.closing - statement.opening}.",
            hint="Download the file again: an entry is missing, doubled or altered.",
        )
    _require_references_once(statement.entries)


def _signed(entry: StatementEntry) -> int:
    return entry.amount if entry.direction is Direction.CREDIT else -entry.amount


def _require_references_once(entries: Sequence[StatementEntry]) -> None:
    seen: dict[str, int] = {}
    for entry in entries:
        if entry.reference and entry.booked and entry.reference in seen:
            raise BadInput(
                "bank_reference_doubled",
                f"The entries {seen[entry.reference]} and {entry.line} have the same reference "
                f"{entry.reference}.",
                hint="Ask the bank which of them is right; nothing of the file was taken.",
            )
        seen[entry.reference] = entry.line


# --- The entries ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Known:
    """What entries are read against."""

    active: frozenset[str]
    """Members that are proved active."""
    accounts: Mapping[str, str]
    """Member by account."""
    payouts: Mapping[str, Payout]
    references: Mapping[str, tuple[str, int]]
    """Member and amount of the deposits that were confirmed under a reference."""


def candidates(entry: StatementEntry, accounts: Mapping[str, str]) -> set[str]:
    """The members that an entry may be of: named in its text or by the payer's code, or known by
    the payer's account.
    """
    named = {code for code in _MEMBER_IN_TEXT.findall(entry.text.upper()) if _is_code(code)}
    if named:
        return named
    if _is_code(entry.party_code):
        return {entry.party_code}
    found = accounts.get(entry.account)
    return {found} if found else set()


def _is_code(code: str) -> bool:
    try:
        uscc.require_valid(code)
    except QiaolianError:
        return False
    return True


def read_entry(entry: StatementEntry, known: Known, *, named: str = "") -> Reading:
    """What an entry means.

    Args:
        named: the member that a person named, which the bank's texts cannot override.
    """
    problem = _problem(entry)
    if problem:
        return Reading(EntryAction.NONE, problem=problem)
    if entry.direction is Direction.DEBIT:
        return _read_debit(entry, known)
    payout = known.payouts.get(entry.end_to_end_id)
    if payout is not None and entry.return_reason:
        return _read_return(entry, payout, known)
    found = {named} if named else candidates(entry, known.accounts)
    if len(found) != 1:
        return Reading(
            EntryAction.NONE, problem="bank_member_ambiguous" if found else "bank_member_unnamed"
        )
    return _deposit(entry, next(iter(found)), known)


def _problem(entry: StatementEntry) -> str:
    if not entry.booked:
        return "bank_entry_pending"
    if not entry.amount:
        return "amount_missing"
    if not 1 <= len(entry.reference) <= MAX_REFERENCE:
        return "bank_reference_missing"
    return ""


def _deposit(entry: StatementEntry, member: str, known: Known) -> Reading:
    if member not in known.active:
        return Reading(EntryAction.NONE, member, problem="bank_member_unknown")
    if entry.reference in known.references:
        return Reading(EntryAction.NONE, member, problem="bank_reference_taken")
    return Reading(EntryAction.DEPOSIT, member)


def _read_debit(entry: StatementEntry, known: Known) -> Reading:
    payout = known.payouts.get(entry.end_to_end_id)
    if payout is None:
        return Reading(EntryAction.NONE, problem="payout_unknown")
    reading = Reading(EntryAction.PAYOUT, payout.member, payout.id)
    if payout.amount != entry.amount:
        return Reading(EntryAction.NONE, payout.member, payout.id, "payout_amount_differs")
    if payout.state in (PayoutState.PAID, PayoutState.RETURNED):
        return Reading(EntryAction.NONE, payout.member, payout.id, "payout_paid")
    return reading


def _read_return(entry: StatementEntry, payout: Payout, known: Known) -> Reading:
    """A payment that came back is the member's money again."""
    if payout.amount != entry.amount:
        return Reading(EntryAction.NONE, payout.member, payout.id, "payout_amount_differs")
    if payout.state is not PayoutState.PAID:
        return Reading(EntryAction.NONE, payout.member, payout.id, "payout_unpaid")
    deposit = _deposit(entry, payout.member, known)
    if deposit.problem:
        return Reading(EntryAction.NONE, payout.member, payout.id, deposit.problem)
    return Reading(EntryAction.RETURN, payout.member, payout.id)


def read_entries(
    entries: Sequence[StatementEntry], known: Known, named: Mapping[int, str]
) -> Iterator[Reading]:
    """What each entry means, by its line; a payout is confirmed by one entry alone."""
    taken: set[str] = set()
    for entry in entries:
        reading = read_entry(entry, known, named=named.get(entry.line, ""))
        if reading.action in (EntryAction.PAYOUT, EntryAction.RETURN):
            if reading.payout in taken:
                reading = Reading(EntryAction.NONE, reading.member, reading.payout, "payout_paid")
            taken.add(reading.payout)
        yield reading


def plan_digest(file_id: str, entries: Sequence[FileEntry]) -> bytes:
    """What two persons approve: every entry that would be booked, and how."""
    plan = [
        [
            one.entry.line,
            one.reading.action.value,
            one.reading.member,
            str(one.entry.amount),
            one.entry.reference,
            one.reading.payout,
        ]
        for one in entries
        if one.state is EntryState.UNDERSTOOD
    ]
    return hashlib.sha256(b"qiaolian.bank-file-plan.v1\0" + dumps([file_id, plan])).digest()


def require_plan(entries: Sequence[FileEntry], digest: bytes, seen: bytes) -> None:
    """Require that there is something to book and that it is what the person saw:
    ``bank_file_nothing_to_book``, ``bank_plan_changed``.
    """
    if not any(one.state is EntryState.UNDERSTOOD for one in entries):
        raise Conflict(
            "bank_file_nothing_to_book",
            "No entry of the file is left to be booked.",
            hint="Name the member of an unclear entry first, or set it aside.",
        )
    if digest != seen:
        raise Conflict(
            "bank_plan_changed",
            "What would be booked is not what you were shown.",
            hint="Look at the file again, then approve it.",
        )


def require_open(entry: FileEntry) -> None:
    """Require that a person may still decide on an entry: ``bank_entry_booked``."""
    if entry.state is EntryState.BOOKED:
        raise Conflict("bank_entry_booked", f"Entry {entry.entry.line} is booked.")


def require_reason(reason: str) -> str:
    """Why an entry is set aside: ``reason_missing``."""
    text = " ".join(reason.split())
    if not 3 <= len(text) <= 200 or not text.isprintable():
        raise BadInput(
            "reason_missing",
            "A reason has 3 to 200 printable characters.",
            hint="Say why the entry is no money of a member, such as: bank charges of November.",
        )
    return text


# --- Accounts and orders --------------------------------------------------------------------------


def require_account(account: MemberAccount) -> MemberAccount:
    """A member's account as payments can name it: ``bank_account_malformed``."""
    looks_iban = account.account[:2].isalpha()
    well_formed = (
        _ACCOUNT.fullmatch(account.account) is not None
        and (is_iban(account.account) or not looks_iban)
        and 1 <= len(account.name) <= 70
        and account.name.isprintable()
        and _BANK_CODE.fullmatch(account.bank_code) is not None
    )
    if not well_formed:
        raise BadInput(
            "bank_account_malformed",
            "This is not a bank account to which a payment can be sent.",
            hint="Give an IBAN or up to 34 digits, a name of up to 70 characters, and the bank's "
            "number of 12 digits.",
        )
    return account


def account_digest(account: MemberAccount) -> bytes:
    """What two persons approve when an account is registered."""
    content = [account.member, account.account, account.name, account.bank_code]
    return hashlib.sha256(b"qiaolian.member-account.v1\0" + dumps(content)).digest()


def payout_id(member: str, operation_id: bytes) -> str:
    """A withdrawal's id at the bank: 32 hexadecimal digits, the same at every node."""
    content = member.encode() + b"\0" + operation_id
    return hashlib.sha256(b"qiaolian.payout.v1\0" + content).hexdigest()[:32]
