"""Inspects a file of records: every fault with its line, column and cell, in one pass.

A source stops at its first fault, which is right for what is published. A person who corrects a
file wants to see all of them at once.
"""

from __future__ import annotations

import csv
import hashlib
import secrets
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from chain.core.errors import BadInput, QiaolianError
from nodes.sources.csv_file import CsvSource
from nodes.sources.values import TypeGuess, from_python
from nodes.sources.workbook import column_letters, convert
from registry.encodings import AUTO, ENCODINGS, detected
from registry.source_files import (
    MAX_FAULTS,
    FaultKind,
    FileFault,
    FileKind,
    FileReport,
    FileSettings,
)
from registry.sources import TEXT, SourceColumn
from registry.subject_codes import has_hidden_characters, is_official, looks_official

DELIMITERS = (",", "\t", ";", "|")
CELL_CHARACTERS = 40
MAX_COLUMNS = 256
_BOM = b"\xef\xbb\xbf"
_HEAD_BYTES = 1 << 16
_FOREIGN = {
    b"PK\x03\x04": "zip",
    b"\xd0\xcf\x11\xe0": "Excel",
    b"%PDF": "PDF",
    b"\x1f\x8b": "gzip",
    b"SQLite format 3": "SQLite",
}
"""How files begin that are neither CSV nor Parquet nor a workbook."""
_PARQUET = b"PAR1"
_CLAIMS = {".parquet": FileKind.PARQUET, ".xlsx": FileKind.EXCEL}
"""What a file's ending says that it is; CSV otherwise."""
_REPLACED = "\ufffd"


def inspect_workbook(
    workbook: Path, records: Path, file_name: str, settings: FileSettings
) -> FileReport:
    """Write a workbook's records to the CSV file ``records`` and inspect them; faults name the
    sheet's cells.
    """
    found = _Findings()
    if not file_name.lower().endswith(".xlsx"):
        found.add(FileFault(FaultKind.NOT_AS_NAMED, detail=FileKind.EXCEL.value))
    sheet = convert(workbook, records, found.add)
    if found.blocking and records.stat().st_size == 0:
        return replace(found.report(FileKind.EXCEL, settings, 0, ()), sheet=sheet.name)
    read = _CsvInspection(records, FileSettings(settings.key, "utf-8", ","), found).run()
    letters = [column_letters(number) for number, _ in enumerate(read.columns, 1)]
    names = [column.name for column in read.columns]
    by_letter, by_name = (
        dict(zip(letters, names, strict=True)),
        dict(zip(names, letters, strict=True)),
    )

    def named(fault: FileFault) -> FileFault:
        """The fault with its row, column and cell in the sheet."""
        if fault.place:
            return replace(fault, column=by_letter.get(fault.place.rstrip("0123456789"), ""))
        row = None if fault.line is None else sheet.row_of(fault.line)
        letter = by_name.get(fault.column, "")
        repeated = fault.kind is FaultKind.KEY_REPEATED
        detail = str(sheet.row_of(int(fault.detail))) if repeated else fault.detail
        place = f"{letter}{row}" if letter and row else ""
        return replace(fault, line=row, place=place, detail=detail)

    faults = sorted(map(named, read.faults), key=lambda fault: fault.line or 0)
    return replace(read, kind=FileKind.EXCEL, sheet=sheet.name, faults=tuple(faults))


