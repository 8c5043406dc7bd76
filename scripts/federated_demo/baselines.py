"""What the joint scorecard is held against: the same bins, evidence and rows, fitted in the open by Newton's method.

With all parties' columns this is what nobody may do, training on pooled data; with the bank's alone it is what the bank could do before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.evaluation import Scored, evaluate
from federated.vertical.binning import NO_BIN, Evidence
from federated.vertical.cuts import Cut
from federated.vertical.plan import Plan
from federated.vertical.whitening import Whitening

_STEPS = 20


def plain(columns: Mapping[str, NDArray[Any]], bad: NDArray[np.bool_], test: NDArray[np.bool_], plan: Plan) -> dict[str, Any]:
    """The evaluation (``federated.evaluation.evaluate``) of a scorecard of these columns. All (rows,)."""
    cut = Cut.of({name: values[~test] for name, values in columns.items()}, plan)
    told = tuple(
        Evidence.of(layout, np.bincount(codes[(codes != NO_BIN) & bad[~test]], minlength=len(layout.rows)).tolist(), least=plan.least_cases)
        for codes, layout in zip(cut.codes, cut.layouts, strict=True)
    )
    evidence = np.column_stack([each.column(bins.codes(columns[bins.column])) for each, bins in zip(told, cut.bins, strict=True)])
    white = np.column_stack([Whitening.of(evidence[~test]).white(evidence), np.ones(len(bad))])
    chance = 1 / (1 + np.exp(-white @ _fitted(white[~test], bad[~test])))
    both = (Scored(chance[rows], chance[rows], bad[rows]) for rows in (~test, test))
    return evaluate(*both)


def _fitted(columns: NDArray[np.float64], bad: NDArray[np.bool_]) -> NDArray[np.float64]:
    weights = np.zeros(columns.shape[1])
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-columns @ weights))
        curvature = (columns.T * (chance * (1 - chance))) @ columns
        weights += np.linalg.lstsq(curvature, columns.T @ (bad - chance), rcond=None)[0]
    return weights
