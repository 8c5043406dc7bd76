"""Tables of bank files, payouts, orders of payments and members' accounts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import JSON, LargeBinary
from sqlalchemy.orm import Mapped, Session, defer, mapped_column

from chain.core.database import Base
from exchange.banking.model import (
    CURRENCY,
    UNPAID,
    BankFile,
    BankStatement,
    Direction,
    EntryAction,
    EntryState,
    FileEntry,
    FileState,
    MemberAccount,
    OrderState,
    PaymentOrder,
    Payout,
    PayoutState,
    Reading,
    StatementEntry,
)
from exchange.columns import Fen
from registry.pages import Page, PageRequest, page_of

_MAX_IDS = 500


class BankFileRow(Base):
    """A bank statement that was taken, with its bytes as the bank made them."""

    __tablename__ = "exchange_bank_file"
    __table_args__ = (
        sa.Index("ix_exchange_bank_file_statement", "message_id", "statement_id", unique=True),
    )
    id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(100))
    message_id: Mapped[str] = mapped_column(sa.String(140))
    statement_id: Mapped[str] = mapped_column(sa.String(140))
    account: Mapped[str] = mapped_column(sa.String(140))
    opening: Mapped[int] = mapped_column(Fen)
    closing: Mapped[int] = mapped_column(Fen)
    state: Mapped[str] = mapped_column(sa.String(8), index=True)
    taken_at: Mapped[int] = mapped_column(sa.BigInteger)
    taken_by: Mapped[str] = mapped_column(sa.String(64))
    booked_at: Mapped[int | None] = mapped_column(sa.BigInteger)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class BankEntryRow(Base):
    """An entry of a file with what is made of it."""

    __tablename__ = "exchange_bank_entry"
    file_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    direction: Mapped[str] = mapped_column(sa.String(6))
    amount: Mapped[int] = mapped_column(Fen)
    reference: Mapped[str] = mapped_column(sa.String(150), index=True)
    end_to_end_id: Mapped[str] = mapped_column(sa.String(140))
    booked: Mapped[bool] = mapped_column()
    details: Mapped[dict[str, str]] = mapped_column(JSON)
    action: Mapped[str] = mapped_column(sa.String(8))
    member: Mapped[str] = mapped_column(sa.String(18))
    named: Mapped[bool] = mapped_column()
    """Whether a person named the member."""
    payout: Mapped[str] = mapped_column(sa.String(32))
    problem: Mapped[str] = mapped_column(sa.String(40))
    state: Mapped[str] = mapped_column(sa.String(10))
    reason: Mapped[str] = mapped_column(sa.String(200))
    operation: Mapped[str] = mapped_column(sa.String(100))


class PayoutRow(Base):
    """A withdrawal of the chain and its payment."""

    __tablename__ = "exchange_payout"
    __table_args__ = (sa.Index("ix_exchange_payout_order", "height", "log_index"),)
    id: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    member: Mapped[str] = mapped_column(sa.String(18), index=True)
    amount: Mapped[int] = mapped_column(Fen)
    operation_id: Mapped[bytes] = mapped_column(LargeBinary(32))
    height: Mapped[int] = mapped_column(sa.BigInteger)
    log_index: Mapped[int] = mapped_column()
    at: Mapped[int] = mapped_column(sa.BigInteger)
    state: Mapped[str] = mapped_column(sa.String(10), index=True)
    order_id: Mapped[str] = mapped_column(sa.String(35), index=True)
    paid_at: Mapped[int | None] = mapped_column(sa.BigInteger)
    reason: Mapped[str] = mapped_column(sa.String(140))
    confirmation: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    signature: Mapped[bytes | None] = mapped_column(LargeBinary(65))


class PaymentOrderRow(Base):
    """An order of payments with its file."""

    __tablename__ = "exchange_payment_order"
    __table_args__ = (sa.Index("ix_exchange_payment_order_made", "made_at", "id"),)
    id: Mapped[str] = mapped_column(sa.String(35), primary_key=True)
    day: Mapped[str] = mapped_column(sa.String(10))
    payments: Mapped[int] = mapped_column()
    total: Mapped[int] = mapped_column(Fen)
    state: Mapped[str] = mapped_column(sa.String(8))
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    content: Mapped[bytes] = mapped_column(LargeBinary)
    made_at: Mapped[int] = mapped_column(sa.BigInteger)
    made_by: Mapped[str] = mapped_column(sa.String(64))
    released_at: Mapped[int | None] = mapped_column(sa.BigInteger)
    released_by: Mapped[str] = mapped_column(sa.String(64))


class MemberAccountRow(Base):
    """The account that a member is paid to."""

    __tablename__ = "exchange_member_account"
    member: Mapped[str] = mapped_column(sa.String(18), primary_key=True)
    account: Mapped[str] = mapped_column(sa.String(34), index=True)
    name: Mapped[str] = mapped_column(sa.String(70))
    bank_code: Mapped[str] = mapped_column(sa.String(12))
    since: Mapped[int] = mapped_column(sa.BigInteger)


# --- Files ----------------------------------------------------------------------------------------


def find_file(session: Session, file_id: str) -> BankFile | None:
    """A file, or None."""
    row = session.get(BankFileRow, file_id)
    return None if row is None else _file(row)


def find_statement(session: Session, statement: BankStatement) -> BankFile | None:
    """The file in which a statement was taken before."""
    query = sa.select(BankFileRow).where(
        BankFileRow.message_id == statement.message_id,
        BankFileRow.statement_id == statement.statement_id,
    )
    row = session.scalars(query).first()
    return None if row is None else _file(row)


def file_content(session: Session, file_id: str) -> bytes | None:
    """A file's bytes."""
    row = session.get(BankFileRow, file_id)
    return None if row is None else row.content


