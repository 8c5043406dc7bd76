"""Test rows that are held out from training: one choice for all kinds of models, so that models are
compared on the same rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput
from federated.job import Table
from federated.randomness import Randomness


def holdout_mask(
    table: Table, randomness: Randomness, *, share: float, column: str | None = None
) -> NDArray[np.bool_]:
    """Return the test rows of the label party, (rows,): those where ``column`` is 1, or without a
    column a drawn ``share`` of all rows. Raises ``column_not_binary``.
    """
    if column is None:
        test = np.zeros(len(table), np.bool_)
        test[randomness.permutation(len(table))[: round(share * len(table))]] = True
        return test
    values = table.columns[column]
    if values.dtype.kind != "f" or not np.isin(values, (0.0, 1.0)).all():
        raise BadInput(
            "column_not_binary", f"{column} must be 1 for test rows and 0 for all others."
        )
    return np.asarray(values == 1.0, np.bool_)
