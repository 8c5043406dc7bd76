"""Whitening of a party's own columns: uncorrelated, mean 0, mean square 1, so that few training
steps are enough.

The transformation is the inverse Cholesky factor of the covariance, computed with ``einsum`` in
loops: sums have one order whatever the number of threads, so a replay repeats them. A column that
is a linear combination of earlier ones becomes 0 and gets no weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MIN_REMAINING_VARIANCE = 1e-9
"""The share of a column's variance that must remain after the earlier columns are projected out."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Whitening:
    """``means`` (columns,) and ``matrix`` (columns, columns): whitened = (columns - means) ·
    matrix.
    """

    means: NDArray[np.float64]
    matrix: Matrix

    @classmethod
    def of(cls, columns: Matrix) -> Whitening:
        """Fit to the training rows (rows, columns)."""
        rows, width = columns.shape
        means = columns.sum(0) / rows
        centred = columns - means
        covariance = np.einsum("ni,nj->ij", centred, centred) / rows
        lower, matrix = np.zeros((width, width)), np.zeros((width, width))
        for index in range(width):
            remaining = covariance[:, index] - np.einsum("ij,j->i", lower, lower[index])
            if remaining[index] <= _MIN_REMAINING_VARIANCE * covariance[index, index]:
                continue
            root = np.sqrt(remaining[index])
            lower[index:, index] = remaining[index:] / root
            matrix[:, index] = -np.einsum("ij,j->i", matrix[:, :index], lower[index, :index])
            matrix[index, index] += 1.0
            matrix[:, index] /= root
        return cls(means, matrix)

    def transform(self, columns: Matrix) -> Matrix:
        """Return the whitened columns."""
        return np.asarray(np.einsum("ni,ij->nj", columns - self.means, self.matrix), np.float64)

    def weights(self, whitened: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the weights of the columns from those of the whitened columns."""
        return np.asarray(np.einsum("ij,j->i", self.matrix, whitened), np.float64)
