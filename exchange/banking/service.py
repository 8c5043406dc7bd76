"""Bank statements: taken once, shown with what booking them would do, and booked once two persons
have approved exactly that.

Booking is one transaction: every confirmation is signed, stored, logged and queued in it, or none
is, so a database that goes away in the middle leaves the file as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Conflict, Forbidden, NotFound
from chain.ethereum.proved_records import member_record
from chain.statements.commitment import commit
from chain.statements.members import Role
from chain.statements.payouts import PayoutConfirmation
from exchange.approvals import service as approvals
from exchange.approvals.model import Matter
from exchange.banking import rules, store
from exchange.banking.iso20022 import file_id, read_statement
from exchange.banking.model import (
    BankFile,
    BankStatement,
    ClearingSettings,
    EntryAction,
    EntryState,
    FileEntry,
    FilePreview,
    FileState,
    Reading,
    StatementEntry,
)
from exchange.settlement import deposits
from registry import uscc
from registry.evidence.log import append, append_statement
from registry.pages import Page, PageRequest

CONTRACT = "TradeSettlement"
TAKEN = "BankFileTaken"
BOOKED = "BankFileBooked"
PAYOUT_DOMAIN = "qiaolian.payout-reference.v1"


def settings_of(context: Context) -> ClearingSettings:
    """The clearing settings of this node's configuration."""
    return context.services.find(ClearingSettings) or ClearingSettings()


def require_bank(context: Context) -> None:
    """Require that this node is a settlement bank's; ``not_settlement_bank``."""
    if not context.roles & Role.SETTLEMENT_BANK:
        raise Forbidden("not_settlement_bank", "The settlement bank takes bank statements.")


# --- Taking a file --------------------------------------------------------------------------------


def take(context: Context, *, name: str, content: bytes, person: str) -> FilePreview:
    """Take a bank statement: it is read and checked, and nothing is booked.

    Raises:
        Forbidden: ``not_settlement_bank``; BadInput: what ``read_statement`` and
            ``require_statement`` raise; Conflict: ``bank_file_taken``, ``bank_statement_taken``;
            Unavailable: ``bank_account_unset``, ``chain_view_stale``.
    """
    require_bank(context)
    settings = rules.require_settings(settings_of(context))
    identifier = file_id(content)
    with context.database.read() as session:
        _require_new(session, identifier)
    statement = read_statement(content)
    rules.require_statement(statement, settings)
    active = _active(context, statement.entries)

    def change(session: Session) -> None:
        _require_new(session, identifier)
        _require_new_statement(session, statement)
        entries = _read(session, statement.entries, active, {})
        file = BankFile(
            id=identifier,
            name=_shown_name(name),
            statement=statement,
            state=_state(entries),
            taken_at=context.now(),
            taken_by=person,
            booked_at=None,
        )
        store.add_file(session, file, content, entries)
        append(session, kind=TAKEN, digest=bytes.fromhex(identifier), at=file.taken_at)

    context.database.write(change)
    return preview(context, identifier)


def _require_new(session: Session, identifier: str) -> None:
    if store.find_file(session, identifier) is not None:
        raise Conflict(
            "bank_file_taken",
            "This file was taken before; it is taken once.",
            hint=f"Look at it under /v1/bank-files/{identifier}.",
        )


def _require_new_statement(session: Session, statement: BankStatement) -> None:
    before = store.find_statement(session, statement)
    if before is not None:
        raise Conflict(
            "bank_statement_taken",
            f"The statement {statement.statement_id} was taken before from another file.",
            hint=f"Compare the two: /v1/bank-files/{before.id}.",
        )


def _shown_name(name: str) -> str:
    shown = "".join(letter for letter in name if letter.isprintable())
    return shown[-100:] or "statement.xml"


def _active(
    context: Context, entries: Sequence[StatementEntry], named: Sequence[str] = ()
) -> frozenset[str]:
    """The members among those that the entries may be of that are proved active, under the block
    under which this member is proved to be a settlement bank; ``not_settlement_bank``.
    """
    with context.database.read() as session:
        known = {one.account: one.member for one in store.accounts(session)}
        ids = [entry.end_to_end_id for entry in entries]
        payees = {payout.member for payout in store.find_payouts(session, ids).values()}
    codes = {context.member, *named, *payees}
    for entry in entries:
        codes |= rules.candidates(entry, known)
    proved = context.view.proved([member_record(code) for code in sorted(codes)])
    deposits.require_settlement_bank(proved.member(context.member))
    return frozenset(code for code in codes if proved.member(code).live)


