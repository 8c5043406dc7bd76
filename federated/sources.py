"""A party's rows, read after the gate has approved: CSV or Parquet, only the named columns.

Parties match rows by identifier, so identifiers are normalised: Unicode NFKC, no surrounding
blanks, codes of organisations and citizens in upper case. ``federated.numbers`` parses numbers.
Changed identifiers and missing values are counted in the table's ``ReadReport``, which stays with
the party; unreadable cells are refused with their column and line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from federated.errors import BadInput
from federated.job import ReadReport, Table
from federated.numbers import DEFAULT_MISSING, NUMBER_LIKE, digit_pattern, parse_number
from registry.encodings import AUTO, ENCODINGS, broken_line, detected
from registry.identifiers import CODE_PATTERN

_ID_BYTES = 64
_PARQUET = "parquet"


@dataclass(frozen=True)
class SourceFormat:
    """The notation of a party's file, from its configuration."""

    encoding: str = AUTO
    delimiter: str = ","
    missing: tuple[str, ...] = DEFAULT_MISSING
    texts: tuple[str, ...] = ()
    """Columns that are text although most of their cells look like numbers."""


def read(
    path: Path, *, key: str, columns: Sequence[str], source_format: SourceFormat | None = None
) -> Table:
    """Read a table.

    Raises:
        BadInput: ``source_missing``, ``source_malformed``, ``source_encoding``,
            ``source_encoding_unknown``, ``column_unknown``, ``column_doubled``,
            ``column_malformed``,
            ``number_malformed``, ``ids_empty``, ``ids_malformed`` (missing, or longer than 64
            bytes),
            ``ids_duplicate``.
    """
    examined = examine(path, key=key, columns=columns, source_format=source_format)
    if examined.errors or examined.ids is None:
        raise examined.errors[0]
    return Table(examined.ids, examined.columns, examined.report)


class ColumnsUnknown(BadInput):
    """Columns that a source does not have exactly once (``column_unknown``). ``names``: theirs."""

    def __init__(self, source: str, names: Sequence[str]) -> None:
        which = f"column {names[0]}" if len(names) == 1 else f"column each of {', '.join(names)}"
        super().__init__(
            "column_unknown", f"The source {source} does not have exactly one {which}."
        )
        self.names = tuple(names)


@dataclass(frozen=True)
class ExaminedSource:
    """What could be read of a source. ``errors``: of the identifiers and of each column, in this
    order; ``columns``: those without an error.
    """

    ids: NDArray[np.bytes_] | None
    columns: Mapping[str, NDArray[Any]]
    report: ReadReport
    errors: tuple[BadInput, ...]


def examine(
    path: Path, *, key: str, columns: Sequence[str], source_format: SourceFormat | None = None
) -> ExaminedSource:
    """Read a table as far as possible, and collect the errors of its cells.

    Raises the errors of ``read`` that concern the file as a whole.
    """
    source_format = source_format or SourceFormat()
    if key in columns or len(set(columns)) != len(columns):
        raise BadInput(
            "column_doubled", f"A column of {path.name} is named twice, or is the identifier."
        )
    errors: list[BadInput] = []
    try:
        table, encoding = _load(path, [key, *columns], source_format)
        if not len(table):
            raise BadInput("ids_empty", f"The source {path.name} has no rows.")
        ids, changed = _ids(table.column(key), path, errors)
        read_columns = {}
        for name in columns:
            try:
                read_columns[name] = _column(table.column(name), name, path, source_format)
            except BadInput as error:
                errors.append(error)
    except FileNotFoundError as error:
        raise BadInput(
            "source_missing",
            f"The source {path.name} does not exist.",
            hint="Check its path in the party's configuration.",
        ) from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        sentence = f"The source {path.name} cannot be read: {_cause(error)}."
        raise BadInput(
            "source_malformed",
            sentence,
            hint="Check that it is complete, and its delimiter in the party's configuration.",
        ) from error
    report = ReadReport(
        encoding=encoding,
        rows=len(table),
        ids_changed=changed,
        missing={
            name: table.column(name).null_count for name in columns if table.column(name).null_count
        },
        numbers_recognised={name: count for name, (_, count) in read_columns.items() if count},
    )
    values = {name: column for name, (column, _) in read_columns.items()}
    return ExaminedSource(ids, values, report, tuple(errors))


