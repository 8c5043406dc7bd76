"""A party's own columns made uncorrelated, of mean 0 and mean square 1, so that few steps of training are enough.

By Cholesky's decomposition of the covariance, as loops over ``einsum``: sums have one order whatever the machine's threads, and a replay repeats
them. A column that is a combination of the ones before it becomes 0 and gets no weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SMALLEST = 1e-9
"""Of a column's variance, what must be left when the columns before it are taken out."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Whitening:
    """``means`` (columns,) and ``turn`` (columns, columns): white = (columns - means) · turn."""

    means: NDArray[np.float64]
    turn: Matrix

    @classmethod
    def of(cls, columns: Matrix) -> Whitening:
        """From the training rows, (rows, columns)."""
        rows, width = columns.shape
        means = columns.sum(0) / rows
        centred = columns - means
        covariance = np.einsum("ni,nj->ij", centred, centred) / rows
        lower, turn = np.zeros((width, width)), np.zeros((width, width))
        for place in range(width):
            rest = covariance[:, place] - np.einsum("ij,j->i", lower, lower[place])
            if rest[place] <= _SMALLEST * covariance[place, place]:
                continue
            root = np.sqrt(rest[place])
            lower[place:, place] = rest[place:] / root
            turn[:, place] = -np.einsum("ij,j->i", turn[:, :place], lower[place, :place])
            turn[place, place] += 1.0
            turn[:, place] /= root
        return cls(means, turn)

    def white(self, columns: Matrix) -> Matrix:
        """The columns made white."""
        return np.asarray(np.einsum("ni,ij->nj", columns - self.means, self.turn), np.float64)

    def weights(self, white: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weights of the columns from weights of the white ones."""
        return np.asarray(np.einsum("ij,j->i", self.turn, white), np.float64)