def files(session: Session, page: PageRequest) -> Page[BankFile]:
    """Files, the latest first; ``cursor_malformed``."""
    query = sa.select(BankFileRow).options(defer(BankFileRow.content))
    return page_of(session, query, (BankFileRow.taken_at, BankFileRow.id), page).map(_file)


def add_file(
    session: Session, file: BankFile, content: bytes, entries: Sequence[FileEntry]
) -> None:
    """Store a new file with its entries."""
    statement = file.statement
    session.add(
        BankFileRow(
            id=file.id,
            name=file.name,
            message_id=statement.message_id,
            statement_id=statement.statement_id,
            account=statement.account,
            opening=statement.opening,
            closing=statement.closing,
            state=file.state.value,
            taken_at=file.taken_at,
            taken_by=file.taken_by,
            content=content,
        )
    )
    session.flush()
    for one in entries:
        session.add(_entry_row(file.id, one))
    session.flush()


def set_file_state(session: Session, file_id: str, state: FileState, *, booked_at: int) -> None:
    """Store a file's state."""
    query = sa.update(BankFileRow).where(BankFileRow.id == file_id)
    session.execute(query.values(state=state.value, booked_at=booked_at))


def entries(session: Session, file_id: str) -> list[FileEntry]:
    """Every entry of a file, in its order."""
    return [_entry(row) for row in _entry_rows(session, file_id)]


def entry_page(session: Session, file_id: str, page: PageRequest) -> Page[FileEntry]:
    """Entries of a file, in its order; ``cursor_malformed``."""
    query = sa.select(BankEntryRow).where(BankEntryRow.file_id == file_id)
    return page_of(session, query, (BankEntryRow.line,), page, ascending=True).map(_entry)


def named_members(session: Session, file_id: str) -> dict[int, str]:
    """The members that persons named, by line."""
    query = sa.select(BankEntryRow.line, BankEntryRow.member).where(
        BankEntryRow.file_id == file_id, BankEntryRow.named.is_(True)
    )
    return {line: member for line, member in session.execute(query)}


def set_reading(session: Session, file_id: str, line: int, reading: Reading) -> None:
    """Store what is made of an entry that is not booked."""
    state = EntryState.UNCLEAR if reading.problem else EntryState.UNDERSTOOD
    _update_entry(
        session,
        file_id,
        line,
        action=reading.action.value,
        member=reading.member,
        payout=reading.payout,
        problem=reading.problem,
        state=state.value,
        reason="",
    )


def set_named(session: Session, file_id: str, line: int) -> None:
    """Remember that a person named an entry's member."""
    _update_entry(session, file_id, line, named=True)


def set_aside(session: Session, file_id: str, line: int, reason: str) -> None:
    """Store why a person set an entry aside."""
    _update_entry(session, file_id, line, state=EntryState.ASIDE.value, reason=reason)


def set_booked(session: Session, file_id: str, line: int, *, operation: str) -> None:
    """Store that an entry is booked."""
    _update_entry(session, file_id, line, state=EntryState.BOOKED.value, operation=operation)


def _update_entry(session: Session, file_id: str, line: int, **columns: Any) -> None:
    query = sa.update(BankEntryRow).where(
        BankEntryRow.file_id == file_id, BankEntryRow.line == line
    )
    session.execute(query.values(**columns))


def _entry_rows(session: Session, file_id: str) -> Iterator[BankEntryRow]:
    query = sa.select(BankEntryRow).where(BankEntryRow.file_id == file_id)
    return iter(session.scalars(query.order_by(BankEntryRow.line)))


