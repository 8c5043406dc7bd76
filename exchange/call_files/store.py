"""Tables of files of calls, and their queries."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import JSON, LargeBinary
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base
from exchange.call_files.model import (
    OPEN,
    CallFile,
    FileProgress,
    FileRow,
    FileState,
    RowState,
    StoredRow,
)
from exchange.call_files.rules import row_key
from registry.pages import Page, PageRequest, page_of


class CallFileRow(Base):
    """A file."""

    __tablename__ = "exchange_call_file"
    id: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    added: Mapped[int] = mapped_column(sa.BigInteger, default=time.time_ns, index=True)
    """When this node added the row, in nanoseconds since 1970: the order of lists."""
    name: Mapped[str] = mapped_column(sa.String(100))
    agreement_id: Mapped[bytes] = mapped_column(LargeBinary(32), index=True)
    columns: Mapped[list[str]] = mapped_column(JSON)
    unused_columns: Mapped[list[str]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(sa.String(8), index=True)
    stop_code: Mapped[str] = mapped_column(sa.String(64), default="")
    waiting_code: Mapped[str] = mapped_column(sa.String(64), default="")
    made_at: Mapped[int] = mapped_column(sa.BigInteger)
    started_at: Mapped[int | None] = mapped_column(sa.BigInteger)
    ended_at: Mapped[int | None] = mapped_column(sa.BigInteger)


class CallFileLine(Base):
    """A row of a file."""

    __tablename__ = "exchange_call_file_row"
    __table_args__ = (
        sa.Index("ix_exchange_call_file_row_state", "file_id", "state", "line", "amount"),
    )
    file_id: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    subject: Mapped[str] = mapped_column(sa.String(256))
    consent: Mapped[str] = mapped_column(sa.String(66))
    state: Mapped[str] = mapped_column(sa.String(11))
    code: Mapped[str] = mapped_column(sa.String(64))
    column: Mapped[str] = mapped_column(sa.String(16))
    attempt: Mapped[int] = mapped_column(default=0)
    """How often the row was refused for what had nothing to do with it."""
    units: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    amount: Mapped[int] = mapped_column(sa.BigInteger, default=0)


def add(session: Session, file: CallFile, rows: Sequence[FileRow]) -> None:
    """Store a new file with its rows."""
    session.add(
        CallFileRow(
            id=file.id,
            name=file.name,
            agreement_id=file.agreement_id,
            columns=list(file.columns),
            unused_columns=list(file.unused_columns),
            state=file.state.value,
            made_at=file.made_at,
        )
    )
    session.flush()
    state = {True: RowState.INVALID.value, False: RowState.WAITING.value}
    session.execute(
        sa.insert(CallFileLine),
        [
            {
                "file_id": file.id,
                "line": row.line,
                "subject": row.subject,
                "consent": row.consent,
                "state": state[bool(row.problem)],
                "code": row.problem,
                "column": row.column,
                "attempt": 0,
                "units": 0,
                "amount": 0,
            }
            for row in rows
        ],
    )


def find(session: Session, file_id: str) -> CallFile | None:
    """A file, or None."""
    row = session.get(CallFileRow, file_id)
    return None if row is None else _file(row)


def files(session: Session, page: PageRequest) -> Page[CallFile]:
    """Files, the newest first; ``cursor_malformed``."""
    order = (CallFileRow.added, CallFileRow.id)
    return page_of(session, sa.select(CallFileRow), order, page).map(_file)


def running(session: Session) -> list[CallFile]:
    """The running files, the oldest first."""
    query = sa.select(CallFileRow).where(CallFileRow.state == FileState.RUNNING.value)
    return [_file(row) for row in session.scalars(query.order_by(CallFileRow.added))]


def progress(session: Session, file_ids: Collection[str]) -> dict[str, FileProgress]:
    """Progress of some files."""
    query = (
        sa.select(
            CallFileLine.file_id,
            CallFileLine.state,
            sa.func.count(),
            sa.func.sum(CallFileLine.amount),
        )
        .where(CallFileLine.file_id.in_(list(file_ids)))
        .group_by(CallFileLine.file_id, CallFileLine.state)
    )
    counts: dict[str, dict[RowState, int]] = {file_id: {} for file_id in file_ids}
    amounts = dict.fromkeys(file_ids, 0)
    for file_id, state, count, amount in session.execute(query):
        counts[file_id][RowState(state)] = count
        amounts[file_id] += int(amount or 0)
    return {file_id: FileProgress(counts[file_id], amounts[file_id]) for file_id in file_ids}


def rows(
    session: Session, file_id: str, page: PageRequest, *, states: Collection[RowState] = ()
) -> Page[StoredRow]:
    """Rows of a file in its order; ``cursor_malformed``."""
    query = sa.select(CallFileLine).where(CallFileLine.file_id == file_id)
    if states:
        query = query.where(CallFileLine.state.in_([state.value for state in states]))
    return page_of(session, query, (CallFileLine.line,), page, ascending=True).map(_row)


def open_rows(session: Session, file_id: str, limit: int) -> list[StoredRow]:
    """The next rows to be answered."""
    query = sa.select(CallFileLine).where(
        CallFileLine.file_id == file_id,
        CallFileLine.state.in_([state.value for state in OPEN]),
    )
    return [_row(row) for row in session.scalars(query.order_by(CallFileLine.line).limit(limit))]


def set_state(session: Session, file_id: str, state: FileState, **columns: Any) -> None:
    """Store a file's state, and what is known with it."""
    query = sa.update(CallFileRow).where(CallFileRow.id == file_id)
    session.execute(query.values(state=state.value, **columns))


def set_waiting(session: Session, file_id: str, code: str) -> None:
    """Store why the provider could not be asked; empty once it could."""
    query = sa.update(CallFileRow).where(CallFileRow.id == file_id)
    session.execute(query.values(waiting_code=code))


def set_rows(session: Session, file_id: str, outcomes: Mapping[int, Mapping[str, Any]]) -> None:
    """Store how rows ended, by line."""
    for line, columns in outcomes.items():
        query = sa.update(CallFileLine).where(
            CallFileLine.file_id == file_id, CallFileLine.line == line
        )
        session.execute(query.values(**columns))


def remove(session: Session, file_id: str) -> None:
    """Delete a file and its rows."""
    session.execute(sa.delete(CallFileLine).where(CallFileLine.file_id == file_id))
    session.execute(sa.delete(CallFileRow).where(CallFileRow.id == file_id))


def _file(row: CallFileRow) -> CallFile:
    return CallFile(
        id=row.id,
        name=row.name,
        agreement_id=row.agreement_id,
        columns=tuple(row.columns),
        state=FileState(row.state),
        stop_code=row.stop_code,
        waiting_code=row.waiting_code,
        unused_columns=tuple(row.unused_columns),
        made_at=row.made_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


def _row(row: CallFileLine) -> StoredRow:
    return StoredRow(
        line=row.line,
        subject=row.subject,
        consent=row.consent,
        state=RowState(row.state),
        code=row.code,
        column=row.column,
        units=row.units,
        amount=row.amount,
        attempt=row.attempt,
        key=row_key(row.file_id, row.line, row.attempt),
    )