def _cause(error: Exception) -> str:
    """Return Arrow's message without the row that it quotes."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return re.sub(r"(got \d+): .*", r"\1", first)[:200]


def _load(path: Path, wanted: list[str], source_format: SourceFormat) -> tuple[pa.Table, str]:
    if path.suffix == ".parquet":
        names = parquet.read_schema(path).names
        _require(names, wanted, path.name)
        return parquet.read_table(path, columns=wanted), _PARQUET
    encoding = _encoding(path, source_format.encoding)
    how = {
        "read_options": csv.ReadOptions(encoding=encoding),
        "parse_options": csv.ParseOptions(delimiter=source_format.delimiter),
    }
    with csv.open_csv(path, **how) as reader:
        _require(reader.schema.names, wanted, path.name)
    # The identifier is a text even where all of them are digits: a leading zero is part of it.
    convert = csv.ConvertOptions(
        include_columns=wanted,
        column_types={
            name: pa.string() for name in wanted if name == wanted[0] or name in source_format.texts
        },
        null_values=list(source_format.missing),
        strings_can_be_null=True,
    )
    return csv.read_csv(path, convert_options=convert, **how), encoding


def _encoding(path: Path, declared: str) -> str:
    """Return the file's encoding: the declared one if every line is valid in it, or the detected
    one.
    """
    if declared not in (AUTO, *ENCODINGS):
        hint = f"Supported are {', '.join((AUTO, *ENCODINGS))}."
        raise BadInput(
            "source_encoding_unknown",
            f"The encoding {declared} of {path.name} is not supported.",
            hint=hint,
        )
    found = detected(path) if declared == AUTO else declared
    line = broken_line(path, found or ENCODINGS[0]) if declared != AUTO or found is None else None
    if line is not None:
        expected = found or "utf-8 or gb18030"
        hint = "Set the source's encoding in the party's configuration, or convert the file."
        raise BadInput(
            "source_encoding",
            f"Line {line} of {path.name} is not {expected}.",
            hint=hint,
            line=line,
        )
    assert found is not None
    return found


def _require(names: Sequence[str], wanted: Sequence[str], source: str) -> None:
    unknown = [name for name in wanted if list(names).count(name) != 1]
    if unknown:
        raise ColumnsUnknown(source, unknown)


def _where(path: Path, row: int) -> str:
    """Name a row, counted from 0, as people find it: the first line of a CSV file names the
    columns.
    """
    return f"Row {row + 1}" if path.suffix == ".parquet" else f"Line {row + 2}"


def _ids(
    column: pa.ChunkedArray, path: Path, errors: list[BadInput]
) -> tuple[NDArray[np.bytes_] | None, int]:
    """Return normalised identifiers, and how many were changed. Appends what is wrong with them."""
    written = column.cast(pa.string()).combine_chunks()
    texts = _common_form(written)
    lengths = pc.fill_null(pc.binary_length(texts), 0)
    wrong = pc.or_(pc.equal(lengths, 0), pc.greater(lengths, _ID_BYTES))
    changed = pc.sum(pc.not_equal(texts, written)).as_py() or 0
    bad = pc.sum(wrong).as_py() or 0
    if bad:
        where = _where(path, pc.index(wrong, True).as_py())
        errors.append(
            BadInput(
                "ids_malformed",
                f"{where} of {path.name} has an identifier that is missing or longer than "
                f"{_ID_BYTES} bytes; in all {bad:,} of {len(texts):,} rows.",
            )
        )
    usable = texts.filter(pc.invert(wrong))
    repeated = len(usable) - pc.count_distinct(usable).as_py()
    if repeated:
        alike = (
            ""
            if pc.count_distinct(written.filter(pc.invert(wrong))).as_py() != len(usable)
            else ", after normalising blanks, width and case"
        )
        errors.append(
            BadInput(
                "ids_duplicate",
                f"An identifier of {path.name} occurs in two rows{alike}; {repeated:,} of "
                f"{len(texts):,} rows repeat one.",
                hint="Keep one row for each identifier.",
            )
        )
    if errors:
        return None, changed
    return _fixed_width(texts, pc.max(lengths).as_py()), changed


def _common_form(texts: pa.StringArray) -> pa.StringArray:
    if not pc.all(pc.string_is_ascii(texts)).as_py():
        texts = pc.utf8_normalize(texts, "NFKC")
    trimmed = pc.utf8_trim_whitespace(texts)
    upper = pc.utf8_upper(trimmed)
    if upper.equals(trimmed):
        return trimmed
    return pc.if_else(pc.match_substring_regex(upper, CODE_PATTERN), upper, trimmed)


def _fixed_width(texts: pa.StringArray, width: int) -> NDArray[np.bytes_]:
    """Convert Arrow's bytes to fixed-width numpy bytes, padded with zeros."""
    texts = pa.concat_arrays([texts])  # an offset of zero
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[
        texts.offset : texts.offset + len(texts) + 1
    ]
    data = np.frombuffer(texts.buffers()[2], np.uint8)
    lengths = np.diff(offsets)
    if (lengths == width).all():
        start = int(offsets[0])
        return data[start : start + width * len(texts)].copy().view(f"S{width}")
    out = np.zeros((len(texts), width), np.uint8)
    inside = np.arange(width) < lengths[:, None]
    out[inside] = data[int(offsets[0]) : int(offsets[-1])]
    return out.reshape(-1).view(f"S{width}")


