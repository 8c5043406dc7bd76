"""The parts a scorecard is made of: bins and evidence, counts under masks, whitening, the sine
series, training on shares.
"""

from __future__ import annotations

import hashlib
import math
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from federated.errors import BadInput
from federated.local import run_local
from federated.randomness import Randomness
from federated.session import Session
from federated.vertical import sigmoid as series
from federated.vertical.binning import (
    LIMIT,
    MISSING,
    NO_BIN,
    OTHER,
    STEP,
    BinLayout,
    Bins,
    WeightsOfEvidence,
    bin_column,
)
from federated.vertical.coarse_classes import coarse_classes
from federated.vertical.communicator import Communicator
from federated.vertical.counting import count_bad_rows, deal_counts, share_bin_counts
from federated.vertical.fixed_point import shift_bits
from federated.vertical.points import ScorecardColumn
from federated.vertical.preprocessing import BlockShape
from federated.vertical.training import (
    MaskedColumns,
    Trainer,
    deal_training,
    own_column_masks,
    reveal_own_weights,
)
from federated.vertical.whitening import Whitening

NAN = float("nan")


def texts(*values: Any) -> NDArray[Any]:
    return np.array(values, object)


# --- Bins -----------------------------------------------------------------------------------------


def test_numbers_are_cut_at_quantiles_and_missing_ones_stand_by_themselves() -> None:
    column = np.array([*range(1, 101), *[NAN] * 20], np.float64)
    bins = bin_column("age", column, max_bins=4, min_rows=20)
    assert bins.edges == (25, 50, 75)
    assert bins.names == ["(-inf, 25]", "(25, 50]", "(50, 75]", "(75, inf]", MISSING]
    assert bins.codes(np.array([25.0, 25.1, 1000, -5, NAN])).tolist() == [0, 1, 3, 0, 4]


def test_texts_are_cut_by_value_and_rare_ones_stand_together() -> None:
    column = texts(*["own"] * 50, *["rent"] * 30, *["kin"] * 8, *["tent"] * 7, None)
    bins = bin_column("home", column, max_bins=8, min_rows=10)
    assert (bins.values, bins.other, bins.missing) == (("own", "rent"), True, False)
    assert bins.names == ["own", "rent", OTHER]
    assert bins.codes(texts("rent", "tent", "castle", None)).tolist() == [1, 2, 2, NO_BIN]


@pytest.mark.parametrize("ones", [10, 50, 90])
def test_a_flag_is_cut_between_its_values_whatever_their_share(ones: int) -> None:
    column = np.array([1.0] * ones + [0.0] * (100 - ones))
    assert bin_column("flag", column, max_bins=8, min_rows=10).edges == (0,)


def test_a_value_that_most_rows_have_gets_a_bin_of_its_own() -> None:
    column = np.array([*range(-100, 0), *[0] * 900, *range(1, 101)], np.float64)
    edges = bin_column("balance", column, max_bins=8, min_rows=20).edges
    assert {-1.0, 0.0} <= set(edges)


def test_special_values_have_bins_of_their_own_and_rare_ones_count_as_missing() -> None:
    column = np.concatenate([np.arange(100.0), np.full(30, -999.0), np.full(5, -998.0), [np.nan]])
    bins = bin_column("x", column, max_bins=4, min_rows=6, special=[-999, -998])
    assert (bins.special, bins.rare, bins.missing) == ((-999,), (-998,), True)
    assert bins.names[-2:] == ["= -999", MISSING]
    assert min(bins.edges) > 0
    codes = bins.codes(column)
    assert set(codes[100:130]) == {len(bins.names) - 2}
    assert set(codes[130:]) == {len(bins.names) - 1}
    layout = BinLayout.of(bins, codes)
    assert layout.ordered == len(bins.edges) + 1
    assert layout.rows[-2:] == (30, 6)
    with pytest.raises(BadInput, check=lambda error: error.code == "column_not_numeric"):
        bin_column("x", np.array(["a", "b"] * 9, object), max_bins=4, min_rows=3, special=[1])


def test_neutral_missing_values_have_no_bin() -> None:
    column = np.concatenate([np.arange(100.0), np.full(50, np.nan)])
    bins = bin_column("x", column, max_bins=4, min_rows=6, missing_bin=False)
    assert MISSING not in bins.names
    assert set(bins.codes(column)[100:]) == {NO_BIN}