def inspect_file(path: Path, file_name: str, settings: FileSettings) -> FileReport:
    """Inspect a file; ``OSError`` if it cannot be read.

    Args:
        file_name: as the person calls it; its ending says what it claims to be.
        settings: what is left open in it is found out.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    found = _Findings()
    claimed = _CLAIMS.get(Path(file_name).suffix.lower(), FileKind.CSV)
    actual = FileKind.PARQUET if head.startswith(_PARQUET) else FileKind.CSV
    foreign = next((name for begin, name in _FOREIGN.items() if head.startswith(begin)), "")
    if not foreign and actual is FileKind.CSV and b"\0" in head:
        foreign = "binary"
    if foreign:
        found.add(FileFault(FaultKind.FOREIGN, detail=foreign))
        return found.report(actual, settings, 0, ())
    if actual is not claimed:
        found.add(FileFault(FaultKind.NOT_AS_NAMED, detail=actual.value))
    if actual is FileKind.PARQUET:
        return _inspect_parquet(path, settings, found)
    return _CsvInspection(path, _completed(path, head, settings), found).run()


class _Findings:
    """Faults as they are found: the first ones, and how many there are of each kind."""

    def __init__(self) -> None:
        self._faults: list[FileFault] = []
        self._counts: Counter[bool] = Counter()

    def add(self, fault: FileFault) -> None:
        """One more fault."""
        self._counts[fault.blocking] += 1
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(fault)

    @property
    def blocking(self) -> bool:
        """Whether a fault keeps the file from being published."""
        return self._counts[True] > 0

    def report(
        self,
        kind: FileKind,
        settings: FileSettings,
        rows: int,
        columns: Sequence[SourceColumn],
    ) -> FileReport:
        """The findings, by line."""
        faults = sorted(self._faults, key=lambda fault: fault.line or 0)
        return FileReport(
            kind=kind,
            settings=settings,
            rows=rows,
            columns=tuple(columns),
            faults=tuple(faults),
            fault_count=self._counts.total(),
            blocking_count=self._counts[True],
        )


class _Keys:
    """The keys of a file so far, by a digest, in a database of its own that the system deletes."""

    def __init__(self) -> None:
        self._salt = secrets.token_bytes(16)
        self._seen = sqlite3.connect("", isolation_level=None)
        self._seen.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY, line) WITHOUT ROWID")
        self._seen.execute("BEGIN")

    def first_line(self, key: str, line: int) -> int | None:
        """The line that had this key before; None if none had."""
        digest = hashlib.blake2b(
            key.encode("utf-8", "surrogatepass"), key=self._salt, digest_size=16
        ).digest()
        added = self._seen.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (digest, line))
        if added.rowcount:
            return None
        row = self._seen.execute("SELECT line FROM seen WHERE digest = ?", (digest,)).fetchone()
        return int(row[0])

    def close(self) -> None:
        """Forget them."""
        self._seen.close()


class _KeyChecks:
    """Checks of the column that names the subject."""

    def __init__(self, column: str, found: _Findings) -> None:
        self._column, self._found = column, found
        self._keys = _Keys()
        self._rows = self._official = 0
        self._doubtful: list[FileFault] = []

    def check(self, key: str, line: int) -> None:
        """Check the key of one record."""
        self._rows += 1
        if not key:
            self._add(FaultKind.KEY_EMPTY, line, key)
            return
        before = self._keys.first_line(key, line)
        if before is not None:
            self._add(FaultKind.KEY_REPEATED, line, key, detail=str(before))
        if has_hidden_characters(key):
            self._add(FaultKind.HIDDEN_CHARACTERS, line, key)
        elif looks_official(key):
            self._official += 1
            if not is_official(key) and len(self._doubtful) < MAX_FAULTS:
                self._doubtful.append(self._fault(FaultKind.IDENTIFIER, line, key))

    def finish(self) -> None:
        """Report wrong check characters where the column holds official codes."""
        if 2 * self._official > self._rows:
            for fault in self._doubtful:
                self._found.add(fault)

    def close(self) -> None:
        """Forget the keys."""
        self._keys.close()

    def _add(self, kind: FaultKind, line: int, key: str, detail: str = "") -> None:
        self._found.add(self._fault(kind, line, key, detail))

    def _fault(self, kind: FaultKind, line: int, key: str, detail: str = "") -> FileFault:
        return FileFault(kind, line, self._column, key[:CELL_CHARACTERS], detail)


# --- CSV ------------------------------------------------------------------------------------------


def _completed(path: Path, head: bytes, settings: FileSettings) -> FileSettings:
    """The settings with encoding and delimiter found out."""
    encoding = settings.encoding.lower()
    if encoding not in ENCODINGS:
        found = "utf-8" if head.startswith(_BOM) else detected(path)
        encoding = found or "utf-8" if encoding == AUTO else "utf-8"
    delimiter = settings.delimiter or _delimiter(head, encoding)
    return FileSettings(settings.key, encoding, delimiter)


def _delimiter(head: bytes, encoding: str) -> str:
    """The delimiter that makes most cells of the first line."""
    line = head.removeprefix(_BOM).decode(encoding, errors="replace").splitlines()[:1]
    cells = {
        delimiter: len(next(csv.reader(line, delimiter=delimiter), [])) for delimiter in DELIMITERS
    }
    return max(DELIMITERS, key=lambda delimiter: cells[delimiter])


@dataclass(frozen=True)
class _Header:
    """The first line of a CSV file."""

    names: list[str]
    key: int
    """Position of the key column."""


class _CsvInspection:
    """One pass over a CSV file."""

    def __init__(self, path: Path, settings: FileSettings, found: _Findings) -> None:
        self._path, self._settings, self._found = path, settings, found
        self._source = CsvSource(
            name=path.parent.name,
            path=path,
            key=settings.key,
            index=path.with_name("index"),
            encoding=settings.encoding,
            delimiter=settings.delimiter,
        )
        self._odd_cells: dict[int, str] = {}

    def run(self) -> FileReport:
        """Inspect it."""
        with self._path.open("rb") as file:
            records = self._records(self._source.records(file))
            header = self._header(records)
            if header is None:
                return self._found.report(FileKind.CSV, self._settings, 0, ())
            key = header.names[header.key]
            settings = FileSettings(key, self._settings.encoding, self._settings.delimiter)
            guesses = [TypeGuess() for _ in header.names]
            with closing(_KeyChecks(key, self._found)) as keys:
                rows = 0
                for line, raw in records:
                    rows += 1
                    self._row(line, raw, header, guesses, keys)
                keys.finish()
        if rows == 0:
            self._found.add(FileFault(FaultKind.EMPTY))
        columns = [
            SourceColumn(name, TEXT) if name == key else guess.column(name)
            for name, guess in zip(header.names, guesses, strict=True)
        ]
        for position, column in enumerate(columns):
            if column.odd_line is not None:
                cell = self._odd_cells[position]
                self._found.add(
                    FileFault(FaultKind.NOT_A_NUMBER, column.odd_line, column.name, cell)
                )
        return self._found.report(FileKind.CSV, settings, rows, columns)

    def _records(self, read: Iterator[tuple[int, bytes, int]]) -> Iterator[tuple[int, bytes]]:
        """Line and bytes of each record; what ends the reading is a fault."""
        line = 1
        try:
            for _, raw, line in read:
                yield line, raw
        except BadInput as error:
            broken = error.context.get("line")
            line = broken if isinstance(broken, int) else line
            self._found.add(FileFault(FaultKind.ROW_BROKEN, line))

    def _header(self, records: Iterator[tuple[int, bytes]]) -> _Header | None:
        first = next(records, None)
        if first is None:
            self._found.add(FileFault(FaultKind.EMPTY))
            return None
        cells = self._cells(first[0], first[1].removeprefix(_BOM), [])
        if cells is None:
            return None
        for name, count in Counter(cells).items():
            if not name or count > 1 or len(cells) > MAX_COLUMNS:
                self._found.add(FileFault(FaultKind.COLUMN_NAME, first[0], name))
        if len(cells) == 1:
            self._found.add(FileFault(FaultKind.ONE_COLUMN, first[0], cells[0][:CELL_CHARACTERS]))
        wanted = self._settings.key or cells[0]
        if wanted not in cells:
            self._found.add(FileFault(FaultKind.KEY_COLUMN, first[0], wanted))
            wanted = cells[0]
        return _Header(cells, cells.index(wanted))

    def _row(
        self, line: int, raw: bytes, header: _Header, guesses: list[TypeGuess], keys: _KeyChecks
    ) -> None:
        cells = self._cells(line, raw, header.names)
        if cells is None:
            return
        if len(cells) != len(header.names):
            detail = f"{len(cells)} / {len(header.names)}"
            self._found.add(FileFault(FaultKind.CELL_COUNT, line, detail=detail))
            return
        keys.check(cells[header.key], line)
        for position, (guess, cell) in enumerate(zip(guesses, cells, strict=True)):
            before = guess.odd_line
            guess.see(cell, line)
            if before is None and guess.odd_line is not None:
                self._odd_cells[position] = cell[:CELL_CHARACTERS]

    def _cells(self, line: int, raw: bytes, names: Sequence[str]) -> list[str] | None:
        """The cells of a record; None, and a fault, where they cannot be read."""
        try:
            return self._source.cells(raw, line, None)
        except BadInput as error:
            if error.code != "source_encoding":
                self._found.add(FileFault(FaultKind.ROW_BROKEN, line))
                return None
        text = raw.decode(self._settings.encoding, errors="replace").rstrip("\r\n")
        for position, cell in enumerate(text.split(self._settings.delimiter)):
            if _REPLACED in cell:
                name = names[position] if position < len(names) else str(position + 1)
                fault = FileFault(
                    FaultKind.ENCODING,
                    line,
                    name,
                    cell[:CELL_CHARACTERS],
                    self._settings.encoding,
                )
                self._found.add(fault)
                break
        return None


# --- Parquet --------------------------------------------------------------------------------------


def _inspect_parquet(path: Path, settings: FileSettings, found: _Findings) -> FileReport:
    # Imported only where it is used: it is large, and most nodes have no Parquet files.
    from nodes.sources.parquet_file import ParquetSource

    try:
        names = ParquetSource.column_names(path)
        key = settings.key or (names[0] if names else "")
        source = ParquetSource(name="file", path=path, key=key, index=path.with_name("index"))
        if key not in names:
            found.add(FileFault(FaultKind.KEY_COLUMN, column=key))
            return found.report(FileKind.PARQUET, FileSettings(key), 0, ())
        for name in source.nested_columns():
            found.add(FileFault(FaultKind.COLUMN_TYPE, column=name))
        rows = 0
        with closing(_KeyChecks(key, found)) as keys:
            for row, value in enumerate(source.keys(), start=1):
                keys.check("" if value is None else str(from_python(value)), row)
                rows = row
            keys.finish()
        if rows == 0:
            found.add(FileFault(FaultKind.EMPTY))
        return found.report(
            FileKind.PARQUET, FileSettings(key, "utf-8", ","), rows, source.typed_columns()
        )
    except (QiaolianError, ValueError, OSError):
        found.add(FileFault(FaultKind.UNREADABLE))
        return found.report(FileKind.PARQUET, settings, 0, ())
