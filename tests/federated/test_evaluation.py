"""Figures of scores against hand values and scikit-learn, with ties, and properties for any rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import ks_2samp
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score, roc_curve

from federated import evaluation
from federated.errors import BadInput
from federated.evaluation import RankingCurve, ScoredRows

Numbers = NDArray[np.float64]


def scored(probability: Any, bad: Any) -> ScoredRows:
    probabilities = np.array(probability, np.float64)
    return ScoredRows(probabilities, 600 - 100 * probabilities, np.array(bad, np.bool_))


def sample(seed: int, rows: int, *, decimals: int = 2) -> ScoredRows:
    """Rounded chances, so that there are ties."""
    numbers = np.random.default_rng(seed)
    probability = numbers.random(rows).round(decimals)
    return scored(probability, numbers.random(rows) < probability)


PAIRS = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=60).filter(
    lambda rows: len({bad for _, bad in rows}) == 2
)


def arrays(rows: list[tuple[int, bool]]) -> tuple[Numbers, NDArray[np.bool_]]:
    return np.array([probability / 6 for probability, _ in rows]), np.array(
        [bad for _, bad in rows]
    )


# --- Against others -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_auc_ks_brier_and_log_loss_are_those_of_other_libraries(seed: int) -> None:
    rows = sample(seed, 500)
    curve = RankingCurve.of(rows.probability, rows.bad)
    assert math.isclose(curve.auc(), roc_auc_score(rows.bad, rows.probability))
    assert math.isclose(
        curve.ks(), ks_2samp(rows.probability[rows.bad], rows.probability[~rows.bad]).statistic
    )
    assert math.isclose(
        evaluation.brier(rows.probability, rows.bad), brier_score_loss(rows.bad, rows.probability)
    )
    inside = np.clip(rows.probability, 0.01, 0.99)
    assert math.isclose(evaluation.log_loss(inside, rows.bad), log_loss(rows.bad, inside))
    good, bad = curve.roc()
    theirs = roc_curve(rows.bad, rows.probability, drop_intermediate=False)
    assert np.allclose(good, theirs[0])
    assert np.allclose(bad, theirs[1])


@given(PAIRS)
def test_auc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[int, bool]]) -> None:
    probability, bad = arrays(rows)
    wins = [
        (one > other) + (one == other) / 2
        for one in probability[bad]
        for other in probability[~bad]
    ]
    assert math.isclose(RankingCurve.of(probability, bad).auc(), sum(wins) / len(wins))


# --- By hand --------------------------------------------------------------------------------------


def test_the_curves_of_ten_rows_by_hand() -> None:
    probability = np.array([0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    bad = np.array([1, 1, 0, 1, 0, 0, 0, 1, 0, 0], np.bool_)
    curve = RankingCurve.of(probability, bad)
    assert curve.auc() == 19 / 24  # of 24 pairs a bad row loses 1 (0.7 to 0.8) and 4 (0.3)
    assert math.isclose(curve.ks(), 3 / 4 - 1 / 6)
    assert curve.gains(5).tolist() == [0.5, 0.75, 0.75, 1, 1]


def test_rows_of_one_chance_share_their_bad_in_every_group() -> None:
    curve = RankingCurve.of(np.full(20, 0.3), np.arange(20) < 4)
    assert curve.auc() == 0.5
    assert curve.ks() == 0
    assert np.allclose(curve.gains(), np.arange(1, 11) / 10)


def test_stability_by_hand() -> None:
    before, after = np.repeat([1.0, 2.0], [50, 50]), np.repeat([1.0, 2.0], [80, 20])
    first, second = (80.5 / 101, 50.5 / 101), (20.5 / 101, 50.5 / 101)
    expected = sum((now - then) * math.log(now / then) for now, then in (first, second))
    assert math.isclose(evaluation.stability(before, after), expected)
    assert evaluation.stability(before, before) == 0


def test_calibration_by_hand() -> None:
    probability = np.repeat([0.1, 0.5], [10, 10])
    bad = np.concatenate([np.arange(10) < 2, np.arange(10) < 5])
    assert evaluation.calibration(probability, bad) == [
        {"rows": 10, "probability": 0.1, "bad": 0.2},
        {"rows": 10, "probability": 0.5, "bad": 0.5},
    ]


# --- Rules ----------------------------------------------------------------------------------------


@given(PAIRS, st.randoms(use_true_random=False))
def test_the_rows_order_changes_nothing(rows: list[tuple[int, bool]], probability: Any) -> None:
    shuffled = rows.copy()
    probability.shuffle(shuffled)
    first, second = (
        evaluation.evaluate(rows_given, rows_given)
        for rows_given in (scored(*arrays(rows)), scored(*arrays(shuffled)))
    )
    assert first == second


@given(PAIRS)
def test_reversed_scores_mirror_the_ranking(rows: list[tuple[int, bool]]) -> None:
    probability, bad = arrays(rows)
    there, back = RankingCurve.of(probability, bad), RankingCurve.of(1 - probability, bad)
    assert math.isclose(there.auc() + back.auc(), 1)
    assert math.isclose(there.ks(), back.ks())


@given(PAIRS)
def test_groups_hold_every_row_and_every_bad_one(rows: list[tuple[int, bool]]) -> None:
    probability, bad = arrays(rows)
    metrics = evaluation.evaluate(scored(probability, bad), scored(probability, bad))
    assert metrics["gains"] == sorted(metrics["gains"])
    assert metrics["gains"][-1] == 1
    assert math.isclose(sum(metrics["lift"]), evaluation.GROUPS, abs_tol=1e-4)
    assert sum(group["rows"] for group in metrics["calibration"]) == len(rows)
    assert sum(metrics["distribution"]["bad"]) == bad.sum()
    assert sum(metrics["distribution"]["good"]) == (~bad).sum()
    assert metrics["stability"] == 0
    assert metrics["roc"][0] == [0, 0]
    assert metrics["roc"][-1] == [1, 1]


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=40),
    st.lists(st.integers(0, 9), min_size=1, max_size=40),
)
def test_stability_is_never_negative(before: list[int], after: list[int]) -> None:
    assert evaluation.stability(np.array(before, np.float64), np.array(after, np.float64)) >= 0


def test_the_headline_is_of_the_test_rows() -> None:
    train, test = sample(1, 400), sample(2, 100)
    metrics = evaluation.summary_metrics(evaluation.evaluate(train, test))
    assert (metrics["rows"], metrics["test_rows"]) == (500, 100)
    assert metrics["auc"] == round(roc_auc_score(test.bad, test.probability), 6)


# --- Refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [False, True])
@pytest.mark.parametrize("which", ["training", "test"])
def test_rows_of_one_outcome_are_refused(which: str, kind: bool) -> None:
    both, one = sample(1, 50), scored([0.1, 0.2], [kind, kind])
    with pytest.raises(
        BadInput, check=lambda error: error.code == "one_class" and which in str(error)
    ):
        evaluation.evaluate(*((one, both) if which == "training" else (both, one)))


@pytest.mark.parametrize(
    ("probability", "bad"),
    [
        ([], []),
        ([0.1, np.nan], [0, 1]),
        ([0.1, np.inf], [0, 1]),
        ([0.1, 1.1], [0, 1]),
        ([-0.1, 0.5], [0, 1]),
        ([0.1, 0.2, 0.3], [0, 1]),
    ],
)
def test_scores_that_are_none_are_refused(probability: list[float], bad: list[int]) -> None:
    with pytest.raises(BadInput, check=lambda error: error.code == "scores_malformed"):
        evaluation.evaluate(scored(probability, bad), sample(1, 50))