def test_both_tails_have_bins_of_their_own() -> None:
    column = np.arange(1, 10_001, dtype=np.float64)
    edges = bin_column("debt", column, max_bins=12, min_rows=30).edges
    assert len(edges) == 11
    assert {200, 500, 9500, 9800} <= set(edges)


def require_full_bins(column: NDArray[Any], most: int, least: int) -> None:
    with suppress(BadInput):  # a column may have one value only
        bins = bin_column("x", column, max_bins=most, min_rows=least)
        rows = BinLayout.of(bins, bins.codes(column)).rows
        assert min(rows) >= least
        assert len(rows) <= most + 1


@given(
    st.lists(st.one_of(st.integers(-50, 50).map(float), st.just(NAN)), min_size=40, max_size=200),
    st.integers(2, 8),
    st.integers(5, 30),
)
def test_no_bin_of_numbers_has_fewer_rows_than_the_minimum(
    values: list[float], most: int, least: int
) -> None:
    column = np.array(values, np.float64)
    require_full_bins(column, most, least)


@given(
    st.lists(st.sampled_from(["a", "b", "c", "d", "e", None]), min_size=40, max_size=200),
    st.integers(2, 8),
    st.integers(5, 30),
)
def test_no_bin_of_texts_has_fewer_rows_than_the_minimum(
    values: list[Any], most: int, least: int
) -> None:
    require_full_bins(texts(*values), most, least)


@pytest.mark.parametrize(
    "column",
    [
        np.ones(50),
        np.full(50, NAN),
        texts(*["a"] * 50),
        texts(*[None] * 50),
        np.array([1.0] * 48 + [2.0, 3.0]),
    ],
)
def test_a_column_with_one_bin_is_refused(column: NDArray[Any]) -> None:
    with pytest.raises(BadInput, check=lambda error: error.code == "column_constant"):
        bin_column("x", column, max_bins=5, min_rows=10)


@pytest.mark.parametrize(
    ("column", "cause"),
    [
        (np.full(50, NAN), "no value in any training row"),
        (np.ones(50), "one value only"),
        (
            texts(*(f"{number},000" for number in range(50))),
            "50 different values in 50 training rows, and at most one on 10 rows or more",
        ),
    ],
)
def test_a_column_with_one_bin_is_refused_with_its_cause(column: NDArray[Any], cause: str) -> None:
    with pytest.raises(BadInput) as caught:
        bin_column("x", column, max_bins=5, min_rows=10)
    assert cause in caught.value.sentence
    assert "000" not in caught.value.sentence
    assert caught.value.hint


# --- Evidence -------------------------------------------------------------------------------------


def test_weights_of_evidence_by_hand() -> None:
    found = WeightsOfEvidence.of(BinLayout(2, (100, 200)), [40, 20], min_cases=10)
    first = math.log((40.5 / 61) / (60.5 / 241))
    second = math.log((20.5 / 61) / (180.5 / 241))
    assert found.woe == pytest.approx((first, second))
    assert found.rounded().woe == (round(first / STEP) * STEP, round(second / STEP) * STEP)
    assert math.isclose(
        found.information_value,
        (40.5 / 61 - 60.5 / 241) * first + (20.5 / 61 - 180.5 / 241) * second,
    )


def weights_of(
    rows: tuple[int, ...], bad: list[int], *, ordered: int = 0, min_cases: int = 10
) -> tuple[float, ...]:
    return WeightsOfEvidence.of(BinLayout(ordered, rows), bad, min_cases=min_cases).woe


def test_ordered_bins_are_merged_until_bad_rates_are_monotone() -> None:
    # 10 %, 30 %, 20 %, 40 %: the two in the middle violate the order.
    rising = weights_of((1000, 1000, 1000, 1000), [100, 300, 200, 400], ordered=4)
    assert rising[0] < rising[1] == rising[2] < rising[3]
    falling = weights_of((1000, 1000, 1000, 1000), [400, 200, 300, 100], ordered=4)
    assert falling == rising[::-1]


def test_bad_rates_may_turn_once_where_the_evidence_is_strong() -> None:
    valley = weights_of((1000, 1000, 1000), [300, 100, 300], ordered=3)
    assert valley[0] > valley[1] < valley[2]
    noise = weights_of((100, 100, 100), [30, 27, 30], ordered=3)
    assert noise[0] == noise[1]


