"""Bins of a column at its owner, and the weight of evidence of each (Siddiqi, *Credit Risk Scorecards*, 2006).

Numbers are cut at quantiles, texts by value; missing values have a bin of their own. A bin with fewer rows than the minimum is joined to its
neighbour (numbers) or to the others (texts), before anything is known of the label. What is left too small stands in no bin, and weighs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput

MISSING = "missing"
OTHER = "other"
NO_BIN = -1

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Bins:
    """How one column is cut. ``edges``: upper bounds of all numeric bins but the last; ``values``: texts with a bin of their own."""

    column: str
    numeric: bool
    edges: tuple[float, ...] = ()
    values: tuple[str, ...] = ()
    other: bool = False
    missing: bool = False

    @property
    def names(self) -> list[str]:
        """What each bin is called, in the order of the codes."""
        if self.numeric:
            bounds = [-np.inf, *self.edges, np.inf]
            names = [f"({low:g}, {high:g}]" for low, high in pairwise(bounds)]
        else:
            names = [*self.values, *([OTHER] if self.other else [])]
        return [*names, *([MISSING] if self.missing else [])]

    def codes(self, column: NDArray[Any]) -> Codes:
        """The bin of each row, or ``NO_BIN``. A text never seen before is one of the others, if there is such a bin."""
        if self.numeric:
            empty = np.isnan(column.astype(np.float64))
            codes = np.searchsorted(np.array(self.edges), column.astype(np.float64), side="left").astype(np.int64)
        else:
            empty = np.array([value is None for value in column], np.bool_)
            place = {value: code for code, value in enumerate(self.values)}
            codes = np.array([place.get(value, len(place) if self.other else NO_BIN) for value in column], np.int64)
        codes[empty] = len(self.names) - 1 if self.missing else NO_BIN
        return codes


def cut(name: str, column: NDArray[Any], *, most: int, least: int) -> Bins:
    """Bins of one column by its training rows; ``column_constant`` if they leave one bin, ``column_malformed`` if a number is infinite."""
    numeric = column.dtype.kind == "f"
    empty = np.isnan(column) if numeric else np.array([value is None for value in column], np.bool_)
    present, missing = column[~empty], int(empty.sum()) >= least
    if numeric and np.isinf(present).any():
        raise BadInput("column_malformed", f"The column {name} has an infinite value.")
    bins = _numeric(name, present, most, least, missing) if numeric else _texts(name, present, most, least, missing)
    if len(bins.names) < 2:
        raise BadInput("column_constant", f"The column {name} has one value only, or too few rows of any other.", hint="Leave it out of the job.")
    return bins


def _numeric(name: str, present: NDArray[Any], most: int, least: int, missing: bool) -> Bins:
    if not len(present):
        return Bins(name, True, missing=missing)
    wanted = np.unique(np.quantile(present, np.arange(1, most) / most, method="inverted_cdf"))
    edges: list[float] = []
    below = 0
    for edge in wanted.tolist():
        upto = int((present <= edge).sum())
        if upto - below >= least and len(present) - upto >= least:
            edges.append(float(edge))
            below = upto
    return Bins(name, True, edges=tuple(edges), missing=missing)


def _texts(name: str, present: NDArray[Any], most: int, least: int, missing: bool) -> Bins:
    values, counts = np.unique(present.astype(str), return_counts=True)
    frequent = sorted(np.argsort(-counts, kind="stable")[: most - 1].tolist()) if len(values) > most else range(len(values))
    kept = [place for place in frequent if counts[place] >= least]
    return Bins(
        name, False, values=tuple(str(values[place]) for place in kept), other=int(counts.sum() - counts[kept].sum()) >= least, missing=missing
    )


@dataclass(frozen=True)
class Evidence:
    """A column's bins with what the label says of them: rows, bad rows, weight of evidence, information value."""

    bins: Bins
    rows: tuple[int, ...]
    bad: tuple[int, ...]
    woe: tuple[float, ...]
    value: float

    @classmethod
    def of(cls, bins: Bins, rows: Sequence[int], bad: Sequence[int]) -> Evidence:
        """ln((bad share) / (good share)) of each bin, with half a row added to each cell."""
        counted = np.array(rows, np.float64)
        bads = np.array(bad, np.float64) + 0.5
        goods = counted - np.array(bad, np.float64) + 0.5
        shares = bads / bads.sum(), goods / goods.sum()
        woe = np.log(shares[0] / shares[1])
        return cls(bins, tuple(map(int, rows)), tuple(map(int, bad)), tuple(woe.tolist()), float(((shares[0] - shares[1]) * woe).sum()))

    def column(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """The weight of evidence of each row; 0 where a row stands in no bin."""
        return np.append(np.array(self.woe), 0.0)[self.bins.codes(values)]
