"""The parts of a training over a hidden intersection, compared with the same in the clear:
membership, products, largest eigenvalue, score histogram.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from federated.local import run_local
from federated.randomness import Randomness
from federated.session import Session
from federated.vertical.communicator import Communicator
from federated.vertical.correlated_randomness import DealerRandomness, PartyRandomness
from federated.vertical.fixed_point import (
    ERROR_FRACTION,
    FRACTION,
    MAX_SHIFT_BITS,
    MAX_WEIGHT,
    VALUE_BITS,
    encode,
    shift_bits,
    shift_bits_for_eigenvalue,
)
from federated.vertical.largest_eigenvalue import deal_largest_eigenvalue, largest_eigenvalue
from federated.vertical.membership import deal_membership, membership_shares
from federated.vertical.preprocessing import BlockShape
from federated.vertical.products import (
    deal_masked_select,
    deal_secret_product,
    held_columns,
    masked_select,
    secret_product,
)
from federated.vertical.score_histogram import (
    BUCKETS,
    BUCKETS_PER_UNIT,
    deal_score_histogram,
    deal_shared_scores,
    log_odds,
    score_histogram,
    shared_scores,
)
from federated.vertical.training import (
    MaskedColumns,
    Trainer,
    deal_training,
    reveal_own_weights,
    shared_column_masks,
)
from federated.vertical.whitening import Whitening

PARTIES = st.integers(2, 4)
SEEDS = st.integers(0, 2**32)
Ring64 = NDArray[np.uint64]
Play = Callable[[Communicator, PartyRandomness, Randomness, int], Awaitable[Any]]
Deal = Callable[[DealerRandomness, dict[str, Randomness]], Awaitable[Any]]


def names(parties: int) -> list[str]:
    return [f"d{number}" for number in range(parties - 1)] + ["bank"]


def played(parties: int, play: Play, deal_training: Deal, seed: int = 0) -> list[Any]:
    """What each party ends with, in the dealing's order."""
    seeds = {
        name: bytes([position + 1, seed % 251]) * 16 for position, name in enumerate(names(parties))
    }

    async def party(session: Session) -> Any:
        own = Randomness(seeds[session.party])
        randomness = PartyRandomness(session, own, "dealer", last=session.party == "bank")
        return await play(
            Communicator(session, names(parties)),
            randomness,
            own,
            names(parties).index(session.party),
        )

    async def dealer(session: Session) -> Any:
        streams = {name: Randomness(seed_bytes) for name, seed_bytes in seeds.items()}
        await deal_training(DealerRandomness(session, streams), streams)

    ended = run_local({**dict.fromkeys(names(parties), party), "dealer": dealer})
    return [ended[name] for name in names(parties)]


def shared(value: NDArray[Any], parties: int, numbers: np.random.Generator) -> list[Any]:
    """Uniform words that add up to the value."""
    most = np.iinfo(value.dtype).max
    parts = [
        numbers.integers(0, most, value.shape, value.dtype, endpoint=True)
        for _ in range(parties - 1)
    ]
    return [*parts, value - sum(parts, np.zeros_like(value))]


def total(parts: list[Any]) -> Any:
    return sum(parts[1:], parts[0])


def shape_of(rows: int, parties: int, numbers: np.random.Generator, least: int = 0) -> BlockShape:
    return BlockShape(
        rows,
        {name: int(numbers.integers(least, 4)) for name in names(parties)[:-1]}
        | {"bank": int(numbers.integers(1, 4))},
    )


def blocks(value: NDArray[Any], shape: BlockShape, numbers: np.random.Generator) -> list[Any]:
    """Shares of columns: each department has one of its own columns, the label party one of all."""
    parts = [
        numbers.integers(0, np.iinfo(value.dtype).max, (len(value), width), value.dtype)
        for width in list(shape.columns.values())[:-1]
    ]
    last = value.copy()
    for name, part in zip(shape.columns, parts, strict=False):
        last[:, shape.span(name)] -= part
    return [*parts, last]


# --- Membership -----------------------------------------------------------------------------------


