"""The distributed discrete Gaussian mechanism: clipping, noise, and the cost of a private sum.

A party clips its vector of integers to an L2 norm of ``clip`` and adds discrete Gaussian noise of
``sigma``. No party adds enough by itself; the sum of all shares is enough (Kairouz, Liu, Steinke,
*The Distributed Discrete Gaussian Mechanism*, ICML 2021). Costs are zero-concentrated differential
privacy (Bun, Steinke, 2016) in integer millionths of rho, rounded up. Neighbouring inputs differ by
one party's whole vector, present or replaced by zeros.

A sum of discrete Gaussians is not exactly a discrete Gaussian. Theorem 1 of the paper bounds the
difference: with n shares in d coordinates

    rho = (clip / (sigma * sqrt(n)) + tau * sqrt(d))**2 / 2,
    tau = 10 * sum over k from 1 to n - 1 of exp(-2 * pi**2 * sigma**2 * k / (k + 1)),

where tau is below 1e-16 for sigma >= 2. n counts the least number of shares in a sum that its
reader does not know: of the threshold, not of all members, and without the reader's own, as every
member sees the sum and can subtract its own noise. If members collude, all of theirs are known.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput
from federated.horizontal.gaussian import MAX_SIGMA, TAIL, discrete_gaussian
from federated.randomness import Randomness

DELTA = 1e-6
MICRO = 10**6
MAX_ELEMENT = 2**31 - 1  # so that squares and their sums stay within 64 bits


def clip_l2(vector: NDArray[np.int64], clip: int) -> NDArray[np.int64]:
    """Return the vector, scaled down if its L2 norm is above ``clip``.

    All arithmetic is in integers, so that the norm is within ``clip`` exactly;
    ``value_out_of_range``.
    """
    if int(np.abs(vector).max(initial=0)) > MAX_ELEMENT or not 1 <= clip <= MAX_ELEMENT:
        raise BadInput(
            "value_out_of_range",
            "An element or the clip is beyond 32 bits.",
            hint="Take fewer fraction bits.",
        )
    square = squared_norm(vector)
    if square <= clip * clip:
        return vector
    norm = math.isqrt(square - 1) + 1  # rounded up
    return np.asarray(np.sign(vector) * (np.abs(vector) * clip // norm), np.int64)


def squared_norm(vector: NDArray[np.int64]) -> int:
    """Return the exact sum of squares of up to 2**28 elements below 2**31 in magnitude."""
    high, low = vector >> 16, vector & 0xFFFF
    return (
        (int((high * high).sum()) << 32) + (int((high * low).sum()) << 17) + int((low * low).sum())
    )


def party_sigma(clip: int, multiplier: float, shares: int) -> int:
    """Return each party's sigma, so that ``shares`` of them reach ``multiplier * clip``.

    ``shares``: the noise shares that the reader does not know; BadInput ``noise_wrong``.
    """
    sigma = math.ceil(multiplier * clip / math.sqrt(shares)) if math.isfinite(multiplier) else 0
    if not 2 <= sigma <= MAX_SIGMA:
        raise BadInput(
            "noise_wrong",
            f"Each party's noise would have sigma {sigma}; it must be from 2 to {MAX_SIGMA}.",
            hint="Change noise, clip or fraction.",
        )
    return sigma


def add_noise(
    vector: NDArray[np.int64],
    clip: int,
    sigma: int,
    randomness: Randomness,
) -> NDArray[np.int64]:
    """Clip, then add this party's share of the noise; every element is within ``noisy_bound``."""
    return clip_l2(vector, clip) + discrete_gaussian(sigma, len(vector), randomness)


def noisy_bound(clip: int, sigma: int) -> int:
    """Return the largest magnitude after ``add_noise``."""
    return clip + TAIL * sigma


def cost(clip: int, sigma: int, shares: int, length: int) -> int:
    """Return the cost of one sum in micro-rho, rounded up; at least 1."""
    tau = 10 * sum(math.exp(-2 * math.pi**2 * sigma**2 * k / (k + 1)) for k in range(1, shares))
    rho = (clip / (sigma * math.sqrt(shares)) + tau * math.sqrt(length)) ** 2 / 2
    return max(1, math.ceil(rho * MICRO * (1 + 1e-12)))


def epsilon(micro_rho: int, *, delta: float = DELTA) -> float:
    """Return the epsilon of this much rho at a delta, by ``dp-accounting``."""
    from dp_accounting import dp_event
    from dp_accounting.rdp import rdp_privacy_accountant

    if micro_rho == 0:
        return 0.0
    accountant = rdp_privacy_accountant.RdpAccountant()
    accountant.compose(dp_event.ZCDpEvent(micro_rho / MICRO))
    return float(accountant.get_epsilon(delta))
