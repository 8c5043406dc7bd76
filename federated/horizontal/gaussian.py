"""Discrete Gaussian noise, exactly: integers y with probability proportional to exp(-y**2 / (2 * sigma**2)).

Canonne, Kamath and Steinke, "The discrete Gaussian for differential privacy" (NeurIPS 2020), algorithms 1 to 3: a discrete Laplace draw of scale
sigma is kept with probability exp(-(|y| - sigma)**2 / (2 * sigma**2)). Every coin is tossed with integers; no floating point value enters, so
nothing can be read from rounded low bits. Draws beyond 40 sigma are dropped: together they have probability below 2**-1000.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.randomness import Randomness

MOST_SIGMA = 1 << 24  # (40 * sigma)**2 and the denominators below stay within 64 bits
TAIL = 40
_BLOCK = 1 << 16


def discrete_gaussian(sigma: int, count: int, randomness: Randomness) -> NDArray[np.int64]:
    """``count`` independent draws; sigma is an integer from 1 to ``MOST_SIGMA``."""
    if not 1 <= sigma <= MOST_SIGMA:
        raise ValueError(f"sigma must be from 1 to {MOST_SIGMA}")
    out = np.empty(count, np.int64)
    filled = 0
    while filled < count:
        draws = discrete_laplace(sigma, min(_BLOCK, 3 * (count - filled) + 64), randomness)
        draws = draws[np.abs(draws) <= TAIL * sigma]
        kept = draws[_exponential_coin((np.abs(draws) - sigma) ** 2, 2 * sigma * sigma, randomness)][: count - filled]
        out[filled : filled + len(kept)] = kept
        filled += len(kept)
    return out


def discrete_laplace(scale: int, tries: int, randomness: Randomness) -> NDArray[np.int64]:
    """Draws of probability proportional to exp(-|y| / scale); as many as ``tries`` attempts give."""
    low = _below(scale, tries, randomness)
    low = low[_small_coin(low, scale, randomness)]
    high = np.zeros(len(low), np.int64)
    going = np.arange(len(low))
    while len(going):
        going = going[_small_coin(np.ones(len(going), np.int64), 1, randomness)]
        high[going] += 1
    size = low + scale * high
    negative = _below(2, len(size), randomness).astype(bool)
    kept = ~(negative & (size == 0))  # zero would come twice
    return np.asarray(np.where(negative, -size, size)[kept], np.int64)


def _exponential_coin(above: NDArray[np.int64], below: int, randomness: Randomness) -> NDArray[np.bool_]:
    """True with probability exp(-above / below), each."""
    whole, rest = np.divmod(above, below)
    result = np.zeros(len(above), np.bool_)
    alive = np.arange(len(above))
    done = np.zeros(len(above), np.int64)
    while (pending := alive[done[alive] < whole[alive]]).size:
        heads = _small_coin(np.ones(len(pending), np.int64), 1, randomness)
        done[pending] += 1
        lost = np.zeros(len(above), np.bool_)
        lost[pending[~heads]] = True
        alive = alive[~lost[alive]]
    result[alive] = _small_coin(rest[alive], below, randomness)
    return result


def _small_coin(above: NDArray[np.int64], below: int, randomness: Randomness) -> NDArray[np.bool_]:
    """True with probability exp(-above / below), each, for fractions of at most 1: the parity of the first coin above/(below * k) that fails."""
    result = np.zeros(len(above), np.bool_)
    going, turn = np.arange(len(above)), 1
    while len(going):
        heads = _below(below * turn, len(going), randomness) < above[going]
        result[going[~heads]] = turn % 2 == 1
        going, turn = going[heads], turn + 1
    return result


def _below(bound: int, count: int, randomness: Randomness) -> NDArray[np.int64]:
    """Uniform integers from 0 to bound - 1, by rejection of the words in the last, incomplete run of ``bound``."""
    divisor, last = np.uint64(bound), np.uint64(2**64 - 1 - 2**64 % bound)
    words = randomness.words(count)
    while (bad := np.flatnonzero(words > last)).size:
        words[bad] = randomness.words(len(bad))
    # A scalar's quotient is fast in numpy, its remainder is not.
    rest: NDArray[Any] = words - words // divisor * divisor
    return rest.astype(np.int64)
