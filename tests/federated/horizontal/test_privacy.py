"""Clipping, shares of noise, and what a release costs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.errors import BadInput
from federated.horizontal import privacy
from federated.randomness import Randomness

ELEMENTS = st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=1, max_size=30)


@given(elements=ELEMENTS)
def test_the_squared_norm_is_exact(elements: list[int]) -> None:
    assert privacy.squared_norm(np.array(elements, np.int64)) == sum(
        element * element for element in elements
    )


@given(elements=ELEMENTS, clip=st.integers(1, 2**31 - 1))
def test_no_clipped_vector_is_longer_than_the_clip(elements: list[int], clip: int) -> None:
    clipped = privacy.clip_l2(np.array(elements, np.int64), clip)
    assert sum(int(element) ** 2 for element in clipped) <= clip * clip


@given(elements=ELEMENTS)
def test_a_vector_within_the_clip_is_left_alone(elements: list[int]) -> None:
    vector = np.array(elements, np.int64)
    clip = math.isqrt(sum(element * element for element in elements)) + 1
    if clip < 2**31:
        assert np.array_equal(privacy.clip_l2(vector, clip), vector)


def test_clipping_keeps_the_direction() -> None:
    clipped = privacy.clip_l2(np.array([3_000_000, -4_000_000]), 50_000)
    assert clipped.tolist() == [30_000, -40_000]


@pytest.mark.parametrize(("vector", "clip"), [([2**31], 5), ([1], 0), ([1], 2**31)])
def test_what_squares_cannot_hold_is_refused(vector: list[int], clip: int) -> None:
    with pytest.raises(BadInput, check=lambda error: error.code == "value_out_of_range"):
        privacy.clip_l2(np.array(vector), clip)


def test_the_cost_is_that_of_the_gaussian_mechanism_rounded_up() -> None:
    # clip**2 / (2 * n * sigma**2), for n = 4, clip = sigma: 1/8 rho.
    assert (
        privacy.cost(1000, 1000, 4, 100) == 125_001 or privacy.cost(1000, 1000, 4, 100) == 125_000
    )
    assert privacy.cost(1, 3, 1, 10) == math.ceil(10**6 / 18)


def test_coarse_noise_costs_visibly_more_than_the_formula_without_correction() -> None:
    # Kairouz et al.: at sigma 0.5 two summed discrete Gaussians are far from one; here sigma is an
    # integer, so 1 is the worst.
    plain = math.ceil(10**6 * (10 / math.sqrt(2)) ** 2 / 2)
    assert privacy.cost(10, 1, 2, 1_000_000) > plain * 1.001
    assert (
        privacy.cost(10_000, 1_000, 2, 1_000_000)
        <= math.ceil(10**6 * (10 / math.sqrt(2)) ** 2 / 2) + 1
    )


@given(
    clip=st.integers(1, 10**6),
    sigma=st.integers(2, 10**6),
    shares=st.integers(2, 100),
    length=st.integers(1, 10**6),
)
def test_a_release_is_never_free_and_more_noise_never_dearer(
    clip: int,
    sigma: int,
    shares: int,
    length: int,
) -> None:
    cost = privacy.cost(clip, sigma, shares, length)
    assert 1 <= privacy.cost(clip, sigma * 2, shares, length) <= cost
    assert privacy.cost(clip, sigma, shares + 1, length) <= cost


def test_the_shares_of_noise_reach_the_multiplier_when_only_the_threshold_remain() -> None:
    for shares in (2, 3, 5):
        sigma = privacy.party_sigma(1000, 4.0, shares)
        assert sigma * math.sqrt(shares) >= 4000 > (sigma - 1) * math.sqrt(shares)


@pytest.mark.parametrize("multiplier", [0.0, -1.0, 1e-9, 1e12, float("nan"), float("inf")])
def test_noise_that_is_none_or_too_much_is_refused(multiplier: float) -> None:
    with pytest.raises(BadInput, check=lambda error: error.code == "noise_wrong"):
        privacy.party_sigma(1000, multiplier, 3)


def test_epsilon_is_within_the_known_bounds_of_zcdp() -> None:
    # Bun and Steinke's conversion is an upper bound; the accountant's is tighter, and never below
    # rho.
    for micro in (1000, 100_000, 1_000_000):
        rho = micro / 10**6
        assert (
            rho
            < privacy.epsilon(micro)
            <= rho + 2 * math.sqrt(rho * math.log(1 / privacy.DELTA)) + 1e-9
        )
    assert privacy.epsilon(0) == 0.0


def test_noise_stays_within_the_bound_that_sums_are_sized_for() -> None:
    vector = np.full(1000, 10**6)
    noisy = privacy.add_noise(vector, 5000, 700, Randomness(b"n" * 32))
    assert np.abs(noisy).max() <= privacy.noisy_bound(5000, 700)
    assert np.abs(noisy - privacy.clip_l2(vector, 5000)).max() > 700
