"""Metrics of a model, computed by the label party: ranking, calibration and stability.

Rows with equal probability enter every curve together, so results do not depend on the order of
rows. Counts are integers until the last division, so a replay gives the same figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput

GROUPS = 10
"""Groups of lift, calibration and stability: deciles."""
HISTOGRAM_BINS = 20
"""Bins of the score distribution."""
_DIGITS = 6
_MIN_PROBABILITY = 1e-12

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class ScoredRows:
    """Rows with predictions and outcomes, all (rows,).

    ``probability``: of bad, from 0 to 1. ``score``: in the model's unit (points or log-odds).
    ``bad``: the label.
    """

    probability: Numbers
    score: Numbers
    bad: NDArray[np.bool_]

    def require(self, what: str) -> None:
        """Raise ``scores_malformed`` or ``one_class`` if no metric can be computed. ``what`` names
        the rows in the message.
        """
        lengths = {values.shape for values in (self.probability, self.score, self.bad)}
        inside = (
            np.isfinite(self.score).all()
            and (self.probability >= 0).all()
            and (self.probability <= 1).all()
        )
        if (
            len(lengths) != 1
            or self.bad.ndim != 1
            or self.bad.dtype != np.bool_
            or not len(self.bad)
            or not inside
        ):
            raise BadInput(
                "scores_malformed",
                f"The {what} rows' scores are malformed: each row needs a "
                "probability from 0 to 1 and a finite score.",
            )
        if self.bad.all() or not self.bad.any():
            kind = "bad" if self.bad.all() else "good"
            raise BadInput(
                "one_class",
                f"The {what} rows are all {kind}.",
                hint="Both outcomes are needed: use more rows, or another share.",
            )


# --- Ranking --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RankingCurve:
    """Cumulative counts of rows and bad rows in order of decreasing risk, after each distinct
    probability. Both start with 0.
    """

    rows: NDArray[np.int64]
    bad: NDArray[np.int64]

    @classmethod
    def of(cls, probability: Numbers, bad: NDArray[np.bool_]) -> RankingCurve:
        """Count rows."""
        order = np.argsort(-probability, kind="stable")
        ends = np.flatnonzero(np.append(np.diff(probability[order]) != 0, True))
        return cls(
            np.append(0, ends + 1), np.append(0, np.cumsum(bad[order], dtype=np.int64)[ends])
        )

    @property
    def good(self) -> NDArray[np.int64]:
        """Cumulative counts of good rows."""
        return self.rows - self.bad

    def roc(self) -> tuple[Numbers, Numbers]:
        """Return the shares of good and of bad rows that each cut-off rejects."""
        return self.good / self.good[-1], self.bad / self.bad[-1]

    def auc(self) -> float:
        """Return the probability that a bad row ranks above a good one; ties count half (Hanley and
        McNeil, 1982).
        """
        doubled = int((np.diff(self.good) * (self.bad[1:] + self.bad[:-1])).sum())
        return doubled / (2 * int(self.good[-1]) * int(self.bad[-1]))

    def ks(self) -> float:
        """Return the Kolmogorov-Smirnov statistic: the largest distance between the two
        distributions.
        """
        good, bad = self.roc()
        return float(np.abs(bad - good).max())

    def gains(self, groups: int = GROUPS) -> Numbers:
        """Return the share of bad rows among the riskiest 1/groups, 2/groups … of all rows. Within
        a tie, bad rows are spread evenly.
        """
        return np.asarray(
            np.interp(np.arange(1, groups + 1) * (self.rows[-1] / groups), self.rows, self.bad)
            / self.bad[-1],
            np.float64,
        )


# --- Chances and distributions --------------------------------------------------------------------


def brier(probability: Numbers, bad: NDArray[np.bool_]) -> float:
    """Return the mean squared difference of probability and outcome (Brier, 1950)."""
    return float(((probability - bad) ** 2).mean())


def log_loss(probability: Numbers, bad: NDArray[np.bool_]) -> float:
    """Return the mean negative log-likelihood."""
    likelihood = np.clip(np.where(bad, probability, 1 - probability), _MIN_PROBABILITY, 1)
    return float(-np.log(likelihood).mean())


def calibration(
    probability: Numbers, bad: NDArray[np.bool_], groups: int = GROUPS
) -> list[dict[str, Any]]:
    """Return for each group of rows with similar probability ``rows``, the mean ``probability`` and
    the share that was ``bad``.
    """
    group = np.searchsorted(_edges(probability, groups), probability, side="left")
    groups_found = []
    for number in range(int(group.max()) + 1):
        inside = group == number
        if inside.any():
            groups_found.append(
                {
                    "rows": int(inside.sum()),
                    "probability": _round(probability[inside].mean()),
                    "bad": _round(bad[inside].mean()),
                }
            )
    return groups_found


def stability(before: Numbers, after: Numbers, groups: int = GROUPS) -> float:
    """Return the population stability index of two sets of scores over the quantiles of the first.
    Half a row is added to each group.

    Below 0.1 scores are considered stable, above 0.25 shifted (Siddiqi, *Credit Risk Scorecards*,
    2006).
    """
    edges = _edges(before, groups)
    shares = []
    for scores in (before, after):
        counts = (
            np.bincount(np.searchsorted(edges, scores, side="left"), minlength=len(edges) + 1) + 0.5
        )
        shares.append(counts / counts.sum())
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def _edges(values: Numbers, groups: int) -> Numbers:
    """Return the upper bounds of all groups but the last; fewer where values repeat."""
    edges: Numbers = np.unique(
        np.quantile(values, np.arange(1, groups) / groups, method="inverted_cdf")
    )
    inner: Numbers = edges[edges < values.max()]
    return inner


# --- All together ---------------------------------------------------------------------------------


def metrics(scored: ScoredRows) -> dict[str, Any]:
    """Return the metrics of one set of rows: ``rows``, ``bad``, ``auc``, ``gini``, ``ks``,
    ``brier``, ``log_loss``.
    """
    curve = RankingCurve.of(scored.probability, scored.bad)
    return {
        "rows": len(scored.bad),
        "bad": int(scored.bad.sum()),
        "auc": _round(curve.auc()),
        "gini": _round(2 * curve.auc() - 1),
        "ks": _round(curve.ks()),
        "brier": _round(brier(scored.probability, scored.bad)),
        "log_loss": _round(log_loss(scored.probability, scored.bad)),
    }


def evaluate(train: ScoredRows, test: ScoredRows) -> dict[str, Any]:
    """Evaluate a model, ready for JSON.

    ``train`` and ``test``: metrics of either set. ``stability``: of the scores from train to test.
    Of the test rows: ``roc`` (pairs), ``gains`` and ``lift`` by decile, ``calibration``,
    ``distribution`` of the scores of good and bad rows. Raises ``scores_malformed`` or
    ``one_class``.
    """
    train.require("training")
    test.require("test")
    curve = RankingCurve.of(test.probability, test.bad)
    gains = curve.gains()
    return {
        "train": metrics(train),
        "test": metrics(test),
        "stability": _round(stability(train.score, test.score)),
        "roc": [
            [_round(good), _round(bad)] for good, bad in zip(*_downsampled(curve), strict=True)
        ],
        "gains": [_round(gain) for gain in gains],
        "lift": [_round(gain * GROUPS) for gain in np.diff(gains, prepend=0.0)],
        "calibration": calibration(test.probability, test.bad),
        "distribution": _distribution(test),
    }


def summary_metrics(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of an evaluation that go into a receipt."""
    test = evaluation["test"]
    return {
        "rows": evaluation["train"]["rows"] + test["rows"],
        "test_rows": test["rows"],
        "auc": test["auc"],
        "ks": test["ks"],
        "brier": test["brier"],
        "stability": evaluation["stability"],
    }


def _downsampled(curve: RankingCurve, maximum: int = 200) -> tuple[Numbers, Numbers]:
    """Return at most about ``maximum`` points of the curve, ends included."""
    good, bad = curve.roc()
    chosen = np.unique(
        np.linspace(0, len(good) - 1, min(maximum, len(good))).round().astype(np.int64)
    )
    return good[chosen], bad[chosen]


def _distribution(scored: ScoredRows) -> dict[str, Any]:
    low, high = float(scored.score.min()), float(scored.score.max())
    edges = np.linspace(low, high if high > low else low + 1, HISTOGRAM_BINS + 1)
    counts = {
        name: np.histogram(scored.score[rows], edges)[0].tolist()
        for name, rows in (("good", ~scored.bad), ("bad", scored.bad))
    }
    return {"edges": [_round(edge) for edge in edges], **counts}


def _round(value: Any) -> float:
    return round(float(value), _DIGITS)
