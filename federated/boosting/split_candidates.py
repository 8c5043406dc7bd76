"""A party's columns as tree splits see them: bins, and the cuts between bins.

A numeric cut sends a row left if its bin is not above the cut's bin; a text cut sends exactly one
value left. So missing numbers go right, unless the last cut separates missing from present values,
and texts too rare for a bin go right. The bins of all columns are concatenated; a histogram is an
array over these positions, and a cut's sum is the running sum of its column up to its bin (of a
text: the bin itself).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput
from federated.vertical.binning import Bins, bin_column

Integers = NDArray[np.int64]


class SplitCandidates:
    """All cuts of some columns, and the bin of each row. Rows from ``train`` on do not count in
    sums.
    """

    def __init__(
        self, bins: Sequence[Bins], columns: Mapping[str, NDArray[Any]], train: int
    ) -> None:
        self.bins, self.train = list(bins), train
        self._codes = [column_bins.codes(columns[column_bins.column]) for column_bins in bins]
        # Rows without a bin get a position of their own after all bins.
        widths = [len(column_bins.names) + 1 for column_bins in bins]
        self._codes = [
            np.where(codes < 0, width - 1, codes)
            for codes, width in zip(self._codes, widths, strict=True)
        ]
        first = np.cumsum([0, *widths])
        self.width = int(first[-1])
        self._places = (
            np.stack(
                [
                    codes[:train] + start
                    for codes, start in zip(self._codes, first[:-1], strict=True)
                ],
                axis=1,
            )
            if bins
            else None
        )
        self.starts_column = np.zeros(self.width, np.bool_)
        """Where running sums start again."""
        listed = [
            (column, code)
            for column, column_bins in enumerate(bins)
            for code in range(_cuts(column_bins, self._codes[column][:train]))
        ]
        self._cuts = np.array(listed, np.int64).reshape(-1, 2)
        self.at: Integers = first[self._cuts[:, 0]] + self._cuts[:, 1]
        """The position of each cut's sum."""
        for column, column_bins in enumerate(bins):
            self.starts_column[first[column] : first[column + 1]] = not column_bins.numeric
            self.starts_column[first[column]] = True

    @classmethod
    def of(
        cls, columns: Mapping[str, NDArray[Any]], train: int, *, max_bins: int, min_rows: int
    ) -> SplitCandidates:
        """Bin columns over their training rows; ``column_constant``, ``column_malformed``."""
        for name, column in columns.items():
            if column.dtype.kind == "f" and np.isinf(column).any():
                raise BadInput("column_malformed", f"The column {name} has an infinite value.")
        cuts = cls(
            [
                bin_column(name, column[:train], max_bins=max_bins, min_rows=min_rows)
                for name, column in columns.items()
            ],
            columns,
            train,
        )
        for bins, codes in zip(cuts.bins, cuts._codes, strict=True):
            if (codes[:train] == codes[0]).all():
                raise BadInput(
                    "column_constant",
                    f"The column {bins.column} has one value only, or none.",
                    hint="Leave it out of the job.",
                )
        return cuts

    def __len__(self) -> int:
        return len(self._cuts)

    def left(self, number: int) -> NDArray[np.bool_]:
        """Return which of all rows a cut sends left."""
        column, code = self._cuts[number]
        codes = self._codes[column]
        left: NDArray[np.bool_] = codes <= code if self.bins[column].numeric else codes == code
        return left

    def lowest(self, number: int, counts: Integers) -> int:
        """Return the lowest cut of the same column that divides a node's rows in the same way.
        ``counts``: of the node, (cuts,).
        """
        column, code = self._cuts[number]
        if not self.bins[column].numeric:
            return number
        first = number - int(code)
        return first + int(np.argmax(counts[first : number + 1] == counts[number]))

    def describe(self, number: int) -> dict[str, Any]:
        """Describe a cut for the model's file: the column, the bin's number, and the values that go
        left.
        """
        column, code = (int(value) for value in self._cuts[number])
        bins = self.bins[column]
        names = [bins.names[code]] if not bins.numeric else bins.names[: code + 1]
        return {"column": bins.column, "code": code, "left": names}

    # --- Sums -------------------------------------------------------------------------------------

    def groups(self, node: Integers) -> tuple[Integers, list[list[int]]]:
        """Return the occupied positions of the histogram over (nodes * width), and the rows in
        each. ``node``: of each training row, -1 for none.
        """
        if self._places is None:
            return np.empty(0, np.int64), []
        rows = np.flatnonzero(node >= 0)
        keys = (node[rows, None] * self.width + self._places[rows]).ravel()
        order = np.argsort(keys, kind="stable")
        indexes, first = np.unique(keys[order], return_index=True)
        members = rows[order // self._places.shape[1]].tolist()
        ends = [*first[1:].tolist(), len(members)]
        return indexes, [
            members[start:end] for start, end in zip(first.tolist(), ends, strict=True)
        ]

    def sums(self, node: Integers, nodes: int, values: Integers) -> Integers:
        """Return integer sums over each cut's left side, (nodes, cuts, values). ``values``: (rows,
        values), with totals below 2**53.
        """
        return np.stack([self._sum(node, nodes, column) for column in values.T], axis=-1)

    def counts(self, node: Integers, nodes: int) -> Integers:
        """Return the training rows on each cut's left side, (nodes, cuts)."""
        return self._sum(node, nodes, None)

    def allowed(self, counts: Integers, sizes: Integers, min_rows: int) -> NDArray[np.bool_]:
        """Return the cuts with at least ``min_rows`` rows on either side, (nodes, cuts)."""
        allowed: NDArray[np.bool_] = (counts >= min_rows) & (sizes[:, None] - counts >= min_rows)
        return allowed

    def disclosable(
        self, counts: Integers, sizes: Integers, before: NDArray[np.bool_], min_rows: int
    ) -> NDArray[np.bool_]:
        """Return the cuts whose sums may be disclosed for a group of siblings, (groups, cuts), out
        of those disclosed for their parent.

        Sums of one column can be subtracted from each other, from the total of the node and from
        the parent's. What remains between two disclosed cuts, or beyond the last, must be no row or
        at least ``min_rows`` rows in every sibling. ``counts``: (groups, siblings, cuts);
        ``sizes``: (groups, siblings).
        """
        disclosable = np.zeros_like(before)
        for column, bins in enumerate(self.bins):
            covered = np.zeros_like(sizes)
            for number in np.flatnonzero(self._cuts[:, 0] == column).tolist():
                reached = counts[..., number] if bins.numeric else covered + counts[..., number]
                parts = np.stack([reached - covered, sizes - reached])
                disclosable[:, number] = before[:, number] & (
                    (parts == 0) | (parts >= min_rows)
                ).all(axis=(0, 2))
                covered = np.where(disclosable[:, number, None], reached, covered)
        return disclosable

    def _sum(self, node: Integers, nodes: int, values: Integers | None) -> Integers:
        if self._places is None:
            return np.zeros((nodes, 0), np.int64)
        rows = np.flatnonzero(node >= 0)
        keys = (node[rows, None] * self.width + self._places[rows]).ravel()
        weights = (
            None
            if values is None
            else np.repeat(values[rows], self._places.shape[1]).astype(np.float64)
        )
        histogram = np.bincount(keys, weights, minlength=nodes * self.width).reshape(
            nodes, self.width
        )
        return self.running(np.rint(histogram).astype(np.int64))[:, self.at]

    def running(self, histogram: Integers) -> Integers:
        """Return running sums within each column, (nodes, width)."""
        total = np.cumsum(histogram, axis=1)
        first = np.maximum.accumulate(np.where(self.starts_column, np.arange(self.width), 0))
        before: Integers = np.concatenate([np.zeros((len(histogram), 1), np.int64), total], axis=1)[
            :, first
        ]
        return total - before


def _cuts(bins: Bins, codes: Integers) -> int:
    """Return the number of cuts of a column: one less than the bins for numbers, one per value for
    texts, one if there are only two values.
    """
    used = len(bins.names) + bool((codes == len(bins.names)).any())
    return used - 1 if bins.numeric or used == 2 else len(bins.names)
