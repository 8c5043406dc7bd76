"""Discrete Gaussian noise: its distribution, by chi-square with fixed seeds, against probabilities
computed from the definition.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from federated.horizontal.gaussian import MAX_SIGMA, TAIL, discrete_gaussian, discrete_laplace
from federated.randomness import Randomness


def chi_square(draws: NDArray[np.int64], reach: int, weight: dict[int, float]) -> tuple[float, int]:
    """The statistic over the values from -reach to reach and the two tails; degrees of freedom."""
    total = sum(weight.values())
    expected = np.array([weight[value] / total for value in range(-reach, reach + 1)])
    tail = sum(mass for value, mass in weight.items() if value > reach) / total
    expected = np.array([tail, *expected, tail]) * len(draws)
    observed = np.bincount(
        np.clip(draws, -reach - 1, reach + 1) + reach + 1,
        minlength=2 * reach + 3,
    )
    assert expected.min() > 20, "the test needs enough draws in each cell"
    return float(((observed - expected) ** 2 / expected).sum()), len(expected) - 1


def limit(degrees: int) -> float:
    """Exceeded with a probability below 1e-3 (Wilson and Hilferty's approximation)."""
    return degrees * (1 - 2 / (9 * degrees) + 3.1 * math.sqrt(2 / (9 * degrees))) ** 3


@pytest.mark.parametrize("sigma", [1, 2, 7, 30])
@pytest.mark.parametrize("seed", [b"a" * 32, b"b" * 32])
def test_draws_have_the_probabilities_of_the_definition(sigma: int, seed: bytes) -> None:
    weight = {
        value: math.exp(-(value**2) / (2 * sigma**2))
        for value in range(-12 * sigma, 12 * sigma + 1)
    }
    statistic, degrees = chi_square(
        discrete_gaussian(sigma, 200_000, Randomness(seed)),
        int(2.5 * sigma),
        weight,
    )
    assert statistic < limit(degrees)


@pytest.mark.parametrize("scale", [1, 5])
def test_the_laplace_draws_beneath_are_right_too(scale: int) -> None:
    weight = {value: math.exp(-abs(value) / scale) for value in range(-60 * scale, 60 * scale + 1)}
    statistic, degrees = chi_square(
        discrete_laplace(scale, 200_000, Randomness(b"c" * 32)),
        4 * scale,
        weight,
    )
    assert statistic < limit(degrees)


def test_the_test_would_notice_a_rounded_gaussian() -> None:
    # What many implementations do instead: at sigma 1 the difference is plain.
    rounded = np.rint(np.random.default_rng(1).normal(0, 1, 200_000)).astype(np.int64)
    weight = {value: math.exp(-(value**2) / 2) for value in range(-12, 13)}
    statistic, degrees = chi_square(rounded, 2, weight)
    assert statistic > 10 * limit(degrees)


@pytest.mark.parametrize("sigma", [1000, 2**20, MAX_SIGMA])
def test_large_sigmas_have_the_right_spread_and_no_bias(sigma: int) -> None:
    draws = discrete_gaussian(sigma, 200_000, Randomness(b"d" * 32)) / sigma
    assert abs(draws.mean()) < 4 / math.sqrt(200_000)
    assert abs(draws.std() - 1) < 4 / math.sqrt(400_000)
    assert abs((draws**4).mean() - 3) < 4 * math.sqrt(96 / 200_000)
    assert np.abs(draws).max() < TAIL


def test_low_bits_are_even() -> None:
    draws = discrete_gaussian(2**20, 100_000, Randomness(b"e" * 32))
    for bit in range(8):
        ones = int((draws >> bit & 1).sum())
        assert abs(ones - 50_000) < 4 * math.sqrt(25_000), bit


def test_the_same_seed_gives_the_same_noise_and_another_label_does_not() -> None:
    first, second = (
        discrete_gaussian(50, 1000, Randomness(b"f" * 32).child("noise/1")) for _ in range(2)
    )
    other = discrete_gaussian(50, 1000, Randomness(b"f" * 32).child("noise/2"))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("sigma", [0, -1, MAX_SIGMA + 1])
def test_a_sigma_beyond_the_exact_range_is_refused(sigma: int) -> None:
    with pytest.raises(ValueError):
        discrete_gaussian(sigma, 10, Randomness(b"g" * 32))
