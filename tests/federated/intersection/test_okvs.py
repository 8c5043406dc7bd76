"""The oblivious key-value store: it is a dictionary, its table is noise, and how often its
equations cannot be solved.
"""

from __future__ import annotations

from math import exp, lgamma, log, log2
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.intersection.okvs import DENSE, MAX_CORE, KeySlots, OkvsLayout, Solver, decode
from federated.intersection.oprf import Pads, permutation
from federated.intersection.suites import SUITES
from federated.randomness import Randomness

LABELS = ("thirds", "dense")
PAGE = (Path(__file__).parents[3] / "docs" / "protocols" / "circuit.md").read_text()


def words(*shape: int, seed: int = 1) -> Any:
    return Randomness(bytes(31) + bytes([seed]), "test").words(*shape)


def key_slots_of(keys: Any, layout: OkvsLayout, suite: str = "aes") -> KeySlots:
    return KeySlots.of(
        keys,
        layout,
        [permutation(SUITES[suite], bytes(32), f"okvs/0/{label}") for label in LABELS],
    )


def solved(layout: OkvsLayout, key_slots: KeySlots) -> Solver:
    solver = Solver.of(layout, key_slots)
    assert solver is not None
    return solver


def is_uniform(table: Any) -> bool:
    """Whether ones and zeros are as many in every bit place as in noise, and neighbours as unlike:
    within five standard deviations.
    """
    bits = np.unpackbits(table.reshape(-1, 1).view(np.uint8), axis=1)
    spread = 5 * np.sqrt(len(bits)) / 2
    beside = (bits[1:] ^ bits[:-1]).sum(axis=0)
    return bool(
        (np.abs(bits.sum(axis=0) - len(bits) / 2) < spread).all()
        and (np.abs(beside - len(bits) / 2) < spread).all()
    )


# --- A dictionary ---------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 700), st.integers(0, 300), st.integers(1, 9), st.integers(0, 255))
def test_every_key_decodes_to_its_value_and_no_other_key_to_any(
    count: int,
    room: int,
    width: int,
    seed: int,
) -> None:
    layout, keys, values = (
        OkvsLayout.of(count + room),
        words(count, 2, seed=seed),
        words(count, width, seed=seed ^ 1),
    )
    table = solved(layout, key_slots_of(keys, layout)).encode(values, Randomness(bytes(32)))
    assert table.shape == (layout.slots, width)
    assert (decode(table, key_slots_of(keys, layout)) == values).all()
    strangers = decode(table, key_slots_of(words(300, 2, seed=seed ^ 2), layout))
    assert not np.isin(strangers, values).any()


@pytest.mark.parametrize("suite", SUITES)
def test_one_solver_makes_any_number_of_tables(suite: str) -> None:
    layout, keys = OkvsLayout.of(500), words(500, 2)
    key_slots = key_slots_of(keys, layout, suite)
    solver, randomness = solved(layout, key_slots), Randomness(bytes(32))
    for seed, width in ((2, 1), (3, 40), (4, 2)):
        values = words(500, width, seed=seed)
        assert (decode(solver.encode(values, randomness), key_slots) == values).all()


@pytest.mark.parametrize("alike", [2, 3, 7])
def test_keys_with_the_same_three_slots_are_distinguished_by_the_dense_ones(alike: int) -> None:
    layout = OkvsLayout.of(200)
    key_slots = key_slots_of(words(200, 2), layout)
    key_slots.slots[:alike] = key_slots.slots[0]
    solver, values = solved(layout, key_slots), words(200, 3, seed=2)
    assert len(solver.core.keys) >= alike
    assert (decode(solver.encode(values, Randomness(bytes(32))), key_slots) == values).all()


def test_a_core_of_many_keys_is_solved() -> None:
    # 300 keys in 330 slots, above the threshold of peeling, below that of solving
    layout = OkvsLayout(110)
    key_slots = key_slots_of(words(300, 2, seed=3), layout)
    solver, values = solved(layout, key_slots), words(300, 3, seed=2)
    assert len(solver.core.keys) > 200
    assert (decode(solver.encode(values, Randomness(bytes(32))), key_slots) == values).all()


def test_equations_that_depend_on_one_another_are_not_solved() -> None:
    layout = OkvsLayout.of(200)
    key_slots = key_slots_of(words(200, 2), layout)
    key_slots.slots[1], key_slots.dense[1] = key_slots.slots[0], key_slots.dense[0]
    assert Solver.of(layout, key_slots) is None


def test_more_keys_than_the_core_may_have_are_not_solved() -> None:
    layout, count = OkvsLayout(400), MAX_CORE + 300
    assert Solver.of(layout, key_slots_of(words(count, 2), layout)) is None


# --- Noise ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 40, 3000])
def test_the_table_is_noise_whatever_number_of_keys_is_in_it(count: int) -> None:
    layout = OkvsLayout.of(3000)
    table = solved(layout, key_slots_of(words(count, 2), layout)).encode(
        words(count, 4, seed=2),
        Randomness(bytes(32)),
    )
    assert table.shape == (layout.slots, 4)
    assert is_uniform(table)
    assert len(np.unique(table)) == table.size


