"""How a file of calls is read and checked, what it can cost, and which refusal ends it. Pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence

from chain.core.errors import BadInput, Conflict, Forbidden, QiaolianError
from chain.statements.trade import Agreement, MeteredUnit
from exchange.call_files.model import (
    MAX_NAME,
    MAX_ROWS,
    CostPreview,
    FileRow,
    FileState,
    ReadFile,
)
from registry import uscc
from registry.identifiers import normalised_identifier

SUBJECT_HEADINGS = ("subject", "主体", "统一社会信用代码", "证件号码")
CONSENT_HEADINGS = ("consent", "同意", "同意编号")
MAX_SUBJECT = 256
_ENCODINGS = ("utf-8-sig", "gb18030")
_BINARY = {
    b"PK\x03\x04": "an Excel workbook or another archive",
    b"\xd0\xcf\x11\xe0": "an Excel 97 workbook",
    b"%PDF": "a PDF file",
    b"PAR1": "a Parquet file",
}
_CONSENT = re.compile("0x[0-9a-f]{64}")
_ROUNDED = re.compile(r"[0-9]\.[0-9]+[eE]\+?[0-9]{1,3}")
_CODE_LETTERS = re.compile("[0-9A-HJ-NPQRTUWXY]{18}")
_CITIZEN = re.compile("[0-9]{17}[0-9X]")
_CITIZEN_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)

ENDING = frozenset(
    {
        "agreement_ended",
        "agreement_final",
        "agreement_in_notice",
        "agreement_not_open",
        "asset_cancelled",
        "asset_held",
        "cap_reached",
        "grant_revoked",
        "grant_used_up",
        "key_ended",
        "lane_halted",
        "max_amount_too_low",
        "not_active",
        "over_max_per_call",
        "too_many_unknown_subjects",
        "unit_cap_reached",
    }
)
"""Refusals that every further row would get too: the file stops, and such a row is called again
when it is resumed.
"""


def require_order(name: str, columns: Sequence[str], granted: Sequence[str]) -> None:
    """The file has a name and asks for columns that are granted: ``file_name_malformed``,
    ``columns_missing``, ``column_not_granted``.
    """
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise BadInput(
            "file_name_malformed", f"A file's name has 1 to {MAX_NAME} printable characters."
        )
    if not columns or len(set(columns)) != len(columns):
        raise BadInput("columns_missing", "Name each column that is wanted, once.")
    for column in columns:
        if column not in granted:
            raise Forbidden(
                "column_not_granted",
                f"The grant does not cover the column {column}.",
                hint=f"It covers: {', '.join(granted)}.",
            )


def read_file(content: bytes) -> ReadFile:
    """The rows of a CSV file in UTF-8 or GB18030, each checked cell by cell.

    Raises:
        BadInput: ``file_not_text``, ``file_encoding``, ``file_header_missing``, ``file_empty``,
            ``file_too_long``, ``csv_malformed``.
    """
    lines = csv.reader(io.StringIO(_decoded(content), newline=""), strict=True)
    try:
        headings = [heading.strip() for heading in next(lines, [])]
        subject, consent = _columns(headings)
        rows = list(_checked(_rows(lines), subject, consent))
    except csv.Error as error:
        raise BadInput(
            "csv_malformed",
            f"Line {lines.line_num} of the file is not CSV.",
            hint="Save the table as CSV with commas; a quotation mark in a cell is doubled.",
        ) from error
    if not rows:
        raise BadInput("file_empty", "The file has a heading line and no row.")
    used = {subject, consent}
    unused = [heading for place, heading in enumerate(headings) if place not in used]
    return ReadFile(rows, unused)


def _decoded(content: bytes) -> str:
    for start, what in _BINARY.items():
        if content.startswith(start):
            raise BadInput(
                "file_not_text", f"The file is {what}, not CSV.", hint="Save the table as CSV."
            )
    for encoding in _ENCODINGS:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            raise BadInput("file_not_text", "The file is not text.", hint="Save the table as CSV.")
        return text
    raise BadInput(
        "file_encoding",
        "The file is in neither UTF-8 nor GB18030.",
        hint="Save it as CSV UTF-8.",
    )


def _columns(headings: Sequence[str]) -> tuple[int, int | None]:
    """The places of the subject's and the consent's column."""
    lowered = [heading.lower() for heading in headings]
    subject = _place(lowered, SUBJECT_HEADINGS)
    if subject is None:
        raise BadInput(
            "file_header_missing",
            "The first line does not name the column of the subjects exactly once.",
            hint=f"Name it {' or '.join(SUBJECT_HEADINGS)}; the consents' column is "
            f"{' or '.join(CONSENT_HEADINGS)}.",
        )
    return subject, _place(lowered, CONSENT_HEADINGS)


def _place(headings: Sequence[str], names: Sequence[str]) -> int | None:
    found = [place for place, heading in enumerate(headings) if heading in names]
    return found[0] if len(found) == 1 else None


def _rows(lines: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank with the line each begins on, the heading being line 1."""
    count, line = 0, getattr(lines, "line_num", 1) + 1
    for row in lines:
        if any(cell.strip() for cell in row):
            count += 1
            if count > MAX_ROWS:
                raise BadInput(
                    "file_too_long",
                    f"A file has at most {MAX_ROWS:,} rows.",
                    hint="Split it into several files.",
                )
            yield line, row
        line = getattr(lines, "line_num", line) + 1