def _column(
    column: pa.ChunkedArray, name: str, path: Path, source_format: SourceFormat
) -> tuple[NDArray[Any], int]:
    """Return a column's values, and how many numbers were not written plainly."""
    kind = column.type
    if (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
        or pa.types.is_decimal(kind)
    ):
        try:
            numbers: NDArray[Any] = (
                pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
            )
        except pa.ArrowInvalid as error:
            hint = "Leave the column out, or declare it in texts of the source."
            raise BadInput(
                "column_malformed",
                f"The column {name} of {path.name} has whole numbers beyond 2^53.",
                hint=hint,
                column=name,
            ) from error
        return numbers, 0
    cells = pc.cast(column, pa.string())
    if name not in source_format.texts and pa.types.is_string(kind) and _mostly_numbers(cells):
        return _numbers(cells, name, path)
    texts: NDArray[Any] = cells.to_numpy(zero_copy_only=False).astype(object)
    return texts, 0


def _mostly_numbers(cells: pa.ChunkedArray) -> bool:
    like = (
        pc.sum(pc.match_substring_regex(pc.utf8_normalize(cells, "NFKC"), NUMBER_LIKE)).as_py() or 0
    )
    return bool(2 * like > len(cells) - cells.null_count)


def _numbers(cells: pa.ChunkedArray, name: str, path: Path) -> tuple[NDArray[np.float64], int]:
    """Parse a text column in which most cells are numbers; ``number_malformed`` where
    one is not.
    """
    values, recognised = np.full(len(cells), np.nan), 0
    malformed: list[tuple[int, str]] = []
    for row, cell in enumerate(cells.to_pylist()):
        if cell is None:
            continue
        number = parse_number(cell)
        if number is None:
            malformed.append((row, cell))
            continue
        values[row] = number
        recognised += not cell.isascii() or "," in cell or cell != cell.strip()
    if malformed:
        row, cell = malformed[0]
        seen = f"{digit_pattern(cell)!r} (9 is any digit, a any letter)"
        count = f"{len(malformed):,} of {len(cells) - cells.null_count:,} cells"
        raise BadInput(
            "number_malformed",
            f"{_where(path, row)} of {path.name} has {seen} in the column {name}, where most "
            f"cells are numbers; {count} {'is' if len(malformed) == 1 else 'are'} not.",
            hint="Write plain numbers without units; else declare the cell in missing, or the "
            "column in texts, of the source.",
            column=name,
            line=row + 2,
        )
    return values, recognised