def test_a_bin_too_small_to_be_weighed_joins_the_most_similar_class() -> None:
    # In order: 10 %, 0 of 20, 50 %; the small one joins its neighbour of 10 %.
    ordered = weights_of((1000, 20, 1000), [100, 0, 500], ordered=3)
    assert ordered[0] == ordered[1] < ordered[2]
    # Without order: 3 of 20 joins the 20 % of the third, not the 50 % of the larger first.
    unordered = weights_of((1000, 20, 800), [500, 3, 160])
    assert unordered[0] > unordered[1] == unordered[2]


def test_few_cases_count_as_the_minimum() -> None:
    layout = (1000, 900)
    assert len({weights_of(layout, [200, bad]) for bad in range(11)}) == 1
    assert weights_of(layout, [200, 0]) != weights_of(layout, [200, 11])


def test_weights_are_limited() -> None:
    weights = weights_of((20_000, 20_000), [10_000, 10])
    assert weights[1] == -LIMIT


def test_a_rare_strong_value_has_a_weight_of_its_own() -> None:
    # 45 of 48 applicants without mortgage insurance were refused, 240 of 2,332 others.
    others, without = weights_of((2332, 48), [240, 45])
    assert others < 0
    assert without > 2


def test_a_column_that_repeats_the_label_gets_weight_zero() -> None:
    assert weights_of((700, 300), [0, 300]) == (0, 0)
    assert weights_of((700, 300), [5, 295], ordered=2) == (0, 0)


def test_a_column_of_one_merged_bin_gets_weight_zero() -> None:
    assert WeightsOfEvidence.of(BinLayout(2, (50, 50)), [3, 4], min_cases=10).woe == (0, 0)


BINS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=2, max_size=8)


@given(BINS, st.integers(0, 8), st.integers(5, 30))
def test_a_class_with_a_weight_of_its_own_has_twice_the_minimum_of_rows(
    cells: list[tuple[int, int]], ordered: int, least: int
) -> None:
    rows, bad = tuple(good + bads for bads, good in cells), [bads for bads, _ in cells]
    ordered = min(ordered, len(rows))
    found = WeightsOfEvidence.of(BinLayout(ordered, rows), bad, min_cases=least)
    for weight in set(found.woe) if len(set(found.woe)) > 1 else ():
        inside = sum(rows[index] for index, woe in enumerate(found.woe) if woe == weight)
        assert inside >= 2 * least
    assert max(map(abs, found.woe)) <= LIMIT
    assert all(float(woe / STEP).is_integer() for woe in found.rounded().woe)


@given(BINS, st.integers(0, 8), st.integers(5, 30))
def test_coarse_classes_contain_every_bin_once(
    cells: list[tuple[int, int]], ordered: int, least: int
) -> None:
    rows, bad = [good + bads for bads, good in cells], [bads for bads, _ in cells]
    ordered = min(ordered, len(rows))
    classes = coarse_classes(rows, bad, ordered=ordered, min_cases=least)
    assert sorted(number for part in classes for number in part.bins) == [*range(len(rows))]
    assert (sum(part.rows for part in classes), sum(part.bad for part in classes)) == (
        sum(rows),
        sum(bad),
    )


def test_one_row_more_or_less_rarely_changes_the_rounded_weights() -> None:
    # The difference of two nearly equal bins would be a row's label, were counts found.
    layout = BinLayout(2, (300, 700))
    changed = [
        WeightsOfEvidence.of(layout, [bad, 150], min_cases=10).rounded().woe
        != WeightsOfEvidence.of(layout, [bad + 1, 150], min_cases=10).rounded().woe
        for bad in range(40, 120)
    ]
    assert sum(changed) / len(changed) < 0.5


# --- Counts under masks ---------------------------------------------------------------------------


def counted(
    inside: dict[str, NDArray[np.bool_]], bad: NDArray[np.bool_]
) -> dict[str, NDArray[np.int64]]:
    owners = list(inside)
    seeds = {name: bytes([index + 1]) * 32 for index, name in enumerate([*owners, "bank"])}
    bins = {name: one_hot.shape[1] for name, one_hot in inside.items()}

    async def owner(session: Session) -> Any:
        await share_bin_counts(
            session, "bank", Randomness(seeds[session.party]), inside[session.party]
        )

    async def bank(session: Session) -> Any:
        return await count_bad_rows(session, "dealer", Randomness(seeds["bank"]), bad, bins)

    async def dealer(session: Session) -> Any:
        await deal_counts(
            session,
            {name: Randomness(seed) for name, seed in seeds.items()},
            "bank",
            len(bad),
            bins,
        )

    found: dict[str, NDArray[np.int64]] = run_local(
        {**dict.fromkeys(owners, owner), "bank": bank, "dealer": dealer}
    )["bank"]
    return found


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 200), st.integers(1, 9), st.integers(1, 3), st.integers(0, 2**32))
def test_counts_under_masks_are_the_counts(rows: int, bins: int, owners: int, seed: int) -> None:
    numbers = np.random.default_rng(seed)
    bad = numbers.random(rows) < 0.4
    inside = {f"d{number}": numbers.random((rows, bins)) < 0.3 for number in range(owners)}
    found = counted(inside, bad)
    for name, one_hot in inside.items():
        assert (found[name] == (one_hot & bad[:, None]).sum(0)).all()


