"""From a computed analysis to its result: the permitted groups and cells, with noise, as one table.

A group is released if its rows may be released; a cell of it if the cell's own rows may
(``releases``). What may not be released is left out: a group as if it did not exist, a cell as a
missing value. Only the owner learns how many there were. Both decisions follow from known columns
alone; no sum enters them.

With noise, each analysis costs the same ``micro_rho``, shared equally by the counts and sums that
its cells are made from: a row is in one group, so it changes each of them once, by at most 1 in a
count and at most the column's bound in a sum. A discrete Gaussian of sigma then costs bound**2 / (2
* sigma**2) of rho.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.analysis.confined import Computed
from federated.analysis.policy import ColumnRule
from federated.analysis.releases import Released
from federated.analysis.statement import CompiledAnalysis, Statistic, filters_of
from federated.analysis.syntax import Analysis, Key
from federated.errors import BadInput
from federated.horizontal.gaussian import MAX_SIGMA, discrete_gaussian
from federated.horizontal.privacy import MICRO
from federated.randomness import Randomness

Row = list[float | int | str | None]
Permitted = NDArray[np.bool_]
"""(groups, statistics); a group whose first statistic, the group itself, is not permitted is not
given out.
"""


def permitted(
    released: Released,
    computed: Computed,
    statement: CompiledAnalysis,
    holds: Mapping[str, NDArray[np.bool_]],
    count: int,
    least: int,
) -> Permitted:
    """Release what may be released, group by group, and record it.

    ``holds``: for each column, which of the source's ``count`` rows have a value; ``least``: the
    least number of rows of a release.
    """
    out = np.zeros(computed.sizes.shape, np.bool_)
    order = np.argsort(computed.groups, kind="stable")
    ends = np.searchsorted(computed.groups[order], np.arange(len(computed.keys) + 1))
    holds = {"": np.ones(count, np.bool_), **holds}
    for group in range(len(computed.keys)):
        inside = order[ends[group] : ends[group + 1]]
        for index, statistic in enumerate(statement.statistics):
            selected = (
                inside
                if statistic.only is None
                else inside[computed.filters[statistic.only, inside]]
            )
            rows = np.sort(computed.rows[selected])
            if statistic.column is not None:
                _require(int(holds[statistic.column][rows].sum()) == computed.sizes[group, index])
            out[group, index] = released.release(rows, statistic.column, holds, least)
            if index == 0 and not out[group, 0]:
                break
    return out


def _require(fits: bool) -> None:
    if not fits:
        raise ValueError("a statistic is not over the rows it should be over")


def sigmas(
    analysis: Analysis,
    statement: CompiledAnalysis,
    rules: Mapping[str, ColumnRule],
    micro_rho: int,
) -> list[tuple[int, int]]:
    """Return for each statistic the noise of its size and of its sum; 0 where it is not released.

    All together cost at most ``micro_rho``.

    Raises:
        BadInput: ``noise_wrong`` if a sigma is too large for exact draws.
    """
    bounds = sensitivities(analysis, statement, rules)
    shares = sum(bound > 0 for pair in bounds for bound in pair)
    found = [
        (_sigma(size, shares, micro_rho), _sigma(total, shares, micro_rho))
        for size, total in bounds
    ]
    if max(max(pair) for pair in found) > MAX_SIGMA:
        hint = "Allow fewer decimal places or narrower bounds, or let an analysis cost more."
        raise BadInput("noise_wrong", f"The noise would have a sigma above {MAX_SIGMA}.", hint=hint)
    return found


def sensitivities(
    analysis: Analysis,
    statement: CompiledAnalysis,
    rules: Mapping[str, ColumnRule],
) -> list[tuple[int, int]]:
    """Return for each statistic how much one row changes its size and its sum at most.

    0 where no cell is made from it.
    """
    filters = filters_of(analysis)
    bounds = [(0, 0)] * len(statement.statistics)
    for cell in analysis.cells:
        index = statement.statistic_of(cell, filters)
        size, total = bounds[index]
        counted, summed = (
            cell.function != "sum",
            cell.column is not None and cell.function != "count",
        )
        bounds[index] = (
            1 if counted else size,
            rules[cell.column].bound if summed and cell.column is not None else total,
        )
    return bounds


def _sigma(bound: int, shares: int, micro_rho: int) -> int:
    """Return the least integer with bound**2 / (2 * sigma**2) <= micro_rho / (MICRO * shares)."""
    square = Fraction(bound * bound * MICRO * shares, 2 * micro_rho)
    return 0 if bound == 0 else max(1, math.isqrt(math.ceil(square) - 1) + 1)


def noisy(
    computed: Computed,
    noise: Sequence[tuple[int, int]],
    randomness: Randomness,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return sizes and sums with noise: one stream for each statistic, in the order of groups."""
    sizes, sums = computed.sizes.copy(), computed.sums.copy()
    for index, (size, total) in enumerate(noise):
        if size:
            sizes[:, index] += discrete_gaussian(
                size,
                len(sizes),
                randomness.child(f"size/{index}"),
            )
        if total:
            sums[:, index] += discrete_gaussian(total, len(sums), randomness.child(f"sum/{index}"))
    return sizes, sums


def table(
    analysis: Analysis,
    statement: CompiledAnalysis,
    rules: Mapping[str, ColumnRule],
    computed: Computed,
    allowed: Permitted,
    sizes: NDArray[np.int64],
    sums: NDArray[np.int64],
) -> list[Row]:
    """Return the rows of the result, in the order of their keys."""
    filters = filters_of(analysis)
    rows: list[tuple[tuple[Any, ...], Row]] = []
    for group, keys in enumerate(computed.keys):
        if not allowed[group, 0]:
            continue
        remaining, row = iter(keys), Row()
        for output in analysis.outputs:
            if isinstance(output, Key):
                row.append(next(remaining))
                continue
            index = statement.statistic_of(output, filters)
            value = _value(
                output.function,
                statement.statistics[index],
                rules,
                int(sizes[group, index]),
                int(sums[group, index]),
            )
            row.append(value if allowed[group, index] else None)
        rows.append((tuple((key is None, key if key is not None else 0) for key in keys), row))
    return [row for _, row in sorted(rows, key=lambda entry: entry[0])]


def _value(
    function: str,
    statistic: Statistic,
    rules: Mapping[str, ColumnRule],
    size: int,
    total: int,
) -> float | int | None:
    if function == "count":
        return size
    assert statistic.column is not None
    unit = 10 ** rules[statistic.column].decimals
    if function == "sum":
        return float(Fraction(total, unit))
    return float(Fraction(total, unit * size)) if size > 0 else None