def _entry_row(file_id: str, one: FileEntry) -> BankEntryRow:
    entry, reading = one.entry, one.reading
    return BankEntryRow(
        file_id=file_id,
        line=entry.line,
        direction=entry.direction.value,
        amount=entry.amount,
        reference=entry.reference,
        end_to_end_id=entry.end_to_end_id,
        booked=entry.booked,
        details={
            "day": entry.day,
            "account": entry.account,
            "party": entry.party,
            "party_code": entry.party_code,
            "text": entry.text,
            "return_reason": entry.return_reason,
        },
        action=reading.action.value,
        member=reading.member,
        named=False,
        payout=reading.payout,
        problem=reading.problem,
        state=one.state.value,
        reason=one.reason,
        operation=one.operation,
    )


def _entry(row: BankEntryRow) -> FileEntry:
    entry = StatementEntry(
        line=row.line,
        direction=Direction(row.direction),
        amount=row.amount,
        currency=CURRENCY,
        reference=row.reference,
        end_to_end_id=row.end_to_end_id,
        booked=row.booked,
        **row.details,
    )
    reading = Reading(EntryAction(row.action), row.member, row.payout, row.problem)
    return FileEntry(entry, reading, EntryState(row.state), row.reason, row.operation)


def _file(row: BankFileRow) -> BankFile:
    statement = BankStatement(
        row.message_id, row.statement_id, row.account, CURRENCY, row.opening, row.closing, ()
    )
    return BankFile(
        row.id,
        row.name,
        statement,
        FileState(row.state),
        row.taken_at,
        row.taken_by,
        row.booked_at,
    )


# --- Payouts --------------------------------------------------------------------------------------


def add_payout(session: Session, payout: Payout, *, log_index: int) -> None:
    """Store a withdrawal; the same one again changes nothing."""
    if session.get(PayoutRow, payout.id) is not None:
        return
    session.add(
        PayoutRow(
            id=payout.id,
            member=payout.member,
            amount=payout.amount,
            operation_id=payout.operation_id,
            height=payout.height,
            log_index=log_index,
            at=payout.at,
            state=payout.state.value,
            order_id="",
            reason="",
        )
    )
    session.flush()


def find_payouts(session: Session, ids: Collection[str]) -> dict[str, Payout]:
    """Those of these payouts that are known, by id."""
    return {row.id: _payout(row) for row in _payout_rows(session, ids)}


def confirmations(
    session: Session, ids: Collection[str], *, member: str | None
) -> dict[str, tuple[Mapping[str, Any], bytes]]:
    """The signed confirmations of those of these payouts that have one, by id.

    Args:
        member: only this member's; None for everybody's.
    """
    return {
        row.id: (row.confirmation, row.signature)
        for row in _payout_rows(session, ids)
        if row.confirmation is not None
        and row.signature is not None
        and (member is None or row.member == member)
    }


def payouts(
    session: Session,
    page: PageRequest,
    *,
    state: PayoutState | None = None,
    member: str | None = None,
    order_id: str | None = None,
) -> Page[Payout]:
    """Payouts, the latest withdrawal first; ``cursor_malformed``."""
    query = sa.select(PayoutRow)
    for column, value in (
        (PayoutRow.state, None if state is None else state.value),
        (PayoutRow.member, member),
        (PayoutRow.order_id, order_id),
    ):
        if value is not None:
            query = query.where(column == value)
    return page_of(session, query, (PayoutRow.height, PayoutRow.log_index), page).map(_payout)


def payouts_in(session: Session, states: Collection[PayoutState], limit: int) -> list[Payout]:
    """Payouts in some states, the oldest first."""
    query = sa.select(PayoutRow).where(PayoutRow.state.in_([state.value for state in states]))
    query = query.order_by(PayoutRow.height, PayoutRow.log_index).limit(limit)
    return [_payout(row) for row in session.scalars(query)]


def payouts_between(session: Session, member: str, since: int, until: int) -> list[Payout]:
    """A member's withdrawals of a period, in their order."""
    query = sa.select(PayoutRow).where(
        PayoutRow.member == member, PayoutRow.at >= since, PayoutRow.at < until
    )
    query = query.order_by(PayoutRow.height, PayoutRow.log_index)
    return [_payout(row) for row in session.scalars(query)]


def unpaid(session: Session) -> tuple[int, int]:
    """How many withdrawals are not paid out, and their fen."""
    states = [state.value for state in UNPAID]
    query = sa.select(PayoutRow.amount).where(PayoutRow.state.in_(states))
    amounts = list(session.scalars(query))
    return len(amounts), sum(amounts)


def set_payouts(session: Session, ids: Collection[str], state: PayoutState, order: str) -> None:
    """Store the state of payouts, and the order that they are in."""
    query = sa.update(PayoutRow).where(PayoutRow.id.in_(list(ids)))
    session.execute(query.values(state=state.value, order_id=order))


