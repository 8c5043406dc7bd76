"""CSV files (RFC 4180) of any size: streamed line by line, looked up by offset.

The first line names the columns. A column's type is the narrowest that holds all its cells. UTF-8
(with or without byte order mark) or one of China's encodings; a cell that is not in it, a row with
too many or too few cells, an open quote: an error with the line number.
"""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from chain.core.errors import BadInput
from nodes.sources.index import IndexedFile, IndexEntry, RowIndex
from nodes.sources.values import TypeGuess, from_text
from registry.encodings import ENCODINGS
from registry.sources import TEXT, Record, SourceColumn

MAX_ROW_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"


class CsvSource(IndexedFile):
    """See the module's text."""

    def __init__(
        self,
        *,
        name: str,
        path: Path,
        key: str,
        index: Path,
        encoding: str = "utf-8",
        delimiter: str = ",",
    ) -> None:
        super().__init__(name=name, path=path, key=key, index=index)
        if encoding.lower() not in ENCODINGS:
            raise BadInput(
                "source_encoding_unknown",
                f"Source {name} names an encoding that is not supported.",
                hint=f"Supported are {', '.join(ENCODINGS)}.",
            )
        self._encoding = encoding.lower()
        self._delimiter = delimiter
        self._names: list[str] = []
        self._guesses: list[TypeGuess] = []

    def _settings(self) -> dict[str, str]:
        return {"encoding": self._encoding, "delimiter": self._delimiter}

    def _columns(self) -> Iterable[SourceColumn]:
        for name, guess in zip(self._names, self._guesses, strict=True):
            yield SourceColumn(name, TEXT) if name == self.key else guess.column(name)

    def _scan(self) -> Iterator[IndexEntry]:
        with self.path.open("rb") as file:
            records = self.records(file)
            self._names = self._header(records)
            key_index = self._names.index(self.key)
            self._guesses = [TypeGuess() for _ in self._names]
            for offset, raw, line in records:
                cells = self.cells(raw, line, len(self._names))
                for guess, cell in zip(self._guesses, cells, strict=True):
                    guess.see(cell, line)
                if not cells[key_index]:
                    raise self._broken(line, "its key is empty")
                yield IndexEntry(cells[key_index], offset, len(raw), line)

    def _rows(self, index: RowIndex) -> Iterator[Record]:
        with self.path.open("rb") as file:
            records = self.records(file)
            next(records)
            for _, raw, line in records:
                yield self._record(index, raw, line)

    def line_of(self, position: int) -> int:
        """The line on which the record at this position begins."""
        with self.path.open("rb") as file:
            return next(
                line for _, _, line in itertools.islice(self.records(file), position + 1, None)
            )

    def _read(self, index: RowIndex, position: int, extent: int, line: int) -> Record:
        with self.path.open("rb", buffering=0) as file:
            return self._record(index, os.pread(file.fileno(), extent, position), line)

    def _record(self, index: RowIndex, raw: bytes, line: int) -> Record:
        cells = self.cells(raw, line, len(index.columns))
        try:
            return {
                column.name: from_text(cell, column.type)
                for column, cell in zip(index.columns, cells, strict=True)
            }
        except ValueError as error:
            raise self._broken(line, "a cell is not of its column's type") from error

    def _header(self, records: Iterator[tuple[int, bytes, int]]) -> list[str]:
        first = next(records, None)
        if first is None:
            raise BadInput("source_empty", f"Source {self.name} is empty.", source=self.name)
        names = self.cells(first[1].removeprefix(_BOM), first[2], None)
        if len(set(names)) != len(names) or not all(names):
            raise self._broken(first[2], "its column names are empty or repeated")
        if self.key not in names:
            raise BadInput(
                "source_missing_column",
                f"Source {self.name} has no column {self.key}.",
                hint="Compare the key column in the node's "
                "configuration with the file's first line.",
                source=self.name,
                column=self.key,
            )
        return names

    def records(self, file: Iterable[bytes]) -> Iterator[tuple[int, bytes, int]]:
        """Offset, bytes and first line number of each record; a record continues while a quote is
        open.
        """
        offset = 0
        open_lines: list[bytes] = []
        start, first, size, quotes = 0, 0, 0, 0
        for number, line in enumerate(_bounded(file), start=1):
            if not open_lines:
                start, first, size, quotes = offset, number, 0, 0
            offset += len(line)
            size += len(line)
            quotes += line.count(b'"')
            if size > MAX_ROW_BYTES:
                raise self._broken(
                    first, f"it is longer than {MAX_ROW_BYTES} bytes, or a quote is never closed"
                )
            open_lines.append(line)
            if quotes % 2 == 0:
                raw = open_lines[0] if len(open_lines) == 1 else b"".join(open_lines)
                open_lines = []
                if raw.strip():
                    yield start, raw, first
        if open_lines:
            raise self._broken(first, "a quote is never closed")

    def cells(self, raw: bytes, line: int, count: int | None) -> list[str]:
        """The cells of a record, as many as ``count`` says; ``source_encoding``,
        ``source_row_broken``.
        """
        try:
            text = raw.decode(self._encoding)
        except UnicodeDecodeError as error:
            raise BadInput(
                "source_encoding",
                f"Line {line} of source {self.name} is not {self._encoding}.",
                hint="Set the source's encoding in the node's configuration, or convert the file.",
                source=self.name,
                line=line,
            ) from error
        if "\0" in text:
            raise self._broken(line, "it holds a zero byte")
        if '"' in text:
            try:
                cells = next(csv.reader([text], delimiter=self._delimiter, strict=True))
            except csv.Error as error:
                raise self._broken(line, "its quotes are wrong") from error
        else:
            cells = text.rstrip("\r\n").split(self._delimiter)
        if count is not None and len(cells) != count:
            raise self._broken(line, f"it has {len(cells)} cells where the first line has {count}")
        return cells

    def _broken(self, line: int, why: str) -> BadInput:
        return BadInput(
            "source_row_broken",
            f"Line {line} of source {self.name} is broken: {why}.",
            hint="Correct that line; nothing of the file was used.",
            source=self.name,
            line=line,
        )


def _bounded(file: Any) -> Iterator[bytes]:
    """Lines, cut at the limit so that a file without line ends does not fill the memory."""
    while line := file.readline(MAX_ROW_BYTES + 1):
        yield line