def test_counts_of_more_rows_than_16_bits_hold() -> None:
    bad = np.arange(70_000) % 70_000 < 69_000
    found = counted({"tax": np.ones((70_000, 1), np.bool_)}, bad)
    assert found["tax"].tolist() == [69_000]


# --- Whitening ------------------------------------------------------------------------------------


@given(st.integers(1, 6), st.integers(0, 2**32))
def test_white_columns_are_uncorrelated_with_mean_square_1(width: int, seed: int) -> None:
    numbers = np.random.default_rng(seed)
    columns = numbers.normal(size=(200, width)) @ numbers.normal(
        size=(width, width)
    ) + numbers.normal(size=width)
    whitening = Whitening.of(columns)
    whitened = whitening.transform(columns)
    assert np.allclose(whitened.T @ whitened / 200, np.eye(width), atol=1e-6)
    assert np.allclose(whitened.mean(0), 0, atol=1e-9)
    weights = numbers.normal(size=width)
    assert np.allclose(
        whitened @ weights, (columns - whitening.means) @ whitening.weights(weights), atol=1e-6
    )


def test_a_column_that_others_make_up_gets_no_weight() -> None:
    first = np.random.default_rng(1).normal(size=(300, 2))
    columns = np.column_stack([first, first.sum(1), np.ones(300), first[:, 0] * 2])
    whitening = Whitening.of(columns)
    whitened = whitening.transform(columns)
    assert np.isfinite(whitened).all()
    assert (whitened[:, 2:] == 0).all()
    assert (whitening.weights(np.ones(5))[2:] == 0).all()


def test_no_columns_are_no_columns() -> None:
    assert Whitening.of(np.empty((10, 0))).transform(np.empty((10, 0))).shape == (10, 0)


# --- The sine series ------------------------------------------------------------------------------


def test_the_coefficients_are_the_weighted_least_squares_fit() -> None:
    z = np.linspace(-10, 10, 4001)
    weight = np.sqrt(np.exp(-0.5 * (z / 2.5) ** 2) + 1e-3)
    sines = np.sin(2 * np.pi / series.PERIOD * np.outer(z, np.arange(1, series.TERMS + 1)))
    fitted, *_ = np.linalg.lstsq(
        sines * weight[:, None], (1 / (1 + np.exp(-z)) - 0.5) * weight, rcond=None
    )
    assert np.allclose(fitted, series.COEFFICIENTS, atol=1e-9)


def test_the_series_is_within_two_hundredths_of_the_logistic_function() -> None:
    z = np.linspace(-6, 6, 1001)
    assert np.abs(series.sigmoid(z) - 1 / (1 + np.exp(-z))).max() < 0.02


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=30), st.integers(0, 2**32))
def test_shares_of_fourier_terms_evaluate_the_series(scores: list[float], seed: int) -> None:
    numbers = np.random.default_rng(seed)
    angles = numbers.integers(0, 1 << 16, len(scores), np.uint16)
    shares = [numbers.integers(0, 2**64, (2 * series.TERMS, len(scores)), np.uint64)]
    shares.append(series.fourier_terms(angles) - shares[0])
    opened = (
        np.rint(np.array(scores) * (1 << series.STEP_BITS)).astype(np.int64).astype(np.uint16)
    ) - angles
    total = (
        series.evaluate_sigmoid(opened, shares[0]) + series.evaluate_sigmoid(opened, shares[1])
    ).view(np.int64) / 2.0**26
    assert np.allclose(total, series.sigmoid(np.array(scores)) - 0.5, atol=1e-3)


