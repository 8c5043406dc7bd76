"""View models of the pages of calls by file. Money in fen, times in Unix seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from chain.context import Context
from exchange.agreements import service as agreements
from exchange.call_files.model import (
    CallFile,
    CostPreview,
    FileProgress,
    FileState,
    FileView,
    RowResult,
    RowState,
    StoredRow,
)
from nodes.console.calls.views import meaning_of
from nodes.console.exports import Cell, identifier_cell
from nodes.console.i18n import N_, gettext
from nodes.console.names import asset_name

STATES: Mapping[FileState, str] = {
    FileState.READY: N_("checked, not started"),
    FileState.RUNNING: N_("running"),
    FileState.STOPPED: N_("stopped"),
    FileState.DONE: N_("completed"),
}
ROW_STATES: Mapping[RowState, str] = {
    RowState.INVALID: N_("not called: the cell is wrong"),
    RowState.WAITING: N_("not called yet"),
    RowState.OUTSTANDING: N_("unanswered"),
    RowState.SERVED: N_("served"),
    RowState.REFUSED: N_("refused, costs nothing"),
    RowState.VOID: N_("voided, costs nothing"),
}
PROBLEMS: Mapping[str, str] = {
    "consent_malformed": N_("A consent is 0x and 64 hexadecimal digits."),
    "consent_not_held": N_("No consent of the subject is stored at this bank."),
    "row_repeated": N_("The subject is in an earlier row already."),
    "subject_check_character": N_("The check character of the code or number is wrong."),
    "subject_malformed": N_("The cell has unprintable characters or is too long."),
    "subject_missing": N_("The cell is empty."),
    "subject_rounded": N_("A spreadsheet has rounded the number; format the column as text."),
}
_COLUMNS: Mapping[str, str] = {"subject": N_("Subject"), "consent": N_("Consent")}


@dataclass(frozen=True, slots=True)
class FileRowView:
    """A row with its code's meaning; ``state`` and ``column`` are marked labels."""

    line: int
    subject: str
    state: str
    problem: bool
    code: str
    reason: str
    column: str
    amount: int
    key: str
    """Empty for a row that was never called."""


@dataclass(frozen=True, slots=True)
class FilePage:
    """A file of calls; ``state`` is a marked label."""

    id: str
    name: str
    agreement_id: str
    asset: str
    columns: str
    unused: str
    state: str
    running: bool
    startable: bool
    resumable: bool
    done: bool
    stop_reason: str
    waiting_reason: str
    made_at: int
    started_at: int | None
    ended_at: int | None
    counts: list[tuple[str, int]]
    rows: int
    valid: int
    ended: int
    left: int
    amount: int


def file_page(context: Context, file: CallFile, progress: FileProgress, language: str) -> FilePage:
    """A file as list and page show it."""
    signed = agreements.load(context, file.agreement_id).agreement
    return FilePage(
        id=file.id,
        name=file.name,
        agreement_id="0x" + file.agreement_id.hex(),
        asset=asset_name(context, signed.asset_id),
        columns=", ".join(file.columns),
        unused=", ".join(file.unused_columns),
        state=STATES[file.state],
        running=file.state is FileState.RUNNING,
        startable=file.state is FileState.READY,
        resumable=file.state is FileState.STOPPED,
        done=file.state is FileState.DONE,
        stop_reason=meaning_of(file.stop_code, language) if file.stop_code else "",
        waiting_reason=meaning_of(file.waiting_code, language) if file.waiting_code else "",
        made_at=file.made_at,
        started_at=file.started_at,
        ended_at=file.ended_at,
        counts=[(ROW_STATES[state], progress.counts.get(state, 0)) for state in RowState],
        rows=progress.rows,
        valid=progress.valid,
        ended=progress.ended,
        left=progress.left,
        amount=progress.amount,
    )


def viewed(context: Context, shown: FileView, language: str) -> tuple[FilePage, CostPreview]:
    """A file's page, and the cost of what is left."""
    return file_page(context, shown.file, shown.progress, language), shown.preview


def row_view(row: StoredRow, language: str) -> FileRowView:
    """A row as the page shows it; messages are in the language of the request."""
    return FileRowView(
        line=row.line,
        subject=row.subject,
        state=ROW_STATES[row.state],
        problem=row.state in (RowState.INVALID, RowState.REFUSED, RowState.VOID),
        code=row.code,
        reason=reason_of(row.code, language),
        column=_COLUMNS.get(row.column, ""),
        amount=row.amount,
        key=row.key if row.state in (RowState.SERVED, RowState.REFUSED, RowState.VOID) else "",
    )


def reason_of(code: str, language: str) -> str:
    """What a row's code means."""
    return gettext(PROBLEMS[code]) if code in PROBLEMS else meaning_of(code, language)


RESULT_COLUMNS = (
    N_("Line"),
    N_("Subject"),
    N_("State"),
    N_("Code"),
    N_("What happened"),
    N_("Amount (yuan)"),
    N_("Receipt's hash"),
)


def result_cells(
    results: Iterator[RowResult], columns: tuple[str, ...], language: str
) -> Iterator[list[Cell]]:
    """The lines of the export: the outcome of each row, then the record's columns."""
    for result in results:
        row, record = result.row, result.record or {}
        yield [
            row.line,
            identifier_cell(row.subject),
            gettext(ROW_STATES[row.state]),
            row.code,
            reason_of(row.code, language) if row.code else "",
            f"{row.amount // 100}.{row.amount % 100:02d}",
            "0x" + result.receipt.hex() if result.receipt else "",
            *(identifier_cell(_text(record.get(column))) for column in columns),
        ]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
