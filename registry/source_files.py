"""Files of records that people upload, and what is wrong with a file. The port that ``nodes``
implements: files lie in the node's own folder, each under the name of a source.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, BinaryIO, Protocol, Self

from registry.encodings import AUTO
from registry.sources import SourceColumn

MAX_FAULTS = 100
"""Faults of a file that a report lists; it counts all of them."""
UNUSED_SECONDS = 7 * 86_400
"""A file that nothing uses is deleted so long after it was uploaded."""


class FileKind(StrEnum):
    """Kinds of files a source can be."""

    CSV = "csv"
    PARQUET = "parquet"
    EXCEL = "excel"
    """An uploaded workbook, whose one sheet is read as CSV."""


class FaultKind(StrEnum):
    """What can be wrong with a file."""

    NOT_AS_NAMED = "not_as_named"
    """The content is of another kind than the name's ending says."""
    FOREIGN = "foreign"
    """The file is neither CSV nor Parquet nor an Excel workbook."""
    UNREADABLE = "unreadable"
    EMPTY = "empty"
    ENCODING = "encoding"
    ONE_COLUMN = "one_column"
    """The first line has one column only: the delimiter is probably another one."""
    COLUMN_NAME = "column_name"
    KEY_COLUMN = "key_column"
    """The file does not have the column that is to name the subject."""
    ROW_BROKEN = "row_broken"
    CELL_COUNT = "cell_count"
    KEY_EMPTY = "key_empty"
    KEY_REPEATED = "key_repeated"
    IDENTIFIER = "identifier"
    """A subject's code has a wrong check character."""
    HIDDEN_CHARACTERS = "hidden_characters"
    """A subject's code has blanks around it, or characters nobody can see."""
    NOT_A_NUMBER = "not_a_number"
    """The only cells of a column of numbers that are none."""
    COLUMN_TYPE = "column_type"
    """A column holds lists or nested records."""
    SEVERAL_SHEETS = "several_sheets"
    """More than one visible sheet of the workbook has cells."""
    MERGED_CELLS = "merged_cells"
    FORMULA_RESULT = "formula_result"
    """The workbook does not hold the formula's last result."""
    CELL_ERROR = "cell_error"
    """The cell shows an error such as ``#N/A``."""
    ROUNDED = "rounded"
    """A number of more digits than Excel stores, such as an identifier that was not text."""
    TOO_WIDE = "too_wide"
    """The sheet has more columns or rows than a source may have."""
    UNPACKED_SIZE = "unpacked_size"
    """The workbook is too large once it is unpacked."""


WARNINGS = frozenset({FaultKind.NOT_A_NUMBER, FaultKind.IDENTIFIER, FaultKind.ONE_COLUMN})
"""Faults that do not keep a file from being published."""


@dataclass(frozen=True, slots=True)
class FileFault:
    """One fault. ``line`` counts from 1, in Parquet files rows; None where it is the whole file."""

    kind: FaultKind
    line: int | None = None
    column: str = ""
    cell: str = ""
    """The start of the cell's text."""
    detail: str = ""
    """What is expected instead, or where the same key was before."""
    place: str = ""
    """The cell's name in a workbook, such as ``B7``."""

    @property
    def blocking(self) -> bool:
        """Whether the file cannot be published with it."""
        return self.kind not in WARNINGS

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "kind": self.kind.value,
            "line": self.line,
            "column": self.column,
            "cell": self.cell,
            "detail": self.detail,
            "place": self.place,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` writes."""
        given = {name: value[name] for name in _FAULT_FIELDS if name in value}
        return cls(FaultKind(value["kind"]), **given)


_FAULT_FIELDS = ("line", "column", "cell", "detail", "place")


@dataclass(frozen=True, slots=True)
class FileSettings:
    """How a file is read."""

    key: str = ""
    """The column that names the subject; empty for the first one."""
    encoding: str = AUTO
    delimiter: str = ""
    """One character; empty where it is to be found out."""


@dataclass(frozen=True, slots=True)
class FileReport:
    """What an inspection of a file found."""

    kind: FileKind
    settings: FileSettings
    """As the file was read, with nothing left to be found out."""
    rows: int
    columns: tuple[SourceColumn, ...]
    faults: tuple[FileFault, ...]
    """The first ``MAX_FAULTS``, by line."""
    fault_count: int
    blocking_count: int
    sheet: str = ""
    """The sheet of a workbook that was read."""

    @property
    def publishable(self) -> bool:
        """Whether nothing keeps the file from being published."""
        return self.blocking_count == 0

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "kind": self.kind.value,
            "key": self.settings.key,
            "encoding": self.settings.encoding,
            "delimiter": self.settings.delimiter,
            "rows": self.rows,
            "columns": [column.to_json() for column in self.columns],
            "faults": [fault.to_json() for fault in self.faults],
            "faultCount": self.fault_count,
            "blockingCount": self.blocking_count,
            "sheet": self.sheet,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` writes."""
        return cls(
            kind=FileKind(value["kind"]),
            settings=FileSettings(value["key"], value["encoding"], value["delimiter"]),
            rows=value["rows"],
            columns=tuple(SourceColumn(one["name"], one["type"]) for one in value["columns"]),
            faults=tuple(map(FileFault.from_json, value["faults"])),
            fault_count=value["faultCount"],
            blocking_count=value["blockingCount"],
            sheet=value.get("sheet", ""),
        )


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """An uploaded file and what its inspection found."""

    source: str
    """The name of the source that reads it."""
    file_name: str
    """As the person's own machine calls it."""
    size: int
    digest: str
    """SHA-256 of the content in hex."""
    uploaded_at: int
    """Unix seconds."""
    report: FileReport


class SourceFiles(Protocol):
    """The node's uploaded files."""

    def require_size(self, size: int) -> None:
        """Refuse a file of more bytes than are stored; ``upload_too_large``."""

    def store(
        self, file_name: str, content: BinaryIO, settings: FileSettings, *, source: str = ""
    ) -> UploadedFile:
        """Store a file under a new source's name, or in place of that source's file, and inspect
        it.

        Raises:
            BodyTooLarge: ``upload_too_large``; Unavailable: ``disk_unavailable``.
        """

    def configure(self, source: str, settings: FileSettings) -> UploadedFile:
        """Read a file in another way, and inspect it again; ``upload_unknown``."""

    def find(self, source: str) -> UploadedFile | None:
        """The file of a source; None if it is no uploaded one."""

    def names(self) -> Sequence[str]:
        """The sources of all uploaded files."""

    def remove(self, source: str) -> None:
        """Delete a file, if it is there."""

    def inspect(self, source: str) -> FileReport:
        """Every fault of a configured file source.

        Raises:
            BadInput: ``source_missing``, ``source_not_a_file``.
        """


def unused(
    files: Collection[UploadedFile], *, used: Collection[str], now: int
) -> list[UploadedFile]:
    """The files that are to be deleted: of no source in use, and not just uploaded."""
    return [
        file
        for file in files
        if file.source not in used and now - file.uploaded_at > UNUSED_SECONDS
    ]