def set_order_payouts(session: Session, order_id: str, state: PayoutState) -> None:
    """Store the state of an order's payouts that are not paid yet."""
    waiting = [value.value for value in UNPAID]
    query = sa.update(PayoutRow).where(PayoutRow.order_id == order_id, PayoutRow.state.in_(waiting))
    columns = {"state": state.value}
    if state is PayoutState.ORDERED:
        columns["order_id"] = ""
    session.execute(query.values(**columns))


def set_paid(
    session: Session, payout_id: str, confirmation: Mapping[str, Any], signature: bytes, *, at: int
) -> None:
    """Store that a payout was paid, with the bank's signed confirmation."""
    query = sa.update(PayoutRow).where(PayoutRow.id == payout_id)
    session.execute(
        query.values(
            state=PayoutState.PAID.value,
            paid_at=at,
            confirmation=dict(confirmation),
            signature=signature,
        )
    )


def set_returned(session: Session, payout_id: str, reason: str) -> None:
    """Store that a payment came back."""
    query = sa.update(PayoutRow).where(PayoutRow.id == payout_id)
    session.execute(query.values(state=PayoutState.RETURNED.value, reason=reason))


def _payout_rows(session: Session, ids: Collection[str]) -> Iterator[PayoutRow]:
    wanted = [one for one in ids if one]
    for start in range(0, len(wanted), _MAX_IDS):
        query = sa.select(PayoutRow).where(PayoutRow.id.in_(wanted[start : start + _MAX_IDS]))
        yield from session.scalars(query)


def _payout(row: PayoutRow) -> Payout:
    return Payout(
        id=row.id,
        member=row.member,
        amount=row.amount,
        operation_id=row.operation_id,
        height=row.height,
        at=row.at,
        state=PayoutState(row.state),
        order_id=row.order_id,
        paid_at=row.paid_at,
        reason=row.reason,
        confirmed_by="" if row.confirmation is None else str(row.confirmation["settlementBank"]),
    )


# --- Orders and accounts --------------------------------------------------------------------------


def add_order(session: Session, order: PaymentOrder, content: bytes) -> None:
    """Store a new order with its file."""
    session.add(
        PaymentOrderRow(
            id=order.id,
            day=order.day,
            payments=order.payments,
            total=order.total,
            state=order.state.value,
            digest=order.digest,
            content=content,
            made_at=order.made_at,
            made_by=order.made_by,
            released_by="",
        )
    )
    session.flush()


def find_order(session: Session, order_id: str) -> PaymentOrder | None:
    """An order, or None."""
    row = session.get(PaymentOrderRow, order_id)
    return None if row is None else _order(row)


def order_content(session: Session, order_id: str) -> bytes | None:
    """An order's file."""
    row = session.get(PaymentOrderRow, order_id)
    return None if row is None else row.content


def orders(session: Session, page: PageRequest) -> Page[PaymentOrder]:
    """Orders, the latest first; ``cursor_malformed``."""
    query = sa.select(PaymentOrderRow).options(defer(PaymentOrderRow.content))
    return page_of(session, query, (PaymentOrderRow.made_at, PaymentOrderRow.id), page).map(_order)


def set_order(session: Session, order_id: str, state: OrderState, *, by: str, at: int) -> None:
    """Store that an order was released or dropped."""
    query = sa.update(PaymentOrderRow).where(PaymentOrderRow.id == order_id)
    session.execute(query.values(state=state.value, released_by=by, released_at=at))


def _order(row: PaymentOrderRow) -> PaymentOrder:
    return PaymentOrder(
        row.id,
        row.day,
        row.payments,
        row.total,
        OrderState(row.state),
        row.digest,
        row.made_at,
        row.made_by,
        row.released_at,
        row.released_by,
    )


def accounts(session: Session) -> list[MemberAccount]:
    """Every registered account, by member."""
    query = sa.select(MemberAccountRow).order_by(MemberAccountRow.member)
    return [_account(row) for row in session.scalars(query)]


def account_page(session: Session, page: PageRequest) -> Page[MemberAccount]:
    """Registered accounts by member; ``cursor_malformed``."""
    query = sa.select(MemberAccountRow)
    found = page_of(session, query, (MemberAccountRow.member,), page, ascending=True)
    return found.map(_account)


def put_account(session: Session, account: MemberAccount) -> None:
    """Store a member's account in place of an earlier one."""
    session.merge(
        MemberAccountRow(
            member=account.member,
            account=account.account,
            name=account.name,
            bank_code=account.bank_code,
            since=account.since,
        )
    )
    session.flush()


def _account(row: MemberAccountRow) -> MemberAccount:
    return MemberAccount(row.member, row.account, row.name, row.bank_code, row.since)