def _read(
    session: Session,
    entries: Sequence[StatementEntry],
    active: frozenset[str],
    named: Mapping[int, str],
) -> list[FileEntry]:
    """What this node makes of entries, by what it has now."""
    known = rules.Known(
        active=active,
        accounts={one.account: one.member for one in store.accounts(session)},
        payouts=store.find_payouts(session, [entry.end_to_end_id for entry in entries]),
        references=deposits.confirmed_before(session, [entry.reference for entry in entries]),
    )
    readings = rules.read_entries(entries, known, named)
    return [
        FileEntry(entry, reading, _entry_state(reading), "", "")
        for entry, reading in zip(entries, readings, strict=True)
    ]


def _entry_state(reading: Reading) -> EntryState:
    return EntryState.UNCLEAR if reading.problem else EntryState.UNDERSTOOD


def _state(entries: Sequence[FileEntry]) -> FileState:
    open_states = (EntryState.UNDERSTOOD, EntryState.UNCLEAR)
    left = any(one.state in open_states for one in entries)
    return FileState.OPEN if left else FileState.BOOKED


# --- Looking at it --------------------------------------------------------------------------------


def listing(context: Context, page: PageRequest) -> Page[BankFile]:
    """Files, the latest first; ``not_settlement_bank``, ``cursor_malformed``."""
    require_bank(context)
    with context.database.read() as session:
        return store.files(session, page)


def preview(context: Context, identifier: str) -> FilePreview:
    """A file with what booking it would do now; ``bank_file_unknown``."""
    require_bank(context)
    with context.database.read() as session:
        return _preview(session, identifier)


def entries(context: Context, identifier: str, page: PageRequest) -> Page[FileEntry]:
    """Entries of a file, in its order; ``bank_file_unknown``, ``cursor_malformed``."""
    require_bank(context)
    with context.database.read() as session:
        _file(session, identifier)
        return store.entry_page(session, identifier, page)


def content(context: Context, identifier: str) -> bytes:
    """The bytes of a file as the bank made it; ``bank_file_unknown``."""
    require_bank(context)
    with context.database.read() as session:
        found = store.file_content(session, identifier)
    if found is None:
        raise _unknown()
    return found


def _preview(session: Session, identifier: str) -> FilePreview:
    file, found = _file(session, identifier), store.entries(session, identifier)
    digest = rules.plan_digest(identifier, found)
    counts = {state: sum(one.state is state for one in found) for state in EntryState}
    approval = approvals.find(session, Matter.BANK_FILE, identifier)
    waits = approval is not None and not approval.complete and approval.digest == digest
    return FilePreview(
        file=file,
        counts=counts,
        deposits=_sum(found, EntryAction.DEPOSIT) + _sum(found, EntryAction.RETURN),
        payouts=_sum(found, EntryAction.PAYOUT),
        digest=digest,
        first=approval.first if approval is not None and waits else "",
    )


def _sum(found: Sequence[FileEntry], action: EntryAction) -> int:
    return sum(
        one.entry.amount
        for one in found
        if one.state is EntryState.UNDERSTOOD and one.reading.action is action
    )


def _file(session: Session, identifier: str) -> BankFile:
    found = store.find_file(session, identifier)
    if found is None:
        raise _unknown()
    return found


def _unknown() -> NotFound:
    return NotFound("bank_file_unknown", "No such file was taken here.")


# --- Deciding on an entry -------------------------------------------------------------------------


def name_member(context: Context, identifier: str, line: int, member: str) -> FilePreview:
    """Name the member that an unclear entry is of. What was approved before counts no longer.

    Raises:
        NotFound: ``bank_file_unknown``, ``bank_entry_unknown``; Conflict: ``bank_entry_booked``;
            BadInput: ``wrong_check_character``; Unavailable: ``chain_view_stale``.
    """
    require_bank(context)
    uscc.require_valid(member)
    with context.database.read() as session:
        entry = _entry(session, identifier, line)
    active = _active(context, [entry.entry], [member])

    def change(session: Session) -> FilePreview:
        rules.require_open(_entry(session, identifier, line))
        (read,) = _read(session, [entry.entry], active, {line: member})
        store.set_reading(session, identifier, line, read.reading)
        store.set_named(session, identifier, line)
        return _preview(session, identifier)

    return context.database.write(change)


def set_aside(context: Context, identifier: str, line: int, reason: str) -> FilePreview:
    """Set an entry aside that is no money of a member, such as the bank's charges.

    Raises:
        NotFound: ``bank_file_unknown``, ``bank_entry_unknown``; Conflict: ``bank_entry_booked``;
            BadInput: ``reason_missing``.
    """
    require_bank(context)
    why = rules.require_reason(reason)

    def change(session: Session) -> FilePreview:
        rules.require_open(_entry(session, identifier, line))
        store.set_aside(session, identifier, line, why)
        _finish(context, session, identifier)
        return _preview(session, identifier)

    return context.database.write(change)


