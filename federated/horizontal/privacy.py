"""What each party does to its vector before a private sum, and what the sum then costs.

A party's vector of integers is clipped to an L2 norm of ``clip`` and gets discrete Gaussian noise of ``sigma``; nobody alone adds enough, the sum
of all shares is enough (Kairouz, Liu and Steinke, "The distributed discrete Gaussian mechanism", ICML 2021). Costs are zero-concentrated
differential privacy (Bun and Steinke 2016), in integer millionths of rho, rounded up. Neighbours differ by one party's whole vector, present or
replaced by zeros.

A sum of discrete Gaussians is not quite a discrete Gaussian. Theorem 1 there bounds what that adds: with n shares in d coordinates

    rho = (clip / (sigma * sqrt(n)) + tau * sqrt(d))**2 / 2,    tau = 10 * sum over k from 1 to n - 1 of exp(-2 * pi**2 * sigma**2 * k / (k + 1)),

where tau is below 1e-16 for sigma >= 2. n counts the least number of shares in a sum that its reader does not know: of the threshold, not of all
members, and without the reader's own, for every member sees the sum and can take its own noise away. If members collude, all of theirs are known.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput
from federated.horizontal.gaussian import MOST_SIGMA, TAIL, discrete_gaussian
from federated.randomness import Randomness

DELTA = 1e-6
MICRO = 10**6
MOST_ELEMENT = 2**31 - 1  # so that squares and their sums stay within 64 bits


def clip_l2(vector: NDArray[np.int64], clip: int) -> NDArray[np.int64]:
    """The vector, scaled down towards zero if its L2 norm is above ``clip``; all in integers, so the norm is within ``clip`` exactly."""
    if int(np.abs(vector).max(initial=0)) > MOST_ELEMENT or not 1 <= clip <= MOST_ELEMENT:
        raise BadInput("value_out_of_range", "Vectors are clipped in 32 bits.", hint="Take fewer fraction bits.")
    square = squared_norm(vector)
    if square <= clip * clip:
        return vector
    norm = math.isqrt(square - 1) + 1  # rounded up
    return np.asarray(np.sign(vector) * (np.abs(vector) * clip // norm), np.int64)


def squared_norm(vector: NDArray[np.int64]) -> int:
    """The exact sum of squares of elements below 2**31 in magnitude, up to 2**28 of them."""
    high, low = vector >> 16, vector & 0xFFFF
    return (int((high * high).sum()) << 32) + (int((high * low).sum()) << 17) + int((low * low).sum())


def share_of_noise(clip: int, multiplier: float, shares: int) -> int:
    """Each party's sigma, so that ``shares`` of them, which the reader does not know, reach a deviation of ``multiplier * clip``; ``noise_wrong``."""
    sigma = math.ceil(multiplier * clip / math.sqrt(shares)) if math.isfinite(multiplier) else 0
    if not 2 <= sigma <= MOST_SIGMA:
        raise BadInput(
            "noise_wrong", f"Each party's noise would have sigma {sigma}; it must be from 2 to {MOST_SIGMA}.", hint="Change noise, clip or fraction."
        )
    return sigma


def add_noise(vector: NDArray[np.int64], clip: int, sigma: int, randomness: Randomness) -> NDArray[np.int64]:
    """Clip, then add this party's share of the noise; every element is within ``noisy_bound``."""
    return clip_l2(vector, clip) + discrete_gaussian(sigma, len(vector), randomness)


def noisy_bound(clip: int, sigma: int) -> int:
    """The largest magnitude after ``add_noise``."""
    return clip + TAIL * sigma


def cost(clip: int, sigma: int, shares: int, length: int) -> int:
    """What one sum costs, in micro-rho, rounded up; at least 1."""
    tau = 10 * sum(math.exp(-2 * math.pi**2 * sigma**2 * k / (k + 1)) for k in range(1, shares))
    rho = (clip / (sigma * math.sqrt(shares)) + tau * math.sqrt(length)) ** 2 / 2
    return max(1, math.ceil(rho * MICRO * (1 + 1e-12)))


def epsilon(micro_rho: int, *, delta: float = DELTA) -> float:
    """The epsilon that this much rho means at a delta, by ``dp-accounting``."""
    from dp_accounting import dp_event
    from dp_accounting.rdp import rdp_privacy_accountant

    if micro_rho == 0:
        return 0.0
    accountant = rdp_privacy_accountant.RdpAccountant()
    accountant.compose(dp_event.ZCDpEvent(micro_rho / MICRO))
    return float(accountant.get_epsilon(delta))
