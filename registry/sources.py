"""The Source port: how records are read where they lie. ``nodes`` implements it for CSV, Parquet and SQL; only a gateway opens one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Record = Mapping[str, Any]
"""A record by column name; values are text, whole numbers, booleans or None."""


@dataclass(frozen=True)
class Column:
    """A column's name and type: ``text``, ``integer`` or ``boolean``."""

    name: str
    type: str

    def to_json(self) -> dict[str, str]:
        """The column in metadata."""
        return {"name": self.name, "type": self.type}


@dataclass(frozen=True)
class Schema:
    """A source's columns and the one that names the subject."""

    key: str
    columns: tuple[Column, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The column names in order."""
        return tuple(column.name for column in self.columns)

    def to_json(self) -> dict[str, Any]:
        """The schema in metadata; its commitment is the record's ``schemaHash``."""
        return {"key": self.key, "columns": [column.to_json() for column in self.columns]}


class Source(Protocol):
    """Records in their own place."""

    name: str

    def schema(self) -> Schema:
        """Columns and key. Errors: ``source_missing``, ``source_encoding``, ``source_empty``."""

    def rows(self) -> Iterator[Record]:
        """Every record, streamed in a stable order. Errors: ``source_row_broken`` with the line."""

    def lookup(self, key: str) -> Record | None:
        """The record of one subject, or None."""
