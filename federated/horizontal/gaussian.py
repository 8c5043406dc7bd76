"""Exact discrete Gaussian noise.

Integers y have probability proportional to exp(-y**2 / (2·sigma**2)).

Canonne, Kamath, Steinke, *The Discrete Gaussian for Differential Privacy* (NeurIPS 2020),
algorithms 1 to 3: a discrete Laplace draw of scale sigma is accepted with probability exp(-(|y| -
sigma)**2 / (2·sigma**2)). All Bernoulli draws use integers; no floating-point value enters, so that
rounded low bits leak nothing. Draws beyond 40 sigma are rejected: together they have probability
below 2**-1000.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.randomness import Randomness

MAX_SIGMA = 1 << 24  # (40 * sigma)**2 and the denominators below stay within 64 bits
TAIL = 40
_BLOCK = 1 << 16


def discrete_gaussian(sigma: int, count: int, randomness: Randomness) -> NDArray[np.int64]:
    """Return ``count`` independent draws; ``sigma`` is an integer from 1 to ``MAX_SIGMA``."""
    if not 1 <= sigma <= MAX_SIGMA:
        raise ValueError(f"sigma must be from 1 to {MAX_SIGMA}")
    out = np.empty(count, np.int64)
    filled = 0
    while filled < count:
        draws = discrete_laplace(sigma, min(_BLOCK, 3 * (count - filled) + 64), randomness)
        draws = draws[np.abs(draws) <= TAIL * sigma]
        accepted = draws[
            _exponential_coin((np.abs(draws) - sigma) ** 2, 2 * sigma * sigma, randomness)
        ][: count - filled]
        out[filled : filled + len(accepted)] = accepted
        filled += len(accepted)
    return out


def discrete_laplace(scale: int, tries: int, randomness: Randomness) -> NDArray[np.int64]:
    """Return draws of probability proportional to exp(-|y| / scale), from ``tries`` attempts.

    Some attempts give no draw, so the result is shorter than ``tries``.
    """
    low = _below(scale, tries, randomness)
    low = low[_small_coin(low, scale, randomness)]
    high = np.zeros(len(low), np.int64)
    going = np.arange(len(low))
    while len(going):
        going = going[_small_coin(np.ones(len(going), np.int64), 1, randomness)]
        high[going] += 1
    size = low + scale * high
    negative = _below(2, len(size), randomness).astype(bool)
    accepted = ~(negative & (size == 0))  # else zero is drawn twice as often
    return np.asarray(np.where(negative, -size, size)[accepted], np.int64)


def _exponential_coin(
    above: NDArray[np.int64],
    below: int,
    randomness: Randomness,
) -> NDArray[np.bool_]:
    """Return for each element True with probability exp(-above / below)."""
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
    """Return for each element True with probability exp(-above / below), where above <= below.

    The result is the parity of the first trial k of probability above / (below·k) that fails.
    """
    result = np.zeros(len(above), np.bool_)
    going, turn = np.arange(len(above)), 1
    while len(going):
        heads = _below(below * turn, len(going), randomness) < above[going]
        result[going[~heads]] = turn % 2 == 1
        going, turn = going[heads], turn + 1
    return result


def _below(bound: int, count: int, randomness: Randomness) -> NDArray[np.int64]:
    """Return uniform integers from 0 to bound - 1.

    Words in the last, incomplete run of ``bound`` are rejected.
    """
    divisor, last = np.uint64(bound), np.uint64(2**64 - 1 - 2**64 % bound)
    words = randomness.words(count)
    while (bad := np.flatnonzero(words > last)).size:
        words[bad] = randomness.words(len(bad))
    # A scalar's quotient is fast in numpy, its remainder is not.
    rest: NDArray[Any] = words - words // divisor * divisor
    return rest.astype(np.int64)
