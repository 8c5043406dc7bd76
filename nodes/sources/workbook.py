"""Excel workbooks (``.xlsx``): the records of the one visible sheet that has any, written as CSV.

The CSV file is what is inspected, published and served, so a workbook has no reader of its own
(``csv_file.CsvSource``). Each row of the sheet becomes the line of the same number. Cells keep the
value that Excel stored: of a formula its last result, of a date its ISO form, of a number all its
digits. What CSV cannot say is refused with its cell: merged cells, formulas without a stored
result, errors such as ``#N/A``, numbers that Excel has rounded.
"""

from __future__ import annotations

import csv
import datetime
import decimal
import re
import zipfile
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from xml.parsers import expat

from registry.source_files import FaultKind, FileFault

MAX_UNPACKED_BYTES = 256 << 20
MAX_STRINGS_BYTES = 64 << 20
"""Of the table of texts, which is held in memory."""
MAX_PARTS = 1_000
MAX_COLUMNS = 256
MAX_ROWS = 1_048_576
EXACT_DIGITS = 15
"""Digits that Excel stores of a number; it rounds longer ones."""
CELL_CHARACTERS = 40

_MAIN, _STRINGS = "xl/workbook.xml", "xl/sharedStrings.xml"
_REFERENCE = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")
_CHUNK = 1 << 16

Report = Callable[[FileFault], None]


def is_workbook(path: Path) -> bool:
    """Whether the file is an ``.xlsx`` workbook by its content."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _MAIN in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


@dataclass
class ConvertedSheet:
    """The sheet that was written as CSV."""

    name: str = ""
    _shifts: list[tuple[int, int]] = field(default_factory=lambda: [(1, 0)])
    """From which line on a line's number is how much larger than its row's."""

    def row_of(self, line: int) -> int:
        """The row of the sheet behind a line. A cell with a line break takes several lines."""
        first, shift = self._shifts[bisect_right(self._shifts, (line, MAX_ROWS)) - 1]
        return max(line - shift, first - shift)

    def shift(self, line: int, breaks: int) -> None:
        """The rows that begin at ``line`` lie ``breaks`` lines further down than those before."""
        self._shifts.append((line, self._shifts[-1][1] + breaks))


def convert(workbook: Path, target: Path, report: Report) -> ConvertedSheet:
    """Write the workbook's records to ``target``; what cannot be written is reported as a fault.

    The target is empty where the workbook cannot be read.
    """
    target.write_bytes(b"")
    try:
        with workbook.open("rb") as file:
            with zipfile.ZipFile(file) as archive:
                bounded = _is_bounded(archive)
            if not bounded:
                report(FileFault(FaultKind.UNPACKED_SIZE, detail=f"{MAX_UNPACKED_BYTES >> 20} MB"))
                return ConvertedSheet()
            return _convert(file, target, report)
    except Exception:  # a damaged workbook can raise anything
        report(FileFault(FaultKind.UNREADABLE))
        return ConvertedSheet()


def _is_bounded(archive: zipfile.ZipFile) -> bool:
    """Whether the workbook is small once it is unpacked. Python's reader stops at the size that a
    part declares.
    """
    parts = archive.infolist()
    strings = sum(part.file_size for part in parts if part.filename == _STRINGS)
    unpacked = sum(part.file_size for part in parts)
    return (
        len(parts) <= MAX_PARTS and strings <= MAX_STRINGS_BYTES and unpacked <= MAX_UNPACKED_BYTES
    )


def _convert(workbook: IO[bytes], target: Path, report: Report) -> ConvertedSheet:
    from openpyxl import load_workbook

    book = load_workbook(workbook, read_only=True, data_only=True, keep_links=False)
    try:
        visible = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
        filled = [sheet for sheet in visible if _has_cells(sheet)]
        if len(filled) > 1:
            names = "、".join(sheet.title for sheet in filled)
            report(FileFault(FaultKind.SEVERAL_SHEETS, detail=names[:CELL_CHARACTERS]))
        if len(filled) != 1:
            return ConvertedSheet()
        (sheet,) = filled
        converted = ConvertedSheet(sheet.title)
        if _shape_is_plain(sheet, report):
            with target.open("w", encoding="utf-8", newline="") as file:
                _write(file, _rows(sheet, report), converted)
        return converted
    finally:
        book.close()


def _has_cells(sheet: Any) -> bool:
    sheet.reset_dimensions()
    with sheet._get_source() as source:
        return _Shape(lambda _fault: None).read(source, first_only=True)


def _shape_is_plain(sheet: Any, report: Report) -> bool:
    """Report merged cells and formulas without a result; whether the sheet's size is allowed."""
    shape = _Shape(report)
    with sheet._get_source() as source:
        shape.read(source)
    return not shape.too_large


