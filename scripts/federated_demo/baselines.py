"""Baselines of the joint models, trained in the open: on the bank's columns alone, and on pooled
columns, which no party may do.

``plain`` has the bins and rounding of the joint scorecard. ``one_hot`` and ``trees`` are what a
modeller would try first on pooled data: logistic regression of standardised and one-hot columns
(scikit-learn), and boosted trees with early stopping (xgboost).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.evaluation import ScoredRows, evaluate
from federated.vertical.plain_scorecard import fit_scorecard, scored_rows
from federated.vertical.plan import ScorecardPlan

VALIDATION_OF = 5
"""One training row in five decides when boosting stops."""
STOP_AFTER = 20
MAX_TREES = 500
_CERTAIN = 1e-12

Columns = Mapping[str, NDArray[Any]]
Rows = NDArray[np.bool_]


def plain(columns: Columns, bad: Rows, test: Rows, plan: ScorecardPlan) -> dict[str, Any]:
    """The evaluation (``federated.evaluation.evaluate``) of a scorecard of these columns. All
    (rows,).
    """
    part = fit_scorecard(
        {name: values[~test] for name, values in columns.items()}, bad[~test], plan
    )
    scores = part.points_of(columns, len(bad))
    return evaluate(*(scored_rows(scores[rows], bad[rows], plan) for rows in (~test, test)))


def one_hot(columns: Columns, bad: Rows, test: Rows) -> dict[str, Any]:
    """The evaluation of scikit-learn's logistic regression: numbers standardised, with the median
    for missing ones, a column for each text and for each column's missing values.
    """
    from sklearn.linear_model import LogisticRegression

    pooled = _numbers(columns)
    known = np.where(np.isnan(pooled), np.nanmedian(pooled[~test], axis=0), pooled)
    spread = known[~test].std(axis=0)
    standardised = (known - known[~test].mean(axis=0)) / np.where(spread > 0, spread, 1)
    model = LogisticRegression(max_iter=2000).fit(standardised[~test], bad[~test])
    return _evaluated(model.predict_proba(standardised)[:, 1], bad, test)


def trees(columns: Columns, bad: Rows, test: Rows) -> dict[str, Any]:
    """The evaluation of xgboost's boosted trees, stopped by validation rows of the training."""
    from xgboost import XGBClassifier

    pooled = _numbers(columns)
    train = np.flatnonzero(~test)
    order = np.random.default_rng(len(train)).permutation(train)
    validation, rest = order[::VALIDATION_OF], np.delete(order, slice(None, None, VALIDATION_OF))
    model = XGBClassifier(
        n_estimators=MAX_TREES,
        max_depth=3,
        learning_rate=0.1,
        early_stopping_rounds=STOP_AFTER,
        eval_metric="auc",
        n_jobs=1,
        random_state=0,
    )
    model.fit(
        pooled[rest], bad[rest], eval_set=[(pooled[validation], bad[validation])], verbose=False
    )
    return _evaluated(model.predict_proba(pooled)[:, 1], bad, test)


def _evaluated(probability: NDArray[Any], bad: Rows, test: Rows) -> dict[str, Any]:
    probability = probability.astype(np.float64).clip(_CERTAIN, 1 - _CERTAIN)
    log_odds = np.log(probability / (1 - probability))
    both = (ScoredRows(probability[rows], log_odds[rows], bad[rows]) for rows in (~test, test))
    return evaluate(*both)


def _numbers(columns: Columns) -> NDArray[np.float64]:
    """Return (rows, columns): numbers as they are, a flag for each text, and one for missing
    values where there are any.
    """
    made: list[NDArray[Any]] = []
    for values in columns.values():
        if values.dtype.kind == "f":
            made.append(values)
            missing = np.isnan(values)
        else:
            texts = sorted({value for value in values if value is not None})
            made += [values == text for text in texts]
            missing = np.array([value is None for value in values])
        if missing.any():
            made.append(missing)
    return np.column_stack(made).astype(np.float64)
