"""Bins of one column at its owner, and their weight of evidence (Siddiqi, *Credit Risk Scorecards*,
2006).

Numeric columns are cut between few values, else at quantiles and more finely in both tails; text
columns are binned by value; missing values form a bin of their own. A bin below the minimum size is
merged with its neighbour (numeric) or with the bin of other values (text) before the label is used.
Rows in a bin that is still too small get no bin and weight 0.

The label party sees only a ``BinLayout``: the number of rows in each bin and which bins are
ordered, not what they contain. It merges bins into ``coarse_classes``, and rounds the weights it
sends to another owner, so that no exact count can be derived from them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput
from federated.vertical.coarse_classes import coarse_classes

MISSING = "missing"
OTHER = "other"
NO_BIN = -1
STEP = 1 / 16
"""Weights of evidence are sent to other parties as multiples of this step."""
LIMIT = math.log(10)
"""The largest weight of evidence: ten times the odds of the column."""
_TAILS = (0.02, 0.05, 0.95, 0.98)
"""Further quantiles at which numbers are cut: an eighth of all rows hides the few that matter."""

Codes = NDArray[np.int64]


class ColumnConstant(BadInput):
    """A column has one bin only (``column_constant``)."""

    def __init__(self, sentence: str, *, hint: str) -> None:
        super().__init__("column_constant", sentence, hint=hint)


@dataclass(frozen=True)
class Bins:
    """The bins of one column.

    ``edges``: upper bounds of all numeric bins but the last. ``values``: texts that have a bin of
    their own. ``special``: numbers that are codes and have a bin of their own, after the intervals;
    ``rare``: codes that count as missing.
    """

    column: str
    numeric: bool
    edges: tuple[float, ...] = ()
    values: tuple[str, ...] = ()
    other: bool = False
    missing: bool = False
    special: tuple[float, ...] = ()
    rare: tuple[float, ...] = ()

    @classmethod
    def none(cls, column: str) -> Bins:
        """No bins, for a column that cannot be used."""
        return cls(column, False)

    @property
    def names(self) -> list[str]:
        """The name of each bin, in the order of the codes."""
        if self.numeric:
            bounds = [-np.inf, *self.edges, np.inf]
            names = [f"({low:g}, {high:g}]" for low, high in pairwise(bounds)]
            names += [f"= {value:g}" for value in self.special]
        else:
            names = [*self.values, *([OTHER] if self.other else [])]
        return [*names, *([MISSING] if self.missing else [])]

    def codes(self, column: NDArray[Any]) -> Codes:
        """Return the bin of each row, or ``NO_BIN``. An unknown text falls into the bin of other
        values, if there is one.
        """
        if self.numeric:
            empty = np.isnan(column.astype(np.float64)) | np.isin(column, self.rare)
            codes = np.searchsorted(
                np.array(self.edges), column.astype(np.float64), side="left"
            ).astype(np.int64)
            for place, value in enumerate(self.special, start=len(self.edges) + 1):
                codes[column == value] = place
        else:
            empty = np.array([value is None for value in column], np.bool_)
            index = {value: code for code, value in enumerate(self.values)}
            codes = np.array(
                [index.get(value, len(index) if self.other else NO_BIN) for value in column],
                np.int64,
            )
        codes[empty] = len(self.names) - 1 if self.missing else NO_BIN
        return codes


def bin_column(
    name: str,
    column: NDArray[Any],
    *,
    max_bins: int,
    min_rows: int,
    special: Sequence[float] = (),
    missing_bin: bool = True,
) -> Bins:
    """Bin one column over its training rows, into at most ``max_bins`` bins of at least
    ``min_rows`` rows. ``special``: numbers that are codes, such as -999 for "never asked". A code
    has a bin of its own, or counts as missing if fewer rows have it. Without ``missing_bin``
    missing values have no bin, and so weight 0.

    Raises ``column_constant`` if one bin is left, ``column_malformed`` for an infinite number.
    """
    numeric = column.dtype.kind == "f"
    if special and not numeric:
        raise BadInput(
            "column_not_numeric", f"The column {name} has special values, but is not numeric."
        )
    frequent = tuple(value for value in special if (column == value).sum() >= min_rows)
    rare = tuple(value for value in special if value not in frequent)
    empty = np.isnan(column) if numeric else np.array([value is None for value in column], np.bool_)
    if rare:
        empty = empty | np.isin(column, rare)
    missing = missing_bin and int(empty.sum()) >= min_rows
    present = column[~(empty | np.isin(column, frequent))] if frequent else column[~empty]
    if numeric and np.isinf(present).any():
        raise BadInput("column_malformed", f"The column {name} has an infinite value.")
    bins = (
        _numeric(name, present, max_bins, min_rows, missing)
        if numeric
        else _texts(name, present, max_bins, min_rows, missing)
    )
    bins = replace(bins, special=frequent, rare=rare)
    if len(bins.names) < 2 or len(present) < min_rows:
        raise _constant(name, present, min_rows)
    return bins


def _constant(name: str, present: NDArray[Any], min_rows: int) -> ColumnConstant:
    """Explain why one bin is left: no values, one value, or only rare values.

    Values are not shown.
    """
    different = len(set(present.tolist()))
    if not different:
        why, hint = (
            "no value in any training row",
            (
                "Check the source, and which cells it declares as "
                "missing; else leave the column out of the job."
            ),
        )
    elif different == 1:
        why, hint = "one value only in the training rows", "Leave it out of the job."
    else:
        why = (
            f"{different} different values in {len(present)} training rows, and at most one "
            f"on {min_rows} rows or more"
        )
        hint = "Group its values, or leave it out of the job."
    return ColumnConstant(f"The column {name} has {why}.", hint=hint)


def _numeric(name: str, present: NDArray[Any], max_bins: int, min_rows: int, missing: bool) -> Bins:
    if not len(present):
        return Bins(name, True, missing=missing)
    ordered = np.sort(present)
    edges: list[float] = []
    below = 0
    for edge in _candidate_edges(ordered, max_bins).tolist():
        upto = int(np.searchsorted(ordered, edge, side="right"))
        if upto - below >= min_rows and len(ordered) - upto >= min_rows:
            edges.append(float(edge))
            below = upto
    return Bins(name, True, edges=_at_most(edges, max_bins - 1, ordered), missing=missing)


def _at_most(edges: list[float], limit: int, ordered: NDArray[Any]) -> tuple[float, ...]:
    """Remove edges beyond the limit, first those between the smallest bins."""
    edges = list(edges)
    while len(edges) > limit:
        upto = [0, *np.searchsorted(ordered, edges, side="right").tolist(), len(ordered)]
        del edges[min(range(len(edges)), key=lambda at: upto[at + 2] - upto[at])]
    return tuple(edges)


def _candidate_edges(ordered: NDArray[Any], max_bins: int) -> NDArray[Any]:
    """Return where sorted numbers may be cut: between all values if they are few, else at
    quantiles, and on both sides of a value that many rows have.
    """
    values, counts = np.unique(ordered, return_counts=True)
    if len(values) <= max_bins:
        return values[:-1]
    tails = _TAILS if max_bins > 2 * len(_TAILS) else ()
    inner = max_bins - len(tails)
    at = np.sort([*(np.arange(1, inner) / inner), *tails])
    frequent = np.flatnonzero(counts >= len(ordered) / inner)
    return np.unique(
        [
            *np.quantile(ordered, at, method="inverted_cdf"),
            *values[frequent],
            *values[frequent[frequent > 0] - 1],
        ]
    )


def _texts(name: str, present: NDArray[Any], max_bins: int, min_rows: int, missing: bool) -> Bins:
    values, counts = np.unique(present.astype(str), return_counts=True)
    frequent = (
        sorted(np.argsort(-counts, kind="stable")[: max_bins - 1].tolist())
        if len(values) > max_bins
        else range(len(values))
    )
    own_bin = [index for index in frequent if counts[index] >= min_rows]
    return Bins(
        name,
        False,
        values=tuple(str(values[index]) for index in own_bin),
        other=int(counts.sum() - counts[own_bin].sum()) >= min_rows,
        missing=missing,
    )


@dataclass(frozen=True)
class BinLayout:
    """What the label party receives of a column's bins: ``rows`` in each, and how many of the first
    are ``ordered``. A column that its owner dropped has none.
    """

    ordered: int
    rows: tuple[int, ...]

    @property
    def dropped(self) -> bool:
        """Whether the column cannot be used."""
        return not self.rows

    @classmethod
    def of(cls, bins: Bins, codes: Codes) -> BinLayout:
        """Count the rows of each bin."""
        counts = np.bincount(codes[codes != NO_BIN], minlength=len(bins.names))
        return cls(len(bins.edges) + 1 if bins.numeric else 0, tuple(counts.tolist()))


@dataclass(frozen=True)
class WeightsOfEvidence:
    """The weight of evidence ``woe`` of each bin, and the information value of the column."""

    woe: tuple[float, ...]
    information_value: float

    @classmethod
    def of(cls, layout: BinLayout, bad: Sequence[int], *, min_cases: int) -> WeightsOfEvidence:
        """Compute ln(bad share / good share) of each bin, with half a row added to each cell.

        Bins are merged into ``coarse_classes`` first. In a class, fewer than ``min_cases`` bad or
        good rows count as ``min_cases``, and no weight is beyond ``LIMIT``.
        """
        classes = coarse_classes(layout.rows, bad, ordered=layout.ordered, min_cases=min_cases)
        if len(classes) < 2:
            return cls((0.0,) * len(layout.rows), 0.0)
        cells = np.array([part.counted(min_cases) for part in classes], np.float64) + 0.5
        bad_shares, good_shares = (cells / cells.sum(0)).T
        woe = np.log(bad_shares / good_shares).clip(-LIMIT, LIMIT)
        found = np.zeros(len(layout.rows))
        for part, weight in zip(classes, woe, strict=True):
            found[list(part.bins)] = weight
        return cls(tuple(found.tolist()), float(((bad_shares - good_shares) * woe).sum()))

    def rounded(self) -> WeightsOfEvidence:
        """Return what the column's owner receives: weights rounded to multiples of ``STEP``."""
        return WeightsOfEvidence(
            tuple((np.rint(np.array(self.woe) / STEP) * STEP + 0.0).tolist()),
            self.information_value,
        )

    def column(self, codes: Codes) -> NDArray[np.float64]:
        """Return the weight of evidence of each row; 0 for rows without a bin."""
        return np.append(np.array(self.woe), 0.0)[codes]
