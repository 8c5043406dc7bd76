"""A table or view of any database SQLAlchemy can reach: read with parameters, streamed in key
order, never written.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import NoSuchTableError, SQLAlchemyError

from chain.core.errors import BadInput, Unavailable
from nodes.sources.values import from_python
from registry.sources import BOOLEAN, DECIMAL, INTEGER, TEXT, Record, SourceColumn, SourceSchema

_BATCH_ROWS = 1_000
REFLECT_SECONDS = 5.0
"""How old the columns read from the catalogue may be: a column added later goes unnoticed for that
long at most.
"""
_UNREADABLE = (TypeError, ValueError, ArithmeticError)
"""What SQLAlchemy raises for a cell that is not of its column's declared type; SQLite stores such
cells.
"""


def driver_missing(source: str, driver: str) -> BadInput:
    """The error for a source whose Python package is not installed."""
    return BadInput(
        "source_driver_missing",
        f"Source {source} needs the Python package {driver}, which is not installed.",
        hint="Install it into the node's environment, then start the node again.",
        source=source,
    )


class SqlSource:
    """A SQL source. Columns are read from the database's own catalogue, so a name in a
    request never becomes SQL.
    """

    def __init__(self, *, name: str, url: str, table: str, key: str) -> None:
        self.name = name
        self.key = key
        self._table_name = table
        try:
            self._engine = sa.create_engine(url, pool_pre_ping=True)
        except ImportError as error:
            raise driver_missing(name, error.name or "of its database") from error
        except Exception as error:
            # SQLAlchemy and drivers raise various types for a URL; the text may hold a password.
            raise BadInput(
                "source_url_wrong",
                f"The database URL of source {name} cannot be used.",
                hint="Correct the url of the source in the node's configuration, or install the "
                "driver it names; then start the node again.",
                source=name,
            ) from error
        self._table: sa.Table | None = None
        self._reflected_at = 0.0
        self._types: list[tuple[str, str]] = []
        self._by_key: sa.Select[Any] = sa.select()
        self._lock = threading.Lock()
        self._connection: sa.Connection | None = None
        """The connection for look-ups, reused and without transactions: a metered call waits for
        each.
        """
        self._asks = threading.Lock()

    def schema(self) -> SourceSchema:
        """Columns and key.

        Raises:
            BadInput: ``source_missing``, ``source_missing_column``; Unavailable:
                ``source_unreachable``.
        """
        return SourceSchema(
            self.key,
            tuple(
                SourceColumn(column.name, self._type_of(column))
                for column in self._reflected().columns
            ),
        )

    def rows(self) -> Iterator[Record]:
        """Every record in key order, streamed."""
        table = self._reflected()
        query = sa.select(table).order_by(table.c[self.key])
        seen = False
        try:
            with self._engine.connect().execution_options(
                stream_results=True, yield_per=_BATCH_ROWS
            ) as connection:
                for row in connection.execute(query):
                    seen = True
                    yield self._record(row)
        except SQLAlchemyError as error:
            raise self._unreachable() from error
        except _UNREADABLE as error:
            raise self._unreadable(table) from error
        if not seen:
            raise BadInput("source_empty", f"Source {self.name} is empty.", source=self.name)

    def lookup(self, key: str) -> Record | None:
        """The record of one key, or None.

        Raises:
            BadInput: ``source_key_repeated`` when several records have it.
        """
        table = self._reflected()
        column = table.c[self.key]
        value: str | int = key
        if isinstance(column.type, sa.Integer):
            if not key.removeprefix("-").isdecimal() or str(int(key)) != key:
                return None
            value = int(key)
        with self._asks:
            found = self._ask(value)
        if len(found) > 1:
            raise BadInput(
                "source_key_repeated", f"Source {self.name} has a key twice.", source=self.name
            )
        if not found:
            return None
        record = self._record(found[0])
        return record if record[self.key] == key else None

    def line_of(self, position: int) -> int:
        """The row number, in key order, of the record at this position, from 1."""
        return position + 1

    def close(self) -> None:
        """Close the connections."""
        with self._asks:
            self._drop()
        self._engine.dispose()

    def _ask(self, value: str | int) -> Sequence[sa.Row[Any]]:
        """Look up on the open connection. After a failure it is opened once more, with the table's
        columns read again: they may have changed.
        """
        try:
            return self._answer(value)
        except SQLAlchemyError:
            self._drop()
        with self._lock:
            self._table = None
        self._reflected()
        try:
            return self._answer(value)
        except SQLAlchemyError as error:
            self._drop()
            raise self._unreachable() from error

    def _answer(self, value: str | int) -> Sequence[sa.Row[Any]]:
        if self._connection is None:
            self._connection = self._engine.connect().execution_options(
                isolation_level="AUTOCOMMIT"
            )
        try:
            return self._connection.execute(self._by_key, {"key": value}).all()
        except _UNREADABLE as error:
            table = self._reflected()
            raise self._unreadable(table, table.c[self.key] == value) from error

    def _unreadable(self, table: sa.Table, *where: sa.ColumnElement[bool]) -> BadInput:
        """The error that names the first cell, by column and row in key order, that cannot be read
        as its column's type.
        """
        with self._engine.connect().execution_options(yield_per=1) as connection:
            for column in table.columns:
                read = 0
                try:
                    for _ in connection.execute(
                        sa.select(column).where(*where).order_by(table.c[self.key])
                    ):
                        read += 1
                except _UNREADABLE:
                    return self._broken_cell(column.name, read + 1)
        return BadInput(
            "source_row_broken",
            f"Source {self.name} has a cell that is not of its column's type.",
            source=self.name,
        )

    def _broken_cell(self, column: str, row: int) -> BadInput:
        return BadInput(
            "source_row_broken",
            f"The column {column} of source {self.name} has a cell "
            f"in row {row} that is not of its type.",
            hint="Correct that cell.",
            source=self.name,
            column=column,
            line=row,
        )

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def _reflected(self) -> sa.Table:
        with self._lock:
            if self._table is None or time.monotonic() > self._reflected_at + REFLECT_SECONDS:
                self._table = self._reflect()
                self._reflected_at = time.monotonic()
                self._by_key = (
                    sa.select(self._table)
                    .where(self._table.c[self.key] == sa.bindparam("key"))
                    .limit(2)
                )
                self._types = [
                    (column.name, self._type_of(column)) for column in self._table.columns
                ]
            return self._table

    def _reflect(self) -> sa.Table:
        schema, _, name = self._table_name.rpartition(".")
        try:
            table = sa.Table(name, sa.MetaData(), autoload_with=self._engine, schema=schema or None)
        except NoSuchTableError as error:
            raise BadInput(
                "source_missing",
                f"There is no table {self._table_name} for source {self.name}.",
                source=self.name,
            ) from error
        except SQLAlchemyError as error:
            raise self._unreachable() from error
        if self.key not in table.c:
            raise BadInput(
                "source_missing_column",
                f"Source {self.name} has no column {self.key}.",
                source=self.name,
                column=self.key,
            )
        return table

    def _record(self, row: sa.Row[Any]) -> Record:
        record = {}
        for (name, kind), cell in zip(self._types, row, strict=True):
            value = from_python(cell)
            record[name] = str(value) if kind in (TEXT, DECIMAL) and value is not None else value
        return record

    def _type_of(self, column: sa.Column[Any]) -> str:
        if column.name == self.key:
            return TEXT
        if isinstance(column.type, sa.Boolean):
            return BOOLEAN
        if isinstance(column.type, sa.Numeric):
            return DECIMAL
        return INTEGER if isinstance(column.type, sa.Integer) else TEXT

    def _unreachable(self) -> Unavailable:
        return Unavailable(
            "source_unreachable",
            f"The database of source {self.name} does not answer.",
            hint="Check the database and the URL in the node's configuration.",
            source=self.name,
        )
