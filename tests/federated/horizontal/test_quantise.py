"""Fixed-point vectors: the documented error, clipping, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.errors import BadInput
from federated.horizontal.quantise import Quantiser


@given(values=st.lists(st.floats(-8, 8), min_size=1, max_size=50), fraction=st.integers(0, 40))
def test_values_within_the_clip_are_off_by_at_most_the_stated_error(
    values: list[float],
    fraction: int,
) -> None:
    grid = Quantiser(8.0, fraction)
    vector = np.array(values)
    assert np.abs(grid.restore(grid.quantise(vector)) - vector).max() <= grid.error


@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_no_value_is_beyond_the_bound(values: list[float]) -> None:
    grid = Quantiser(2.0, 16)
    assert np.abs(grid.quantise(np.array(values))).max() <= grid.bound == 2 * 65536


@given(parts=st.lists(st.lists(st.floats(-1, 1), min_size=4, max_size=4), min_size=3, max_size=9))
def test_a_sums_error_grows_with_the_number_of_vectors_only(parts: list[list[float]]) -> None:
    grid = Quantiser(1.0, 20)
    total = sum(grid.quantise(np.array(part)) for part in parts)
    assert (
        np.abs(grid.restore(np.asarray(total)) - np.sum(parts, axis=0)).max()
        <= len(parts) * grid.error + 1e-12
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_finite_number_is_refused(value: float) -> None:
    with pytest.raises(BadInput, check=lambda error: error.code == "values_not_finite"):
        Quantiser(1.0, 16).quantise(np.array([0.0, value]))


@pytest.mark.parametrize(
    ("clip", "fraction"),
    [
        (0.0, 16),
        (-1.0, 16),
        (float("nan"), 16),
        (float("inf"), 1),
        (1.0, 53),
        (4.0, 52),
        (1.0, -1),
        (0.2, 0),
    ],
)
def test_a_grid_float64_cannot_hold_is_refused(clip: float, fraction: int) -> None:
    with pytest.raises(BadInput, check=lambda error: error.code == "grid_wrong"):
        Quantiser(clip, fraction)
