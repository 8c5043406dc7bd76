"""Bins of a column at its owner, and the weight of evidence of each (Siddiqi, *Credit Risk Scorecards*, 2006).

Numbers are cut at quantiles, texts by value; missing values have a bin of their own. A bin with fewer rows than the minimum is joined to its
neighbour (numbers) or to the others (texts), before anything is known of the label. What is left too small stands in no bin, and weighs nothing.

The label party weighs the bins by a ``Layout``: it sees how many rows each has and which of them stand in an order, and not what they are. Bins
with too few bad or too few good rows are weighed together, and what another owner is told is rounded, so that no count can be read from it.
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
STEP = 1 / 16
"""Weights of evidence are told to others in steps of this size."""

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
    if len(bins.names) < 2 or len(present) < least:
        raise _constant(name, present, least)
    return bins


def _constant(name: str, present: NDArray[Any], least: int) -> BadInput:
    """Why a column leaves one bin: without a value, with one, or with values that are too rare. Values are not shown."""
    different = len(set(present.tolist()))
    if not different:
        why, hint = "no value in any training row", "Check the source, and which cells it declares as missing; else leave the column out of the job."
    elif different == 1:
        why, hint = "one value only in the training rows", "Leave it out of the job."
    else:
        why = f"{different} different values in {len(present)} training rows, and at most one on {least} rows or more"
        hint = "Group its values, or leave it out of the job."
    return BadInput("column_constant", f"The column {name} has {why}.", hint=hint)


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
class Layout:
    """What the label party is told of a column's bins: how many of the first stand in an order, and how many rows each has."""

    ordered: int
    rows: tuple[int, ...]

    @classmethod
    def of(cls, bins: Bins, codes: Codes) -> Layout:
        """The layout of a column's bins over these rows."""
        counts = np.bincount(codes[codes != NO_BIN], minlength=len(bins.names))
        return cls(len(bins.edges) + 1 if bins.numeric else 0, tuple(counts.tolist()))


@dataclass(frozen=True)
class Evidence:
    """What the label says of a column: the weight of evidence of each bin, and the column's information value."""

    woe: tuple[float, ...]
    value: float

    @classmethod
    def of(cls, layout: Layout, bad: Sequence[int], *, least: int) -> Evidence:
        """ln((bad share) / (good share)) of each bin, with half a row added to each cell.

        Bins with fewer than ``least`` bad or good rows are weighed together with a neighbour (where there is an order) or with the largest other.
        """
        groups = _joined(layout, bad, least)
        rows, bads = (np.array([sum(each[place] for place in group) for group in groups], np.float64) for each in (layout.rows, bad))
        bad_shares, good_shares = ((each + 0.5) / (each + 0.5).sum() for each in (bads, rows - bads))
        woe = np.log(bad_shares / good_shares)
        found = np.zeros(len(layout.rows))
        for group, each in zip(groups, woe, strict=True):
            found[group] = each
        return cls(tuple(found.tolist()), float(((bad_shares - good_shares) * woe).sum()))

    def told(self) -> Evidence:
        """What the columns' owner is told of it: weights in steps."""
        return Evidence(tuple((np.rint(np.array(self.woe) / STEP) * STEP + 0.0).tolist()), self.value)

    def column(self, codes: Codes) -> NDArray[np.float64]:
        """The weight of evidence of each row; 0 where a row stands in no bin."""
        return np.append(np.array(self.woe), 0.0)[codes]


def _joined(layout: Layout, bad: Sequence[int], least: int) -> list[list[int]]:
    """Groups of bins with at least ``least`` bad and good rows each, or one group of all; the first ones stand in an order."""
    groups, ordered = [[place] for place in range(len(layout.rows))], layout.ordered

    def size(place: int) -> int:
        return sum(layout.rows[each] for each in groups[place])

    def smaller_side(place: int) -> int:
        bads = sum(bad[each] for each in groups[place])
        return min(bads, size(place) - bads)

    while len(groups) > 1:
        thin = next((place for place in range(len(groups)) if smaller_side(place) < least), None)
        if thin is None:
            break
        if thin < ordered and ordered > 1:
            other = thin + 1 if thin + 1 < ordered else thin - 1
        else:
            other = max((place for place in range(len(groups)) if place != thin), key=size)
        groups[other] = sorted(groups[other] + groups[thin])
        ordered -= thin < ordered
        del groups[thin]
    return groups
