"""How good a model's scores are, where the label is: ranking, calibration, and whether the scores of other rows are spread alike.

Ties are counted as what they are: rows of one chance enter every curve together, so nothing depends on the rows' order. Counts are integers until
the last division, which makes a replay give the same figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.errors import BadInput

GROUPS = 10
"""Groups of lift, calibration and stability: deciles, as risk departments read them."""
BARS = 20
"""Bars of the scores' distribution."""
_DIGITS = 6
_LEAST_CHANCE = 1e-12

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """Rows with what a model says of them and what came of it.

    ``chance``: the predicted probability of bad, from 0 to 1; ``score``: what the model is used by, in its own unit (points, or log-odds); ``bad``:
    the label. All (rows,).
    """

    chance: Numbers
    score: Numbers
    bad: NDArray[np.bool_]

    def require(self, what: str) -> None:
        """Refuse rows that no figure can be made of: ``scores_malformed``, ``one_class``. ``what`` names them in the sentence."""
        lengths = {each.shape for each in (self.chance, self.score, self.bad)}
        inside = np.isfinite(self.score).all() and (self.chance >= 0).all() and (self.chance <= 1).all()
        if len(lengths) != 1 or self.bad.ndim != 1 or self.bad.dtype != np.bool_ or not len(self.bad) or not inside:
            raise BadInput("scores_malformed", f"The {what} rows' scores are none: a chance from 0 to 1 and a finite score for each row, please.")
        if self.bad.all() or not self.bad.any():
            kind = "bad" if self.bad.all() else "good"
            raise BadInput("one_class", f"The {what} rows are all {kind}.", hint="Both outcomes are needed: take more rows, or another share.")


# --- Ranking --------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tally:
    """Rows and bad rows among the riskiest, after each distinct chance from the highest down; both begin with 0."""

    rows: NDArray[np.int64]
    bad: NDArray[np.int64]

    @classmethod
    def of(cls, chance: Numbers, bad: NDArray[np.bool_]) -> Tally:
        """Count."""
        order = np.argsort(-chance, kind="stable")
        ends = np.flatnonzero(np.append(np.diff(chance[order]) != 0, True))
        return cls(np.append(0, ends + 1), np.append(0, np.cumsum(bad[order], dtype=np.int64)[ends]))

    @property
    def good(self) -> NDArray[np.int64]:
        """Good rows among the riskiest."""
        return self.rows - self.bad

    def roc(self) -> tuple[Numbers, Numbers]:
        """The share of the good rows, and of the bad, that each cut would refuse."""
        return self.good / self.good[-1], self.bad / self.bad[-1]

    def auc(self) -> float:
        """The chance that a bad row ranks above a good one; a tie counts half (Hanley and McNeil, 1982)."""
        doubled = int((np.diff(self.good) * (self.bad[1:] + self.bad[:-1])).sum())
        return doubled / (2 * int(self.good[-1]) * int(self.bad[-1]))

    def ks(self) -> float:
        """The largest distance of the two distributions (Kolmogorov and Smirnov)."""
        good, bad = self.roc()
        return float(np.abs(bad - good).max())

    def gains(self, groups: int = GROUPS) -> Numbers:
        """The share of the bad rows among the riskiest 1/groups, 2/groups … of the rows; within a tie the bad are spread evenly."""
        return np.asarray(np.interp(np.arange(1, groups + 1) * (self.rows[-1] / groups), self.rows, self.bad) / self.bad[-1], np.float64)


# --- Chances and distributions --------------------------------------------------------------------------------------------------------


def brier(chance: Numbers, bad: NDArray[np.bool_]) -> float:
    """The mean squared distance of chance and outcome (Brier, 1950)."""
    return float(((chance - bad) ** 2).mean())


def log_loss(chance: Numbers, bad: NDArray[np.bool_]) -> float:
    """The mean of -ln of the chance that was given to what came."""
    given = np.clip(np.where(bad, chance, 1 - chance), _LEAST_CHANCE, 1)
    return float(-np.log(given).mean())