def found(words: Ring64, targets: Ring64, seed: int = 0) -> list[Ring64]:
    """Shares of membership where the bank has ``words`` (bins, departments) and the departments
    ``targets``.
    """
    bins, departments = words.shape

    async def play(
        communicator: Communicator, randomness: PartyRandomness, _: Randomness, index: int
    ) -> Any:
        own = (
            words
            if communicator.is_label
            else np.where(np.arange(departments) == index, targets, 0).astype(np.uint64)
        )
        return await membership_shares(communicator, randomness, own)

    return played(
        departments + 1,
        play,
        lambda randomness, _: deal_membership(randomness, bins, departments),
        seed,
    )


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 3), st.integers(1, 4), SEEDS)
def test_a_bin_is_a_members_if_all_departments_targets_are_met(
    departments: int, groups: int, seed: int
) -> None:
    numbers = np.random.default_rng(seed)
    words = numbers.integers(0, 2**64, (64 * groups, departments), np.uint64)
    met = numbers.random(words.shape) < 0.7
    targets = np.where(met, words, numbers.integers(0, 2**64, words.shape, np.uint64))
    parts = found(words, targets, seed)
    assert total(parts).tolist() == met.all(axis=1).astype(int).tolist()


@given(st.integers(0, 63), st.integers(1, 3))
@settings(deadline=None, max_examples=20)
def test_one_bit_that_differs_is_enough(bit: int, departments: int) -> None:
    words = np.arange(64 * departments, dtype=np.uint64).reshape(64, departments)
    targets = words.copy()
    targets[5, departments - 1] ^= np.uint64(1 << bit)
    assert np.flatnonzero(total(found(words, targets)) == 0).tolist() == [5]


def test_a_share_of_membership_is_uniform_at_every_party() -> None:
    # Of members as of others: no party's share says which a row is.
    words = np.zeros((4096, 2), np.uint64)
    targets = words.copy()
    targets[::2, 0] = 1
    for share in found(words, targets):
        for rows in (share[::2], share[1::2]):
            assert len(np.unique(rows)) == len(rows)
            bits = np.unpackbits(rows.copy().view(np.uint8))
            assert abs(bits.mean() - 0.5) < 5 * 0.5 / math.sqrt(len(bits))


# --- Products -------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(PARTIES, st.integers(1, 40), SEEDS)
def test_masked_select_keeps_selected_rows_and_zeroes_others(
    parties: int, rows: int, seed: int
) -> None:
    numbers = np.random.default_rng(seed)
    shape = shape_of(rows, parties, numbers)
    keep, columns = (
        numbers.integers(0, 2, rows, np.uint64),
        numbers.integers(0, 2**64, (rows, shape.total), np.uint64),
    )
    keeps, parts = shared(keep, parties, numbers), blocks(columns, shape, numbers)

    async def play(
        communicator: Communicator, randomness: PartyRandomness, _: Randomness, index: int
    ) -> Any:
        assert (
            parts[index].shape[1]
            == held_columns(communicator, shape).stop - held_columns(communicator, shape).start
        )
        return await masked_select(communicator, randomness, "x", keeps[index], parts[index], shape)

    assert (
        total(
            played(
                parties,
                play,
                lambda randomness, _: deal_masked_select(randomness, "x", shape),
                seed,
            )
        )
        == keep[:, None] * columns
    ).all()


@settings(deadline=None, max_examples=25)
@given(PARTIES, st.integers(1, 40), st.sampled_from([np.uint16, np.uint32]), SEEDS)
def test_rows_are_counted_in_all_bins(parties: int, rows: int, dtype: Any, seed: int) -> None:
    numbers = np.random.default_rng(seed)
    shape = shape_of(rows, parties, numbers)
    left, columns = (
        numbers.integers(0, 2, (rows, 2), dtype),
        numbers.integers(0, 2, (rows, shape.total), dtype),
    )
    lefts, parts = shared(left, parties, numbers), blocks(columns, shape, numbers)

    async def play(
        communicator: Communicator, randomness: PartyRandomness, _: Randomness, index: int
    ) -> Any:
        return await secret_product(
            communicator, randomness, "x", lefts[index], parts[index], shape
        )

    counts = total(
        played(
            parties,
            play,
            lambda randomness, _: deal_secret_product(randomness, "x", 2, shape, dtype),
            seed,
        )
    )
    assert (counts == left.T.astype(int) @ columns.astype(int)).all()


# --- Largest eigenvalue ---------------------------------------------------------------------------


def bound(columns: NDArray[np.float64], parties: int, seed: int = 0) -> float:
    """What the label party learns of the columns' largest eigenvalue."""
    numbers, (rows, width) = np.random.default_rng(seed), columns.shape
    parts = shared(encode(columns), parties, numbers)

    async def play(
        communicator: Communicator, randomness: PartyRandomness, own: Randomness, index: int
    ) -> Any:
        return await largest_eigenvalue(
            communicator,
            randomness,
            own,
            "dealer",
            await MaskedColumns.shared(communicator, own, parts[index]),
            rows,
        )

    async def deal_all(randomness: DealerRandomness, streams: dict[str, Randomness]) -> None:
        await deal_largest_eigenvalue(
            randomness, shared_column_masks(streams, BlockShape(rows, {"bank": width})), "bank"
        )

    *others, opened = played(parties, play, deal_all, seed)
    assert others == [None] * (parties - 1)
    return float(opened)


