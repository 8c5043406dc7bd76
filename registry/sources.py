"""The Source port: how records are read where they lie. ``nodes`` implements it for CSV, Parquet
and SQL; only a gateway opens one.

A record holds text, whole numbers, booleans and None. Fractions are text of the type ``decimal``,
since commitments and money know no floating point. Published is each record's **conformed** form:
every value in the one form its column's type allows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from registry.source_files import SourceFiles

Value = str | int | bool | None
Record = Mapping[str, Any]
"""A record by column name; values are text, whole numbers, booleans or None."""

TEXT, INTEGER, DECIMAL, BOOLEAN = "text", "integer", "decimal", "boolean"
TYPES = (TEXT, INTEGER, DECIMAL, BOOLEAN)

INTEGER_TEXT = re.compile(r"0|-?[1-9][0-9]{0,14}")
DECIMAL_TEXT = re.compile(r"(-?)(0|[1-9][0-9]{0,37})(?:\.([0-9]{1,38}))?")
_FLOAT_TEXT = re.compile(r"-?[0-9](?:\.[0-9]{1,17})?e[+-][0-9]{2}")
"""How a float of extreme size is written; its decimal is exact."""
BOOLEAN_TEXTS = {"true": True, "false": False}
_INTEGER_LIMIT = 2**53 - 1


@dataclass(frozen=True)
class SourceColumn:
    """A column's name and type: ``text``, ``integer``, ``decimal`` or ``boolean``."""

    name: str
    type: str
    odd_line: int | None = None
    """Line or row of the first cell that is no number, in a text column where most cells are
    numbers. No part of the schema.
    """

    def to_json(self) -> dict[str, str]:
        """The column in metadata."""
        return {"name": self.name, "type": self.type}


@dataclass(frozen=True)
class SourceSchema:
    """A source's columns and the one that names the subject."""

    key: str
    columns: tuple[SourceColumn, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The column names in order."""
        return tuple(column.name for column in self.columns)

    @property
    def types(self) -> dict[str, str]:
        """Each column's type."""
        return {column.name: column.type for column in self.columns}

    def to_json(self) -> dict[str, Any]:
        """The schema in metadata; its commitment is the record's ``schemaHash``."""
        return {"key": self.key, "columns": [column.to_json() for column in self.columns]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SourceSchema:
        """Read the form in metadata."""
        return cls(
            value["key"],
            tuple(SourceColumn(column["name"], column["type"]) for column in value["columns"]),
        )


class Source(Protocol):
    """Records in their own place."""

    name: str

    def schema(self) -> SourceSchema:
        """Columns and key. Errors: ``source_missing``, ``source_encoding``, ``source_empty``."""

    def rows(self) -> Iterator[Record]:
        """Every record, streamed in a stable order. Errors: ``source_row_broken`` with the line."""

    def lookup(self, key: str) -> Record | None:
        """The record of one subject, or None."""

    def line_of(self, position: int) -> int:
        """The line (or row number, from 1) of the record that ``rows`` gives at this position, from
        0.
        """


@dataclass(frozen=True)
class ConfiguredSources:
    """A node's sources by name, under ``context.services``."""

    by_name: Mapping[str, Source]
    """The configured ones; uploaded ones are found in it and not listed."""
    files: SourceFiles | None = None


def normalised(value: Any, type_: str) -> Value:
    """A value in the one form its column's type allows.

    Text that is exactly a number or boolean becomes one where the column's type asks for it, and
    the other way round, so that a source whose types were guessed again after an edit still gives
    what was published.

    Raises:
        ValueError: the value is not of the type.
    """
    if value is None:
        return None
    if type_ == TEXT:
        return _as_text(value)
    if type_ == INTEGER:
        if isinstance(value, str) and INTEGER_TEXT.fullmatch(value):
            return int(value)
        if type(value) is int and abs(value) <= _INTEGER_LIMIT:
            return value
    elif type_ == DECIMAL:
        return canonical_decimal(value)
    elif type_ == BOOLEAN:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value in BOOLEAN_TEXTS:
            return BOOLEAN_TEXTS[value]
    raise ValueError(f"not {type_}")


def canonical_decimal(value: Any) -> str:
    """A decimal number's one text: no exponent, no plus, no leading or trailing zeros, no point
    without a fraction, no minus before zero.

    ``12.50`` is ``12.5``, ``-0.0`` is ``0``, ``3.00`` is ``3``.

    Raises:
        ValueError: the value is no number, or has more than 38 digits before or after the point.
    """
    text = str(value) if type(value) is int else value
    if isinstance(text, str) and _FLOAT_TEXT.fullmatch(text):
        text = format(Decimal(text), "f")
    found = DECIMAL_TEXT.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError("not decimal")
    sign, whole, fraction = found.group(1), found.group(2), (found.group(3) or "").rstrip("0")
    number = f"{whole}.{fraction}" if fraction else whole
    return sign + number if number != "0" else number


def mismatched_columns(record: Record, schema: SourceSchema) -> tuple[str, ...]:
    """The columns whose value is not of the schema's type; of those the record has."""
    found = []
    for column in schema.columns:
        try:
            normalised(record.get(column.name), column.type)
        except ValueError:
            found.append(column.name)
    return tuple(found)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        value.encode()  # a lone surrogate has no UTF-8 form: UnicodeEncodeError is a ValueError
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    raise ValueError("not text")