def calibration(chance: Numbers, bad: NDArray[np.bool_], groups: int = GROUPS) -> list[dict[str, Any]]:
    """For each group of rows of like chance: ``rows``, mean ``chance``, and the share that was ``bad``."""
    group = np.searchsorted(_edges(chance, groups), chance, side="left")
    found = []
    for each in range(int(group.max()) + 1):
        inside = group == each
        if inside.any():
            found.append({"rows": int(inside.sum()), "chance": _round(chance[inside].mean()), "bad": _round(bad[inside].mean())})
    return found


def stability(before: Numbers, after: Numbers, groups: int = GROUPS) -> float:
    """The population stability index of two sets of scores over the first one's quantiles; half a row is added to each group.

    Below 0.1 scores are called stable, above 0.25 shifted (Siddiqi, *Credit Risk Scorecards*, 2006).
    """
    edges = _edges(before, groups)
    shares = []
    for scores in (before, after):
        counts = np.bincount(np.searchsorted(edges, scores, side="left"), minlength=len(edges) + 1) + 0.5
        shares.append(counts / counts.sum())
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def _edges(values: Numbers, groups: int) -> Numbers:
    """Upper bounds of all groups but the last; fewer where values repeat."""
    edges: Numbers = np.unique(np.quantile(values, np.arange(1, groups) / groups, method="inverted_cdf"))
    inner: Numbers = edges[edges < values.max()]
    return inner


# --- All together ---------------------------------------------------------------------------------------------------------------------


def figures(scored: Scored) -> dict[str, Any]:
    """One set of rows in numbers: ``rows``, ``bad``, ``auc``, ``gini``, ``ks``, ``brier``, ``log_loss``."""
    tally = Tally.of(scored.chance, scored.bad)
    return {
        "rows": len(scored.bad),
        "bad": int(scored.bad.sum()),
        "auc": _round(tally.auc()),
        "gini": _round(2 * tally.auc() - 1),
        "ks": _round(tally.ks()),
        "brier": _round(brier(scored.chance, scored.bad)),
        "log_loss": _round(log_loss(scored.chance, scored.bad)),
    }


def evaluate(train: Scored, test: Scored) -> dict[str, Any]:
    """Everything that is said of a model, ready for JSON.

    ``train`` and ``test``: the figures of either; ``stability`` of the scores from train to test; and of the test rows ``roc`` (pairs),
    ``gains`` and ``lift`` by decile, ``calibration``, ``distribution`` of the scores of the good and of the bad. Raises ``scores_malformed``,
    ``one_class``.
    """
    train.require("training")
    test.require("test")
    tally = Tally.of(test.chance, test.bad)
    gains = tally.gains()
    return {
        "train": figures(train),
        "test": figures(test),
        "stability": _round(stability(train.score, test.score)),
        "roc": [[_round(good), _round(bad)] for good, bad in zip(*_thinned(tally), strict=True)],
        "gains": [_round(each) for each in gains],
        "lift": [_round(each * GROUPS) for each in np.diff(gains, prepend=0.0)],
        "calibration": calibration(test.chance, test.bad),
        "distribution": _distribution(test),
    }


def headline(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """The few numbers of an evaluation that go into a receipt."""
    test = evaluation["test"]
    return {
        "rows": evaluation["train"]["rows"] + test["rows"],
        "test_rows": test["rows"],
        "auc": test["auc"],
        "ks": test["ks"],
        "brier": test["brier"],
        "stability": evaluation["stability"],
    }


def _thinned(tally: Tally, most: int = 200) -> tuple[Numbers, Numbers]:
    """The curve's corners, or about so many of them, ends kept."""
    good, bad = tally.roc()
    kept = np.unique(np.linspace(0, len(good) - 1, min(most, len(good))).round().astype(np.int64))
    return good[kept], bad[kept]


def _distribution(scored: Scored) -> dict[str, Any]:
    low, high = float(scored.score.min()), float(scored.score.max())
    edges = np.linspace(low, high if high > low else low + 1, BARS + 1)
    counts = {name: np.histogram(scored.score[rows], edges)[0].tolist() for name, rows in (("good", ~scored.bad), ("bad", scored.bad))}
    return {"edges": [_round(each) for each in edges], **counts}


def _round(value: Any) -> float:
    return round(float(value), _DIGITS)