def _checked(
    rows: Iterator[tuple[int, list[str]]], subject: int, consent: int | None
) -> Iterator[FileRow]:
    seen: set[str] = set()
    for line, cells in rows:
        identifier = normalised_identifier(_cell(cells, subject))
        given = _cell(cells, consent).strip().lower()
        problem = _subject_problem(identifier) or ("row_repeated" if identifier in seen else "")
        column = "subject" if problem else ""
        if not problem and given and not _CONSENT.fullmatch(given):
            problem, column = "consent_malformed", "consent"
        if not problem:
            seen.add(identifier)
        yield FileRow(line, identifier[:MAX_SUBJECT], given if not problem else "", problem, column)


def _cell(cells: Sequence[str], place: int | None) -> str:
    return cells[place] if place is not None and place < len(cells) else ""


def _subject_problem(identifier: str) -> str:
    """The code of what is wrong with an identifier; empty where nothing is."""
    if not identifier:
        return "subject_missing"
    if len(identifier) > MAX_SUBJECT or not identifier.isprintable():
        return "subject_malformed"
    if _ROUNDED.fullmatch(identifier):
        return "subject_rounded"
    if _CITIZEN.fullmatch(identifier):
        return "" if _is_citizen(identifier) or _is_code(identifier) else "subject_check_character"
    if _CODE_LETTERS.fullmatch(identifier) and not _is_code(identifier):
        return "subject_check_character"
    return ""


def _is_code(identifier: str) -> bool:
    try:
        uscc.require_valid(identifier)
    except QiaolianError:
        return False
    return True


def _is_citizen(identifier: str) -> bool:
    """GB 11643-1999: the last character is a check of the others (ISO 7064, MOD 11-2)."""
    digits = zip(identifier[:17], _CITIZEN_WEIGHTS, strict=True)
    total = sum(int(digit) * weight for digit, weight in digits)
    return "10X98765432"[total % 11] == identifier[17]


def with_consents(rows: Sequence[FileRow], found: Mapping[str, str]) -> list[FileRow]:
    """The rows with the consent that this bank holds for each subject, where the file names none
    and the purpose needs one; a row without any is invalid (``consent_not_held``).
    """
    filled = []
    for row in rows:
        if row.problem or row.consent:
            filled.append(row)
        elif consent := found.get(row.subject, ""):
            filled.append(FileRow(row.line, row.subject, consent))
        else:
            filled.append(FileRow(row.line, row.subject, "", "consent_not_held", "consent"))
    return filled


def preview(agreement: Agreement, rows: int, *, units: int, amount: int) -> CostPreview:
    """What so many calls can cost under an agreement of which units and fen are used already."""
    cap_left = max(0, agreement.cap - amount)
    units_left = max(0, agreement.max_units - units) if agreement.max_units else None
    by_money = cap_left // agreement.price if agreement.price else rows
    calls_left = by_money if units_left is None else min(by_money, units_left)
    by_byte = agreement.unit == MeteredUnit.BYTE
    most = max(agreement.max_per_call, agreement.price) if by_byte else agreement.price
    return CostPreview(
        rows=rows,
        least=rows * agreement.price,
        most=rows * most,
        cap=agreement.cap,
        cap_left=cap_left,
        units_left=units_left,
        calls_left=calls_left,
    )


def require_startable(state: FileState, cost: CostPreview) -> None:
    """A file that is ready or stopped may start where its rows fit under the caps:
    ``file_not_startable``, ``file_without_calls``, ``file_over_cap``.
    """
    if state not in (FileState.READY, FileState.STOPPED):
        raise Conflict("file_not_startable", f"The file is {state.value} already.")
    if not cost.rows:
        raise Conflict("file_without_calls", "No row of the file can be called.")
    if not cost.fits:
        raise Conflict(
            "file_over_cap",
            f"The agreement's caps allow {cost.calls_left:,} of the {cost.rows:,} calls; "
            "nothing was called.",
            hint="Order another agreement with a larger cap, or upload a shorter file.",
        )


def require_stoppable(state: FileState) -> None:
    """Only a running file stops: ``file_not_running``."""
    if state is not FileState.RUNNING:
        raise Conflict("file_not_running", f"The file is {state.value}; nothing is being called.")


def require_removable(state: FileState) -> None:
    """A running file is stopped before it is removed: ``file_running``."""
    if state is FileState.RUNNING:
        raise Conflict("file_running", "The file is running.", hint="Stop it first.")


def row_key(file_id: str, line: int, attempt: int) -> str:
    """The idempotency key of a row's call: the same each time, so that no row is billed twice. Only
    a refusal, which costs nothing, is followed by another attempt.
    """
    return f"file-{file_id}-{line}" + (f"-{attempt}" if attempt else "")
