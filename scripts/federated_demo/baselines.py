"""Baselines of the joint scorecard: the same bins, weights of evidence and rows, fitted in
plaintext by Newton's method.

With all parties' columns the baseline is training on pooled data, which no party may do; with the
bank's columns alone it is the bank's own scorecard.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.evaluation import ScoredRows, evaluate
from federated.vertical.binned_columns import BinnedColumns
from federated.vertical.binning import NO_BIN, WeightsOfEvidence
from federated.vertical.plan import ScorecardPlan
from federated.vertical.whitening import Whitening

_STEPS = 20


def plain(
    columns: Mapping[str, NDArray[Any]],
    bad: NDArray[np.bool_],
    test: NDArray[np.bool_],
    plan: ScorecardPlan,
) -> dict[str, Any]:
    """The evaluation (``federated.evaluation.evaluate``) of a scorecard of these columns. All
    (rows,).
    """
    binned = BinnedColumns.of({name: values[~test] for name, values in columns.items()}, plan)
    evidence_by_column = tuple(
        WeightsOfEvidence.of(
            layout,
            np.bincount(codes[(codes != NO_BIN) & bad[~test]], minlength=len(layout.rows)).tolist(),
            min_cases=plan.min_cases,
        )
        for codes, layout in zip(binned.codes, binned.layouts, strict=True)
    )
    evidence = np.column_stack(
        [
            column_evidence.column(bins.codes(columns[bins.column]))
            for column_evidence, bins in zip(evidence_by_column, binned.bins, strict=True)
        ]
    )
    whitened = np.column_stack(
        [Whitening.of(evidence[~test]).transform(evidence), np.ones(len(bad))]
    )
    probability = 1 / (1 + np.exp(-whitened @ _fitted(whitened[~test], bad[~test])))
    both = (ScoredRows(probability[rows], probability[rows], bad[rows]) for rows in (~test, test))
    return evaluate(*both)


def _fitted(columns: NDArray[np.float64], bad: NDArray[np.bool_]) -> NDArray[np.float64]:
    weights = np.zeros(columns.shape[1])
    for _ in range(_STEPS):
        probability = 1 / (1 + np.exp(-columns @ weights))
        hessian = (columns.T * (probability * (1 - probability))) @ columns
        weights += np.linalg.lstsq(hessian, columns.T @ (bad - probability), rcond=None)[0]
    return weights