@settings(deadline=None, max_examples=40)
@given(PARTIES, st.integers(20, 300), st.integers(1, 12), st.floats(0.05, 30), SEEDS)
def test_the_bound_is_above_the_largest_eigenvalue_and_not_far(
    parties: int, rows: int, width: int, size: float, seed: int
) -> None:
    numbers = np.random.default_rng(seed)
    mixed = (
        numbers.normal(size=(rows, width))
        @ numbers.normal(size=(width, width))
        * size
        / math.sqrt(width)
    )
    columns = np.column_stack([mixed, np.ones(rows)]) * (numbers.random(rows) < 0.8)[:, None]
    columns[0, -1] = 1.0
    largest = float(np.linalg.eigvalsh(columns.T @ columns)[-1])
    opened = bound(columns, parties, seed)
    assert largest * (1 - 1e-3) <= opened <= 1.1 * (width + 1) ** 0.25 * largest


def test_rows_of_which_all_but_one_are_zero_have_a_bound() -> None:
    columns = np.zeros((64, 3))
    columns[7] = (1.0, -2.0, 1.0)
    assert 6 <= bound(columns, 2) <= 8


@given(st.floats(10, 2.0**19))
def test_a_step_over_measured_columns_never_overshoots_and_fits_the_ring(
    largest_eigenvalue: float,
) -> None:
    bits = shift_bits_for_eigenvalue(largest_eigenvalue)
    step = 2.0 ** (ERROR_FRACTION - bits)
    assert (
        2 / largest_eigenvalue <= step <= 4 / largest_eigenvalue
    )  # the logistic function's slope is at most 1/4
    assert bits <= MAX_SHIFT_BITS
    assert (
        math.log2(MAX_WEIGHT * 2.0**bits + largest_eigenvalue * 2.0**ERROR_FRACTION) + FRACTION
        <= VALUE_BITS
    )


def test_a_measured_step_is_that_of_two_parties_who_know_their_rows() -> None:
    assert all(
        shift_bits_for_eigenvalue(2.0 * rows) == shift_bits(rows, 2) for rows in (64, 1024, 4096)
    )


# --- Training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("parties", [2, 3, 4])
def test_training_on_columns_that_all_share_ends_where_owned_ones_end(parties: int) -> None:
    # The same columns and outcome, with rows between that are zero because they are nobody's.
    numbers = np.random.default_rng(parties)
    rows, width = 600, 2 * parties
    whitened = Whitening.of(numbers.normal(size=(rows, width))).transform(
        numbers.normal(size=(rows, width))
    )
    columns = np.column_stack([whitened, np.ones(rows)])
    bad = numbers.random(rows) < 1 / (
        1 + np.exp(-columns @ np.append(numbers.normal(size=width) * 0.6, -0.5))
    )
    member = numbers.random(rows) < 0.7
    columns[~member] = 0
    parts = shared(encode(columns), parties, numbers)
    shape = BlockShape(rows, {name: 2 for name in names(parties)[:-1]} | {"bank": 3})
    bits = shift_bits_for_eigenvalue(2.0 * rows)

    async def play(
        communicator: Communicator, _hand: PartyRandomness, own: Randomness, index: int
    ) -> Any:
        held_columns = await MaskedColumns.shared(communicator, own, parts[index])
        return await reveal_own_weights(
            communicator,
            shape,
            await Trainer(communicator, shape, own, "dealer", held_columns, bits).run(
                20, bad if communicator.is_label else None
            ),
        )

    async def deal_all(randomness: DealerRandomness, streams: dict[str, Randomness]) -> None:
        await deal_training(
            randomness.session, streams, shape, shared_column_masks(streams, shape), 20, bits
        )

    weights = np.concatenate(played(parties, play, deal_all))
    plain = np.zeros(width + 1)
    for _ in range(200):
        probability = 1 / (1 + np.exp(-columns @ plain))
        plain -= 2 / rows * columns.T @ (probability - bad)
    assert np.corrcoef(columns[member] @ weights, columns[member] @ plain)[0, 1] > 0.998
    assert np.abs(weights - plain).max() < 0.25 * max(1, np.abs(plain).max())