class _Shape:
    """One pass over a sheet's XML for what openpyxl's stream of values does not tell."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._element, self._cell, self._formula, self._value = "", "", False, False
        self._filled = False
        self.too_large = False

    def read(self, source: IO[bytes], *, first_only: bool = False) -> bool:
        """Read the sheet, or up to its first value; whether it has any."""
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.EntityDeclHandler = _refuse_entity
        while chunk := source.read(_CHUNK):
            parser.Parse(chunk, False)
            if self.too_large or (first_only and self._filled):
                return True
        parser.Parse(b"", True)
        return self._filled

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        self._element = name.rpartition(":")[2]
        match self._element:
            case "c":
                self._cell = attributes.get("r", "")
                self._formula = self._value = False
                self._measure()
            case "f":
                self._formula = self._filled = True
            case "mergeCell":
                self._report(FileFault(FaultKind.MERGED_CELLS, place=attributes.get("ref", "")))

    def _text(self, _text: str) -> None:
        if self._element in ("v", "t"):
            self._value = self._filled = True

    def _end(self, name: str) -> None:
        self._element = ""
        if name.rpartition(":")[2] == "c" and self._formula and not self._value:
            self._report(FileFault(FaultKind.FORMULA_RESULT, _row(self._cell), place=self._cell))

    def _measure(self) -> None:
        found = _REFERENCE.fullmatch(self._cell)
        if self._cell and (
            found is None
            or _column_number(found[1]) > MAX_COLUMNS
            or not 1 <= int(found[2]) <= MAX_ROWS
        ):
            self.too_large = True
            self._report(FileFault(FaultKind.TOO_WIDE, place=self._cell[:CELL_CHARACTERS]))


def _refuse_entity(*_declared: object) -> None:
    raise ValueError("a workbook declares no entities")


def _rows(sheet: Any, report: Report) -> Iterator[list[str]]:
    """The sheet's rows as text, without empty cells at their ends."""
    for cells in sheet.iter_rows():
        row = [_text(cell, report) for cell in cells]
        while row and not row[-1]:
            row.pop()
        yield row


def _write(file: IO[str], rows: Iterator[Sequence[str]], converted: ConvertedSheet) -> None:
    """Write each row on the line of its number; a row is as wide as the first one at least."""
    writer, line, width = csv.writer(file, lineterminator="\n"), 1, 0
    for row in rows:
        width = width or len(row)
        breaks = sum(cell.count("\n") for cell in row)
        if row:
            writer.writerow([*row, *[""] * (width - len(row))])
        else:
            file.write("\n")
        line += 1 + breaks
        if breaks:
            converted.shift(line, breaks)


def _text(cell: Any, report: Report) -> str:
    """A cell's value as text."""
    value = cell.value
    if value is None:
        return ""
    place = f"{column_letters(cell.column)}{cell.row}"
    if cell.data_type == "e":
        report(FileFault(FaultKind.CELL_ERROR, cell.row, cell=str(value), place=place))
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return _number(value, cell.row, place, report)
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time()
        return (value.date() if midnight else value).isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value).replace("\r\n", "\n").replace("\r", "\n")


def _number(value: float, row: int, place: str, report: Report) -> str:
    text = format(decimal.Decimal(repr(value)), "f")
    text = text.removesuffix(".0")
    if len(text.lstrip("-").partition(".")[0]) > EXACT_DIGITS:
        report(FileFault(FaultKind.ROUNDED, row, cell=text[:CELL_CHARACTERS], place=place))
    return text


def column_letters(number: int) -> str:
    """A column as a spreadsheet names it: 1 is A, 27 is AA."""
    letters = ""
    while number > 0:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def _column_number(letters: str) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number


def _row(reference: str) -> int | None:
    found = _REFERENCE.fullmatch(reference)
    return int(found[2]) if found is not None else None
