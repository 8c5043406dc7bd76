"""Which of the common rows are kept from training: one choice for every kind of model, so that models can be compared on the same rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput
from federated.job import Table
from federated.randomness import Randomness


def held_out(table: Table, randomness: Randomness, *, share: float, column: str | None = None) -> NDArray[np.bool_]:
    """The label party's rows to test with: (rows,). Those where ``column`` is 1, or without one a drawn ``share`` of all; ``column_not_binary``."""
    if column is None:
        test = np.zeros(len(table), np.bool_)
        test[randomness.permutation(len(table))[: round(share * len(table))]] = True
        return test
    values = table.columns[column]
    if values.dtype.kind != "f" or not np.isin(values, (0.0, 1.0)).all():
        raise BadInput("column_not_binary", f"{column} must be 1 for rows to test with and 0 for all others.")
    return np.asarray(values == 1.0, np.bool_)