def _entry(session: Session, identifier: str, line: int) -> FileEntry:
    _file(session, identifier)
    for one in store.entries(session, identifier):
        if one.entry.line == line:
            return one
    raise NotFound("bank_entry_unknown", f"The file has no entry {line}.")


def _finish(context: Context, session: Session, identifier: str) -> None:
    """Store that nothing is left to do, where that is so."""
    if _state(store.entries(session, identifier)) is FileState.BOOKED:
        store.set_file_state(session, identifier, FileState.BOOKED, booked_at=context.now())


# --- Booking --------------------------------------------------------------------------------------


def approve(context: Context, identifier: str, *, digest: bytes, person: str) -> FilePreview:
    """Approve what booking a file would do, as one of two persons; the second approval books it.

    Args:
        digest: of the preview that the person saw.

    Raises:
        Forbidden: ``not_settlement_bank``, ``person_unnamed``, ``second_person_needed``; NotFound:
            ``bank_file_unknown``; Conflict: ``bank_plan_changed``, ``bank_file_nothing_to_book``;
            Unavailable: ``chain_view_stale``.
    """
    require_bank(context)
    with context.database.read() as session:
        _file(session, identifier)
        found = store.entries(session, identifier)
        members = list(store.named_members(session, identifier).values())
    active = _active(context, [one.entry for one in found], members)
    # Stored by itself: a refusal below undoes its own change, and the next preview must show this.
    context.database.write(lambda session: _read_again(session, identifier, active))

    def change(session: Session) -> FilePreview:
        _read_again(session, identifier, active)
        entries = store.entries(session, identifier)
        rules.require_plan(entries, rules.plan_digest(identifier, entries), digest)
        approval = approvals.approve(context, session, Matter.BANK_FILE, identifier, digest, person)
        if approval.complete:
            _book(context, session, identifier, entries)
        return _preview(session, identifier)

    return context.database.write(change)


def _read_again(session: Session, identifier: str, active: frozenset[str]) -> None:
    """Read the entries that are not booked once more: a reference may have been taken meanwhile, a
    withdrawal may have arrived, a member may be suspended.
    """
    states = (EntryState.UNDERSTOOD, EntryState.UNCLEAR)
    waiting = [one for one in store.entries(session, identifier) if one.state in states]
    named = store.named_members(session, identifier)
    again = _read(session, [one.entry for one in waiting], active, named)
    for before, now in zip(waiting, again, strict=True):
        if before.reading != now.reading:
            store.set_reading(session, identifier, now.entry.line, now.reading)


def _book(
    context: Context, session: Session, identifier: str, entries: Sequence[FileEntry]
) -> None:
    for one in entries:
        if one.state is EntryState.UNDERSTOOD:
            operation = _book_entry(context, session, one)
            store.set_booked(session, identifier, one.entry.line, operation=operation)
    digest = rules.plan_digest(identifier, entries)
    append(session, kind=BOOKED, digest=digest, at=context.now())
    _finish(context, session, identifier)


def _book_entry(context: Context, session: Session, one: FileEntry) -> str:
    """Confirm what an entry shows; the contract call that was queued, if any."""
    entry, reading = one.entry, one.reading
    if reading.action is EntryAction.PAYOUT:
        _confirm_payout(context, session, one)
        return ""
    made = deposits.store_deposit(
        context, session, member=reading.member, amount=entry.amount, reference=entry.reference
    )
    if reading.action is EntryAction.RETURN:
        store.set_returned(session, reading.payout, entry.return_reason)
    return made.operation


def _confirm_payout(context: Context, session: Session, one: FileEntry) -> None:
    now = context.now()
    (payout,) = store.find_payouts(session, [one.reading.payout]).values()
    salt = context.derive(f"{PAYOUT_DOMAIN}\0{one.entry.reference}".encode())
    confirmation = PayoutConfirmation(
        version=1,
        settlement_bank=context.member,
        member=payout.member,
        amount=payout.amount,
        operation_id=payout.operation_id,
        bank_reference=commit(salt, PAYOUT_DOMAIN, one.entry.reference),
        paid_at=now,
    )
    signature = context.sign(confirmation)
    store.set_paid(session, payout.id, confirmation.to_json(), signature, at=now)
    append_statement(session, confirmation, context.domain(CONTRACT), at=now)