# --- Score histogram ------------------------------------------------------------------------------


def counted(
    score: NDArray[np.float64],
    bad: NDArray[np.bool_],
    groups: NDArray[np.bool_],
    parties: int,
    seed: int = 0,
) -> NDArray[np.int64]:
    numbers = np.random.default_rng(seed)
    parts = shared(encode(score, 2 * FRACTION), parties, numbers)

    async def play(
        communicator: Communicator, randomness: PartyRandomness, _: Randomness, index: int
    ) -> Any:
        return await score_histogram(
            communicator, randomness, parts[index], bad if communicator.is_label else None, groups
        )

    *others, opened = played(
        parties, play, lambda randomness, _: deal_score_histogram(randomness, len(score)), seed
    )
    assert others == [None] * (parties - 1)
    return np.asarray(opened)


@settings(deadline=None, max_examples=25)
@given(PARTIES, st.lists(st.floats(-15.9, 15.8), min_size=1, max_size=60), SEEDS)
def test_every_score_is_counted_in_its_bucket_or_the_next(
    parties: int, values: list[float], seed: int
) -> None:
    numbers, score = np.random.default_rng(seed), np.array(values)
    bad, group = numbers.random(len(score)) < 0.5, numbers.random(len(score)) < 0.5
    opened = counted(score, bad, np.stack([group, ~group]), parties, seed)
    for index, inside in enumerate((group, ~group)):
        for outcome in (False, True):
            seen = np.repeat(log_odds(), opened[index, int(outcome)])
            real = np.sort(score[inside & (bad == outcome)])
            assert len(seen) == len(real)
            assert (np.abs(seen - real) <= 1 / BUCKETS_PER_UNIT + 1e-6).all()  # both are in order


def test_scores_of_more_rows_than_16_bits_count_hold() -> None:
    rows = 66_000
    opened = counted(np.full(rows, 2.0), np.zeros(rows, np.bool_), np.ones((1, rows), np.bool_), 2)
    assert opened[0, 0, BUCKETS // 2 + 2 * BUCKETS_PER_UNIT] == rows == opened.sum()


@pytest.mark.parametrize("parties", [2, 3])
def test_scores_of_rows_that_are_nobodys_fall_into_the_bucket_of_0_exactly(parties: int) -> None:
    rows = 5000
    opened = counted(np.zeros(rows), np.arange(rows) < 1700, np.ones((1, rows), np.bool_), parties)
    assert opened[0, :, BUCKETS // 2].tolist() == [3300, 1700]
    assert opened.sum() == rows


def test_a_score_between_two_buckets_is_counted_in_the_nearer_more_often() -> None:
    rows = 20_000
    opened = counted(
        np.full(rows, 1 / (4 * BUCKETS_PER_UNIT)),
        np.zeros(rows, np.bool_),
        np.ones((1, rows), np.bool_),
        2,
    )
    assert opened[0, 0, BUCKETS // 2 : BUCKETS // 2 + 2].sum() == rows
    assert abs(opened[0, 0, BUCKETS // 2 + 1] / rows - 0.25) < 5 * math.sqrt(0.25 * 0.75 / rows)


def test_scores_beyond_all_buckets_change_sides_and_so_are_found() -> None:
    opened = counted(
        np.array([17.0, 1.0, -1.0]), np.zeros(3, np.bool_), np.ones((1, 3), np.bool_), 2
    )
    assert opened[0].sum(axis=1).tolist() == [2, 1]


@settings(deadline=None, max_examples=20)
@given(PARTIES, SEEDS)
def test_scores_on_shares_are_columns_times_weights(parties: int, seed: int) -> None:
    numbers = np.random.default_rng(seed)
    columns, weights = numbers.normal(size=(50, 4)), numbers.normal(size=4)
    parts, shares = (
        shared(encode(columns), parties, numbers),
        shared(encode(weights), parties, numbers),
    )
    shape = BlockShape(50, {"bank": 4})

    async def play(
        communicator: Communicator, randomness: PartyRandomness, own: Randomness, index: int
    ) -> Any:
        return await shared_scores(
            communicator,
            randomness,
            await MaskedColumns.shared(communicator, own, parts[index]),
            shares[index],
        )

    async def deal_all(randomness: DealerRandomness, streams: dict[str, Randomness]) -> None:
        await deal_shared_scores(randomness, shared_column_masks(streams, shape))

    assert (total(played(parties, play, deal_all, seed)) == encode(columns) @ encode(weights)).all()
