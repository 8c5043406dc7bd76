"""A party's columns as trees see them: bins, and the cuts between them.

A number's cut sends a row left if its bin is not above the cut's; a text's if it has just that value. So a missing number goes right, unless the
last cut asks whether there is a number at all, and a text seen too rarely for a bin goes right. All bins of all columns lie one after another; a
histogram is an array over these places, and a cut's sum is the running sum of its column up to its bin (of a text: the bin's own).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput
from federated.vertical.binning import Bins, cut

Integers = NDArray[np.int64]


class Cuts:
    """All cuts of some columns, and where each row stands. Rows from ``train`` on have no part in sums."""

    def __init__(self, bins: Sequence[Bins], columns: Mapping[str, NDArray[Any]], train: int) -> None:
        self.bins, self.train = list(bins), train
        self._codes = [each.codes(columns[each.column]) for each in bins]
        # What stands in no bin comes after all bins, in a place of its own.
        widths = [len(each.names) + 1 for each in bins]
        self._codes = [np.where(codes < 0, width - 1, codes) for codes, width in zip(self._codes, widths, strict=True)]
        first = np.cumsum([0, *widths])
        self.width = int(first[-1])
        self._places = np.stack([codes[:train] + start for codes, start in zip(self._codes, first[:-1], strict=True)], axis=1) if bins else None
        self.starts = np.zeros(self.width, np.bool_)
        """Where running sums begin anew."""
        listed = [(column, code) for column, each in enumerate(bins) for code in range(_cuts(each, self._codes[column][:train]))]
        self._cuts = np.array(listed, np.int64).reshape(-1, 2)
        self.at: Integers = first[self._cuts[:, 0]] + self._cuts[:, 1]
        """The place of each cut's sum."""
        for column, each in enumerate(bins):
            self.starts[first[column] : first[column + 1]] = not each.numeric
            self.starts[first[column]] = True

    @classmethod
    def of(cls, columns: Mapping[str, NDArray[Any]], train: int, *, most: int, least: int) -> Cuts:
        """Bin columns by their training rows; ``column_constant``, ``column_malformed``."""
        for name, column in columns.items():
            if column.dtype.kind == "f" and np.isinf(column).any():
                raise BadInput("column_malformed", f"The column {name} has an infinite value.")
        cuts = cls([cut(name, column[:train], most=most, least=least) for name, column in columns.items()], columns, train)
        for bins, codes in zip(cuts.bins, cuts._codes, strict=True):
            if (codes[:train] == codes[0]).all():
                raise BadInput("column_constant", f"The column {bins.column} has one value only, or none.", hint="Leave it out of the job.")
        return cuts

    def __len__(self) -> int:
        return len(self._cuts)

    def left(self, number: int) -> NDArray[np.bool_]:
        """Which rows a cut sends left, of all."""
        column, code = self._cuts[number]
        codes = self._codes[column]
        left: NDArray[np.bool_] = codes <= code if self.bins[column].numeric else codes == code
        return left

    def lowest(self, number: int, counts: Integers) -> int:
        """Of the cuts of the same column that divide a node's rows alike, the lowest. ``counts``: of the node, (cuts,)."""
        column, code = self._cuts[number]
        if not self.bins[column].numeric:
            return number
        first = number - int(code)
        return first + int(np.argmax(counts[first : number + 1] == counts[number]))

    def describe(self, number: int) -> dict[str, Any]:
        """A cut for the model's file: the column, the bin's number, and which values go left."""
        column, code = (int(each) for each in self._cuts[number])
        bins = self.bins[column]
        names = [bins.names[code]] if not bins.numeric else bins.names[: code + 1]
        return {"column": bins.column, "code": code, "left": names}

    # --- Sums -------------------------------------------------------------------------------------------------------------------

    def groups(self, node: Integers) -> tuple[Integers, list[list[int]]]:
        """The histogram's places that are not empty, over (nodes * width), and the rows in each. ``node``: of each training row, -1: none."""
        if self._places is None:
            return np.empty(0, np.int64), []
        rows = np.flatnonzero(node >= 0)
        keys = (node[rows, None] * self.width + self._places[rows]).ravel()
        order = np.argsort(keys, kind="stable")
        places, first = np.unique(keys[order], return_index=True)
        members = rows[order // self._places.shape[1]].tolist()
        ends = [*first[1:].tolist(), len(members)]
        return places, [members[start:end] for start, end in zip(first.tolist(), ends, strict=True)]

    def sums(self, node: Integers, nodes: int, values: Integers) -> Integers:
        """The sum of integers over each cut's left side, (nodes, cuts, values). ``values``: (rows, values), below 2**53 when added up."""
        return np.stack([self._sum(node, nodes, each) for each in values.T], axis=-1)

    def counts(self, node: Integers, nodes: int) -> Integers:
        """Training rows on each cut's left side, (nodes, cuts)."""
        return self._sum(node, nodes, None)

    def allowed(self, counts: Integers, sizes: Integers, least: int) -> NDArray[np.bool_]:
        """The cuts that leave at least so many rows on either side, (nodes, cuts)."""
        allowed: NDArray[np.bool_] = (counts >= least) & (sizes[:, None] - counts >= least)
        return allowed

    def told(self, counts: Integers, sizes: Integers, before: NDArray[np.bool_], least: int) -> NDArray[np.bool_]:
        """The cuts whose sums may be told of a group of siblings, (groups, cuts): of those told of their parent.

        Sums of one column can be subtracted from each other, from the node's own and from the parent's. What is left by that, between two cuts that
        are told or beyond the last, must be no row or at least so many, in every sibling. ``counts``: (groups, siblings, cuts), ``sizes`` (groups,
        siblings).
        """
        told = np.zeros_like(before)
        for column, bins in enumerate(self.bins):
            passed = np.zeros_like(sizes)
            for number in np.flatnonzero(self._cuts[:, 0] == column).tolist():
                reached = counts[..., number] if bins.numeric else passed + counts[..., number]
                parts = np.stack([reached - passed, sizes - reached])
                told[:, number] = before[:, number] & ((parts == 0) | (parts >= least)).all(axis=(0, 2))
                passed = np.where(told[:, number, None], reached, passed)
        return told

    def _sum(self, node: Integers, nodes: int, values: Integers | None) -> Integers:
        if self._places is None:
            return np.zeros((nodes, 0), np.int64)
        rows = np.flatnonzero(node >= 0)
        keys = (node[rows, None] * self.width + self._places[rows]).ravel()
        weights = None if values is None else np.repeat(values[rows], self._places.shape[1]).astype(np.float64)
        histogram = np.bincount(keys, weights, minlength=nodes * self.width).reshape(nodes, self.width)
        return self.running(np.rint(histogram).astype(np.int64))[:, self.at]

    def running(self, histogram: Integers) -> Integers:
        """Running sums of each row's columns, (nodes, width)."""
        total = np.cumsum(histogram, axis=1)
        first = np.maximum.accumulate(np.where(self.starts, np.arange(self.width), 0))
        before: Integers = np.concatenate([np.zeros((len(histogram), 1), np.int64), total], axis=1)[:, first]
        return total - before


def _cuts(bins: Bins, codes: Integers) -> int:
    """How many cuts a column has: numbers one less than bins, texts one for each value; of two values that are all, one."""
    used = len(bins.names) + bool((codes == len(bins.names)).any())
    return used - 1 if bins.numeric or used == 2 else len(bins.names)
