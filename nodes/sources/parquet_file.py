"""Parquet files: scanned by row group, looked up by row group and row."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from chain.core.errors import BadInput
from nodes.sources.index import IndexedFile, IndexEntry, RowIndex
from nodes.sources.values import from_python
from registry.sources import BOOLEAN, DECIMAL, INTEGER, TEXT, Record, SourceColumn

_BATCH_ROWS = 4_096


class ParquetSource(IndexedFile):
    """A Parquet source. It caches the last batch that a look-up read, since look-ups of
    neighbours follow each other.
    """

    def __init__(self, *, name: str, path: Path, key: str, index: Path) -> None:
        super().__init__(name=name, path=path, key=key, index=index)
        self._kept: tuple[str, int, int, pa.RecordBatch] | None = None
        self._reading = threading.Lock()

    @staticmethod
    def column_names(path: Path) -> list[str]:
        """The columns of a file, in order."""
        with pq.ParquetFile(path) as file:
            return list(file.schema_arrow.names)

    def keys(self) -> Iterator[Any]:
        """The cells of the key column, in order."""
        with self._open() as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=[self.key]):
                yield from batch.column(0).to_pylist()

    def nested_columns(self) -> list[str]:
        """The columns that hold lists or records of their own, which no record can have."""
        with self._open() as file:
            return [item.name for item in file.schema_arrow if pa.types.is_nested(item.type)]

    def typed_columns(self) -> tuple[SourceColumn, ...]:
        """The columns with their types."""
        return tuple(self._columns())

    def _settings(self) -> dict[str, str]:
        return {"kind": "parquet"}

    def _columns(self) -> Iterable[SourceColumn]:
        with self._open() as file:
            for item in file.schema_arrow:
                yield SourceColumn(
                    item.name, TEXT if item.name == self.key else _type_of(item.type)
                )

    def _scan(self) -> Iterator[IndexEntry]:
        with self._open() as file:
            if self.key not in file.schema_arrow.names:
                raise BadInput(
                    "source_missing_column",
                    f"Source {self.name} has no column {self.key}.",
                    source=self.name,
                    column=self.key,
                )
            number = 0
            for group in range(file.num_row_groups):
                row = 0
                for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=[self.key]):
                    for value in batch.column(0).to_pylist():
                        number += 1
                        if value is None or value == "":
                            raise self._broken(number, "its key is empty")
                        yield IndexEntry(str(from_python(value)), group, row, number)
                        row += 1

    def _rows(self, index: RowIndex) -> Iterator[Record]:
        with self._open() as file:
            for batch in file.iter_batches(_BATCH_ROWS):
                for row in batch.to_pylist():
                    yield self._record(index, row)

    def _read(self, index: RowIndex, position: int, extent: int, line: int) -> Record:
        with self._reading:
            batch = self._batch(index.meta["salt"], position, extent)
            return self._record(index, batch.slice(extent % _BATCH_ROWS, 1).to_pylist()[0])

    def _batch(self, edition: str, group: int, row: int) -> pa.RecordBatch:
        wanted = row // _BATCH_ROWS
        if self._kept is not None and self._kept[:3] == (edition, group, wanted):
            return self._kept[3]
        with self._open() as file:
            for number, batch in enumerate(file.iter_batches(_BATCH_ROWS, row_groups=[group])):
                if number == wanted:
                    self._kept = (edition, group, wanted, batch)
                    return batch
        raise self._broken(row, "the file changed while it was read")

    def _record(self, index: RowIndex, row: dict[str, Any]) -> Record:
        record = {column.name: from_python(row[column.name]) for column in index.columns}
        record[self.key] = str(record[self.key])
        for column in index.columns:
            if column.type == TEXT and isinstance(record[column.name], int):
                record[column.name] = str(record[column.name])
        return record

    def _open(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path)
        except FileNotFoundError as error:
            raise BadInput(
                "source_missing", f"The file of source {self.name} is missing.", source=self.name
            ) from error
        except (pa.ArrowInvalid, OSError) as error:
            raise BadInput(
                "source_malformed",
                f"The file of source {self.name} is not Parquet, or is truncated.",
                hint="Write the file again.",
                source=self.name,
            ) from error

    def _broken(self, row: int, why: str) -> BadInput:
        return BadInput(
            "source_row_broken",
            f"Row {row} of source {self.name} is broken: {why}.",
            source=self.name,
            line=row,
        )


def _type_of(type_: pa.DataType) -> str:
    if pa.types.is_boolean(type_):
        return BOOLEAN
    if pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return DECIMAL
    return INTEGER if pa.types.is_integer(type_) else TEXT