def test_with_few_slots_every_table_is_equally_likely() -> None:
    # one key over three slots, of which the lowest two bits are seen: 64 tables; every column of
    # words is a table by itself
    layout, key_slots = (
        OkvsLayout(1),
        KeySlots(np.array([[0, 1, 2]], np.int32), np.zeros((1, DENSE // 8), np.uint8)),
    )
    tables = solved(layout, key_slots).encode(words(1, 6400), Randomness(bytes(32)))[
        :3
    ] & np.uint64(3)
    seen = np.bincount(
        (tables[0] + tables[1] * np.uint64(4) + tables[2] * np.uint64(16)).astype(np.int64),
        minlength=64,
    )
    assert ((seen - 100) ** 2 / 100).sum() < 63 + 5 * np.sqrt(2 * 63)


def test_two_tables_of_the_same_values_differ_everywhere() -> None:
    layout, values = OkvsLayout.of(300), words(300, 2, seed=2)
    solver, randomness = solved(layout, key_slots_of(words(300, 2), layout)), Randomness(bytes(32))
    assert (solver.encode(values, randomness) != solver.encode(values, randomness)).all()


# --- How often it fails ---------------------------------------------------------------------------


def dependent_sets(keys: int, third: int) -> float:
    """How many sets of keys are expected that name every slot of the thirds an even number of
    times.
    """
    places = np.arange(third + 1)
    with np.errstate(divide="ignore"):
        weights = np.array(
            [
                lgamma(third + 1) - lgamma(index + 1) - lgamma(third - index + 1) - third * log(2)
                for index in places
            ]
        )
        base = np.log(np.abs(1 - 2 * places / third))
    total = 0.0
    for size in range(2, keys + 1, 2):
        terms = weights + size * base
        even = terms.max() + log(
            np.exp(terms - terms.max()).sum(),
        )  # of so many throws into a third, every slot an even number
        total += exp(lgamma(keys + 1) - lgamma(size + 1) - lgamma(keys - size + 1) + 3 * even)
    return total


@pytest.mark.parametrize("keys", [3, 24, 96, 300, 600, 700, 1024, 2048])
def test_dense_slots_fail_to_tell_keys_apart_with_negligible_probability(keys: int) -> None:
    assert dependent_sets(keys, OkvsLayout.of(keys).third) * 2.0**-DENSE < 2.0**-48


def test_pairs_with_the_same_slots_are_rarest_in_large_stores() -> None:
    pairs = [
        keys * (keys - 1) / 2 / float(OkvsLayout.of(keys).third) ** 3
        for keys in (600, 2048, 1 << 14, 1 << 18, 3 << 20)
    ]
    assert pairs == sorted(pairs, reverse=True)
    assert pairs[0] < 0.0033


@pytest.mark.parametrize(
    "keys",
    [MAX_CORE, *(3 << exponent for exponent in range(9, 21)), 20_000, 60_000],
)
def test_peeling_stops_early_with_negligible_probability_by_the_fit_of_the_paper(keys: int) -> None:
    weight = log2(3)
    slope = 2 ** (
        0.555 * log2(keys) + 0.093 * weight**3 - 1.01 * weight**2 + 2.925 * weight - 0.133
    )
    assert slope * (OkvsLayout.of(keys).sparse / keys - 1.223) - 9.2 > 64


def test_cores_are_small() -> None:
    randomness, sizes = Randomness(bytes(32)), []
    for keys in [300] * 200 + [3000] * 40:
        layout = OkvsLayout.of(keys)
        sizes.append(len(solved(layout, key_slots_of(randomness.words(keys, 2), layout)).core.keys))
    assert max(sizes) <= 8


# --- Vectors --------------------------------------------------------------------------------------


KEY, VALUE = np.frombuffer(bytes(range(16)), np.uint64).reshape(1, 2), bytes(range(32))


@pytest.mark.parametrize(
    ("suite", "pads", "slots", "dense"),
    [
        (
            "aes",
            "49be0a3ee12a1488cb0d663c1315080fc8e4510ae4d6db50",
            [1268, 2743, 3713],
            "7dd8397f4f",
        ),
        ("sm", "b0e184fc491bd8e3ee27154e2204f3bf15508180c2088114", [506, 1876, 4320], "17548f3de9"),
    ],
)
def test_vectors_of_pads_and_slots(suite: str, pads: str, slots: list[int], dense: str) -> None:
    shown = np.zeros((1, 3), np.uint64)
    Pads(SUITES[suite], VALUE, 1, 3).over(KEY, shown)
    assert shown.tobytes().hex() == pads
    layout = OkvsLayout.of(3072)
    key_slots = KeySlots.of(
        KEY,
        layout,
        [permutation(SUITES[suite], VALUE, f"okvs/0/{label}") for label in LABELS],
    )
    assert key_slots.slots.tolist() == [slots]
    assert key_slots.dense.tobytes().hex() == dense
    assert f"    {suite:<4} {pads}   {' '.join(map(str, slots))}   {dense}\n" in PAGE


@given(st.integers(1, 9), st.integers(1, 70))
def test_pads_are_taken_off_as_they_were_put_on(width: int, rows: int) -> None:
    keys, values = words(rows, 2), words(rows, width, seed=2)
    shown = values.copy()
    Pads(SUITES["aes"], VALUE, 0, width).over(keys, shown)
    assert (shown != values).all()
    other = shown.copy()
    Pads(SUITES["aes"], VALUE, 1, width).over(keys, other)
    assert (other != values).all()
    Pads(SUITES["aes"], VALUE, 0, width).over(keys, shown)
    assert (shown == values).all()
