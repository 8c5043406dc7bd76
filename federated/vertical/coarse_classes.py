"""Coarse classes: the bins of a column merged with the help of the label, before they are weighed.

Fine bins follow the distribution of the column alone. Their bad rates are noisy, so neighbours are
merged until the rates rise or fall throughout, or turn once where the evidence for it is strong
(isotonic regression by pooling adjacent violators: Ayer and others, *Ann. Math. Statist.* 26,
1955). Then classes with too few bad or good rows to be weighed are merged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

TURN_DEVIANCE = 10.0
"""How much the deviance must fall before bad rates may turn: 10 is exceeded by chance once in 600
columns (chi-squared, one degree of freedom)."""


@dataclass(frozen=True)
class CoarseClass:
    """Bins that share one weight. ``bins``: their numbers."""

    bins: tuple[int, ...]
    rows: int
    bad: int

    def __add__(self, other: CoarseClass) -> CoarseClass:
        return CoarseClass(
            tuple(sorted(self.bins + other.bins)), self.rows + other.rows, self.bad + other.bad
        )

    @property
    def good(self) -> int:
        """The number of good rows."""
        return self.rows - self.bad

    @property
    def bad_rate(self) -> float:
        """The share of bad rows; ½ without rows."""
        return self.bad / self.rows if self.rows else 0.5

    def counted(self, min_cases: int) -> tuple[int, int]:
        """Return the bad and good rows, neither below ``min_cases``, with the same sum."""
        bad = min(max(self.bad, min_cases), self.rows - min_cases)
        return bad, self.rows - bad


def coarse_classes(
    rows: Sequence[int], bad: Sequence[int], *, ordered: int, min_cases: int
) -> list[CoarseClass]:
    """Merge the bins of a column. The first ``ordered`` bins have an order, and only neighbours
    among them are merged; others are merged with the class of the most similar bad rate.

    Returns one class if no class has ``min_cases`` bad and ``min_cases`` good rows: such a column
    would disclose the label.
    """
    if not rows:
        return []
    bins = [
        CoarseClass((number,), count, bads)
        for number, (count, bads) in enumerate(zip(rows, bad, strict=True))
    ]
    whole = reduce(CoarseClass.__add__, bins)

    def too_small(part: CoarseClass) -> bool:
        return _too_small(part, whole, min_cases)

    filled = _merged_where(lambda part: not part.rows, bins[:ordered], _neighbours)
    line = _merged_where(too_small, _one_turn(filled), _neighbours)
    classes = _merged_where(too_small, line + bins[ordered:], _all_others)
    mixed = any(min(part.bad, part.good) >= min_cases for part in classes)
    return classes if mixed else [whole]


def _too_small(part: CoarseClass, whole: CoarseClass, min_cases: int) -> bool:
    """Whether raising the rarer outcome to ``min_cases`` rows would move the class to the other
    side of the column's bad rate.
    """
    if min(part.bad, part.good) >= min_cases:
        return False
    few_bad = part.bad < min_cases and min_cases * whole.rows > part.rows * whole.bad
    few_good = part.good < min_cases and min_cases * whole.rows > part.rows * whole.good
    return few_bad or few_good or part.rows < 2 * min_cases


_Candidates = Callable[[int, int], Sequence[int]]


def _neighbours(index: int, count: int) -> Sequence[int]:
    return [other for other in (index - 1, index + 1) if 0 <= other < count]


def _all_others(index: int, count: int) -> Sequence[int]:
    return [other for other in range(count) if other != index]


def _merged_where(
    condition: Callable[[CoarseClass], bool], classes: list[CoarseClass], candidates: _Candidates
) -> list[CoarseClass]:
    """Merge each class for which the condition holds with the candidate of the most similar bad
    rate.
    """
    classes = list(classes)
    while len(classes) > 1:
        index = next((at for at, part in enumerate(classes) if condition(part)), None)
        if index is None:
            break
        rate = classes[index].bad_rate
        other = min(
            candidates(index, len(classes)), key=lambda at: abs(classes[at].bad_rate - rate)
        )
        first, last = sorted((index, other))
        classes[first] += classes.pop(last)
    return classes


def _one_turn(line: list[CoarseClass]) -> list[CoarseClass]:
    """Merge neighbours until the bad rates are monotone, or turn once at the best place."""
    rising, falling = _isotonic(line, 1), _isotonic(line, -1)
    best = min(rising, falling, key=_deviance)
    turned = [
        _isotonic(line[:at], direction) + _isotonic(line[at:], -direction)
        for at in range(1, len(line))
        for direction in (1, -1)
    ]
    candidate = min(turned, key=_deviance, default=best)
    return candidate if _deviance(candidate) < _deviance(best) - TURN_DEVIANCE else best


def _isotonic(line: Sequence[CoarseClass], direction: int) -> list[CoarseClass]:
    """Pool adjacent violators: bad rates rise strictly (``direction`` 1) or fall (-1)."""
    pooled: list[CoarseClass] = []
    for part in line:
        pooled.append(part)
        while len(pooled) > 1 and direction * (pooled[-1].bad_rate - pooled[-2].bad_rate) <= 0:
            last = pooled.pop()
            pooled[-1] += last
    return pooled


def _deviance(classes: Sequence[CoarseClass]) -> float:
    """Return -2 log-likelihood of the rows, each class with its own bad rate."""
    total = 0.0
    for part in classes:
        rate = (part.bad + 0.5) / (part.rows + 1)
        total -= 2 * (part.bad * math.log(rate) + part.good * math.log(1 - rate))
    return total
