"""Fixed-point encoding of real vectors.

A value x is clipped to [-clip, clip] and becomes the integer nearest to x·2**fraction (ties to
even). For values within the clip

    |x - restore(quantise(x))| <= 2**-(fraction + 1),

so that an exact sum of n such vectors is off by at most n·2**-(fraction + 1) in every element, and
their mean by 2**-(fraction + 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput


@dataclass(frozen=True)
class Quantiser:
    """Clip (in the values' unit) and number of fraction bits.

    ``clip * 2**fraction`` is at most 2**52, where float64 still holds every integer.

    Raises:
        BadInput: ``grid_wrong``.
    """

    clip: float
    fraction: int

    def __post_init__(self) -> None:
        in_range = 0 < self.clip < 2.0**52 and 0 <= self.fraction <= 52
        if not (in_range and self.clip * 2.0**self.fraction <= 2.0**52 and self.bound >= 1):
            raise BadInput(
                "grid_wrong",
                "The clip must be above 0, the fraction bits 0 to 52, "
                "and clip * 2**fraction from 1 to 2**52.",
            )

    @property
    def bound(self) -> int:
        """The largest magnitude of a quantised value."""
        return round(self.clip * 2.0**self.fraction)

    @property
    def error(self) -> float:
        """The largest error of one value within the clip."""
        return float(2.0 ** -(self.fraction + 1))

    def quantise(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return integers of magnitude up to ``bound``; ``values_not_finite``."""
        if not np.isfinite(values).all():
            raise BadInput(
                "values_not_finite",
                "A vector has elements that are not finite numbers.",
                hint="Lower the learning rate.",
            )
        scaled = np.rint(np.clip(values, -self.clip, self.clip) * 2.0**self.fraction)
        return np.clip(scaled, -self.bound, self.bound).astype(np.int64)

    def restore(self, integers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the values of integers, also of sums."""
        return np.asarray(integers * 2.0**-self.fraction, np.float64)
