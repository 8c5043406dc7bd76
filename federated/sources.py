"""A party's own rows, read once the gate has said yes: CSV or Parquet, the named columns only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from federated.errors import BadInput
from federated.job import Table

_ID_BYTES = 64


def read(path: Path, *, key: str, columns: Sequence[str]) -> Table:
    """Read a table.

    Raises:
        BadInput: ``source_missing``, ``source_unreadable``, ``column_unknown``, ``ids_empty``, ``ids_malformed`` (missing or longer than 64
            bytes), ``ids_duplicate``.
    """
    if key in columns or len(set(columns)) != len(columns):
        raise BadInput("column_doubled", f"A column of {path.name} is named twice, or is the identifier.")
    table = _load(path, [key, *columns])
    if not len(table):
        raise BadInput("ids_empty", f"The source {path.name} has no rows.")
    return Table(_ids(table.column(key), path.name), {name: _column(table.column(name)) for name in columns})


def _load(path: Path, wanted: list[str]) -> pa.Table:
    try:
        if path.suffix == ".parquet":
            names = parquet.read_schema(path).names
            _require(names, wanted, path.name)
            return parquet.read_table(path, columns=wanted)
        with csv.open_csv(path) as reader:
            _require(reader.schema.names, wanted, path.name)
        # The identifier is a text even where all of them are digits: a leading zero is part of it.
        convert = csv.ConvertOptions(include_columns=wanted, column_types={wanted[0]: pa.string()}, strings_can_be_null=True)
        return csv.read_csv(path, convert_options=convert)
    except FileNotFoundError as error:
        raise BadInput("source_missing", f"The source {path.name} is not there.") from error
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, UnicodeDecodeError) as error:
        raise BadInput("source_unreadable", f"The source {path.name} cannot be read: {str(error).splitlines()[0][:200]}.") from error


def _require(names: Sequence[str], wanted: Sequence[str], source: str) -> None:
    for name in wanted:
        if list(names).count(name) != 1:
            raise BadInput("column_unknown", f"The source {source} has no column {name}, or has it twice.")


def _ids(column: pa.ChunkedArray, source: str) -> NDArray[np.bytes_]:
    texts = column.cast(pa.string()).combine_chunks()
    longest = pc.max(pc.binary_length(texts)).as_py()
    if texts.null_count or not longest or longest > _ID_BYTES or pc.min(pc.binary_length(texts)).as_py() == 0:
        raise BadInput("ids_malformed", f"An identifier of {source} is missing or longer than {_ID_BYTES} bytes.")
    if pc.count_distinct(texts).as_py() != len(texts):
        raise BadInput("ids_duplicate", f"An identifier of {source} stands on two rows.", hint="Keep one row for each identifier.")
    return _fixed_width(texts, longest)


def _fixed_width(texts: pa.StringArray, width: int) -> NDArray[np.bytes_]:
    """Arrow's bytes as fixed-width numpy bytes, padded with zeros."""
    texts = pa.concat_arrays([texts])  # an offset of zero
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(texts.buffers()[2], np.uint8)
    lengths = np.diff(offsets)
    if (lengths == width).all():
        start = int(offsets[0])
        return data[start : start + width * len(texts)].copy().view(f"S{width}")
    out = np.zeros((len(texts), width), np.uint8)
    inside = np.arange(width) < lengths[:, None]
    out[inside] = data[int(offsets[0]) : int(offsets[-1])]
    return out.reshape(-1).view(f"S{width}")


def _column(column: pa.ChunkedArray) -> NDArray[Any]:
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type) or pa.types.is_null(column.type):
        numbers: NDArray[Any] = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
        return numbers
    texts: NDArray[Any] = pc.cast(column, pa.string()).to_numpy(zero_copy_only=False).astype(object)
    return texts
