"""Commitments to the rows that went into a run.

Each leaf is one row, or a block of consecutive rows if there are more than ``MAX_LEAVES``, with a
16-byte salt drawn from the run's seed; the tree is that of RFC 9162. The root goes into the
receipt. Who receives a row, its salt and its inclusion proof can verify that the row was used, and
learns nothing about other rows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chain.log.merkle import root_of
from federated.job import Table
from federated.randomness import Randomness

MAX_LEAVES = 1 << 14


@dataclass(frozen=True)
class InputCommitment:
    """A party's commitment: ``root`` (SHA-256), ``rows``, ``rows_in_leaf`` and the names of the
    columns.
    """

    root: bytes
    rows: int
    rows_in_leaf: int
    columns: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "root": "0x" + self.root.hex(),
            "rows": self.rows,
            "rowsInLeaf": self.rows_in_leaf,
            "columns": list(self.columns),
        }


def commit_rows(table: Table, randomness: Randomness) -> InputCommitment:
    """Commit to all rows of a table."""
    packed, block = _packed(table), -(-len(table) // MAX_LEAVES)
    salts = randomness.bytes(16 * -(-len(table) // block))
    leaves = []
    for index, start in enumerate(range(0, len(table), block)):
        rows = (
            b"".join(packed[start : start + block])
            if isinstance(packed, list)
            else packed[start : start + block].tobytes()
        )
        leaves.append(hashlib.sha256(b"\x00" + salts[16 * index : 16 * index + 16] + rows).digest())
    return InputCommitment(root_of(leaves), len(table), block, tuple(table.columns))


def _packed(table: Table) -> NDArray[np.uint8] | list[bytes]:
    """Return each row's bytes: the identifier, then the columns in order. Numbers are IEEE 754
    little-endian, texts are preceded by their length.
    """
    ids = np.ascontiguousarray(table.ids).view(np.uint8).reshape(len(table), -1)
    numbers = [
        column.astype("<f8").view(np.uint8).reshape(len(table), 8)
        for column in table.columns.values()
        if column.dtype.kind == "f"
    ]
    packed = np.concatenate([ids, *numbers], axis=1)
    texts = [column for column in table.columns.values() if column.dtype.kind != "f"]
    if not texts:
        return packed
    return [
        packed[row].tobytes() + b"".join(_text(column[row]) for column in texts)
        for row in range(len(table))
    ]


def _text(value: str | None) -> bytes:
    data = b"" if value is None else value.encode()
    return (len(data) + 1 if value is not None else 0).to_bytes(4, "big") + data
