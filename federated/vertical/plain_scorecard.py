"""A scorecard fitted in plaintext: the one that the label party could train without the others.

It has the bins, weights of evidence, points and rounding of the joint scorecard, and the optimum of
the likelihood by Newton's method. Sums have one order whatever the number of threads, so a replay
repeats them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.card import Baseline
from federated.evaluation import ScoredRows, metrics
from federated.vertical.binned_columns import BinnedColumns
from federated.vertical.binning import ColumnConstant
from federated.vertical.plan import ScorecardPlan
from federated.vertical.points import Points, ScorecardPart
from federated.vertical.results import scorecard_columns
from federated.vertical.whitening import Whitening

MAX_STEPS = 20
_SMALLEST_STEP = 1e-9
_LARGEST_LOG_ODDS = 30.0

Columns = Mapping[str, NDArray[Any]]
Rows = NDArray[np.bool_]


def fit_scorecard(
    columns: Columns,
    bad: Rows,
    plan: ScorecardPlan,
    special: Mapping[str, Sequence[float]] | None = None,
) -> ScorecardPart:
    """Fit a scorecard to these training rows. ``special``: values by column.

    Raises ``column_constant`` if no column has two bins, and ``column_malformed``.
    """
    binned = BinnedColumns.of(columns, plan, special or {})
    column_evidence = binned.own_evidence(bad, plan)
    evidence = binned.evidence(column_evidence)
    whitening = Whitening.of(evidence)
    whitened = np.column_stack([whitening.transform(evidence), np.ones(len(bad))])
    weights = fit_weights(whitened, bad)
    base = round(plan.scale.offset - plan.scale.factor * float(weights[-1]))
    own = scorecard_columns(binned, column_evidence, whitening, weights[:-1], plan)
    return ScorecardPart("", "", own, base, plan.scale)


def fit_weights(columns: NDArray[np.float64], bad: Rows) -> NDArray[np.float64]:
    """Return the maximum-likelihood weights of a logistic regression on (rows, columns)."""
    weights = np.zeros(columns.shape[1])
    for _ in range(MAX_STEPS):
        log_odds = np.einsum("nk,k->n", columns, weights)
        probability = 1 / (1 + np.exp(-log_odds.clip(-_LARGEST_LOG_ODDS, _LARGEST_LOG_ODDS)))
        weighted = columns * (probability * (1 - probability))[:, None]
        hessian = np.einsum("ni,nj->ij", columns, weighted)
        gradient = np.einsum("nk,n->k", columns, bad - probability)
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        weights += step
        if np.abs(step).max() < _SMALLEST_STEP:
            break
    return weights


def scored_rows(scores: Points, bad: Rows, plan: ScorecardPlan) -> ScoredRows:
    """Return rows with the probabilities of these scores."""
    return ScoredRows(plan.scale.probability(scores), scores.astype(np.float64), bad)


def own_baselines(
    party: str,
    columns: Columns,
    bad: Rows,
    plan: ScorecardPlan,
    *,
    common_train: Rows,
    common_test: Rows,
    all_train: Rows,
) -> list[Baseline]:
    """Return how well the label party's own columns do on the joint scorecard's test rows, trained
    on the common training rows, and on all rows that it may train on where those are more.

    ``columns``, ``bad`` and the masks cover all rows of the party. There is no baseline for
    columns that cannot be used alone.
    """
    if not columns:
        return []
    trainings = {"the same": common_train}
    if (all_train != common_train).any():
        trainings["all its"] = all_train
    test = {name: values[common_test] for name, values in columns.items()}
    baselines = []
    for kind, train in trainings.items():
        try:
            part = fit_scorecard(
                {name: values[train] for name, values in columns.items()},
                bad[train],
                plan,
                plan.special_values(party),
            )
        except ColumnConstant:
            continue
        scored = scored_rows(part.points_of(test, int(common_test.sum())), bad[common_test], plan)
        name = f"{party} alone, on {kind} rows"
        baselines.append(Baseline(name, int(train.sum()), metrics(scored)))
    return baselines