def test_every_machine_has_the_same_fourier_terms() -> None:
    # Shares are weighed by numbers all parties must have alike: a machine whose cosine rounds
    # otherwise would be found here.
    fourier_terms = series.fourier_terms(np.arange(1 << 16, dtype=np.uint16))
    assert hashlib.sha256(fourier_terms.tobytes()).hexdigest() == WAVES
    ones = np.ones((2 * series.TERMS, 1 << 16), np.uint64)
    assert (
        hashlib.sha256(
            series.evaluate_sigmoid(np.arange(1 << 16, dtype=np.uint16), ones).tobytes()
        ).hexdigest()
        == WEIGHTS
    )


WAVES = "219a5f03c837183d5584b1a5cc89e21694a34f58d265aecfe659f3c9c2eea701"
WEIGHTS = "e1461a2bcc6d160f79efbf559b33bb9e50cf6d962fff4272eb16458e3ba9b3c6"


# --- Training -------------------------------------------------------------------------------------


def trained(
    parts: dict[str, NDArray[np.float64]], bad: NDArray[np.bool_], iterations: int = 20
) -> NDArray[np.float64]:
    """All parties' weights; the last party has the label."""
    shape = BlockShape(len(bad), {name: columns.shape[1] for name, columns in parts.items()})
    seeds = {name: bytes([index]) * 32 for index, name in enumerate(parts)}
    bits = shift_bits(shape.rows, len(parts))

    async def party(session: Session) -> Any:
        communicator, seed = Communicator(session, list(parts)), Randomness(seeds[session.party])
        columns = await MaskedColumns.owned(communicator, shape, seed, parts[session.party])
        trainer = Trainer(communicator, shape, seed, "dealer", columns, bits)
        return await reveal_own_weights(
            communicator,
            shape,
            await trainer.run(iterations, bad if session.party == shape.last else None),
        )

    async def dealer(session: Session) -> Any:
        streams = {name: Randomness(seed) for name, seed in seeds.items()}
        await deal_training(
            session, streams, shape, own_column_masks(streams, shape), iterations, bits
        )

    found = run_local({**dict.fromkeys(parts, party), "dealer": dealer})
    return np.concatenate([found[name] for name in parts])


@pytest.mark.parametrize("parties", [2, 3, 5, 8])
def test_training_on_shares_ends_where_plain_training_ends(parties: int) -> None:
    numbers = np.random.default_rng(parties)
    rows = 1500
    common = numbers.normal(size=(rows, 1))
    raw = {f"p{index}": numbers.normal(size=(rows, 2)) + 0.5 * common for index in range(parties)}
    parts = {name: Whitening.of(columns).transform(columns) for name, columns in raw.items()}
    log_odds = np.column_stack(list(parts.values())) @ numbers.normal(size=2 * parties) * 0.6 - 0.7
    bad = numbers.random(rows) < 1 / (1 + np.exp(-log_odds))
    last = f"p{parties - 1}"
    parts[last] = np.column_stack([parts[last], np.ones(rows)])
    found = trained(parts, bad)
    together = np.column_stack(list(parts.values()))
    plain = (
        LogisticRegression(C=1e9, fit_intercept=False, max_iter=1000).fit(together, bad).coef_[0]
    )
    assert np.corrcoef(together @ found, together @ plain)[0, 1] > 0.998
    assert np.abs(found - plain).max() < 0.25 * max(1, np.abs(plain).max())


def test_the_same_seeds_train_the_same_weights() -> None:
    numbers = np.random.default_rng(3)
    parts = {"tax": numbers.normal(size=(200, 2)), "bank": numbers.normal(size=(200, 2))}
    bad = numbers.random(200) < 0.4
    assert (trained(parts, bad, 5) == trained(parts, bad, 5)).all()


# --- Points ---------------------------------------------------------------------------------------


def test_points_of_a_column_by_hand() -> None:
    bins = Bins("home", False, values=("own", "rent"))
    column = ScorecardColumn.of(
        bins,
        BinLayout(0, (10, 10)),
        WeightsOfEvidence((-1.0, 1.0), 0.3),
        weight=0.8,
        mean=0.25,
        factor=20 / math.log(2),
    )
    assert column.points == (
        round(0.8 * 1.25 * 20 / math.log(2)),
        round(-0.8 * 0.75 * 20 / math.log(2)),
    )
    assert column.elsewhere == round(0.8 * 0.25 * 20 / math.log(2))
    assert column.points_of(texts("rent", "own", None, "tent")).tolist() == [
        column.points[1],
        column.points[0],
        column.elsewhere,
        column.elsewhere,
    ]
