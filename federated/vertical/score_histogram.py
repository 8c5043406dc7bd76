"""The histogram of hidden scores by outcome: counts in buckets of 1/8 of log-odds, and no row's
score.

A score z is shared. The parties open z + r under a mask r and take its bucket, u = ⌊(z + r)·8⌋.
Subtracting the bucket of the mask, ⌊r·8⌋, gives the bucket of z or the next one above, the nearer
one more often: the mean over all masks is z. The dealer deals a one-hot table row with the one at
⌊r·8⌋; rotated by u it has the one at the row's bucket, and the rotated shares are added up. The
outcome selects one half of a table of twice the length, so that good and bad rows need only one
table.

Rows that are not common have the score 0 exactly and fall into its bucket exactly; the label party
knows their number and subtracts it. A score of 16 or more in absolute value would be counted in the
other half, which is detected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from federated.vertical.communicator import Communicator
from federated.vertical.correlated_randomness import DealerRandomness, PartyRandomness
from federated.vertical.fixed_point import FRACTION, Ring64
from federated.vertical.preprocessing import count_dtype
from federated.vertical.training import MaskedColumns

BUCKETS_PER_UNIT = 8
"""Buckets per unit of log-odds."""
BUCKETS = 32 * BUCKETS_PER_UNIT
"""Buckets from -16 to 16."""
_TABLE_SIZE = 2 * BUCKETS
_SHIFT = np.uint64(2 * FRACTION - (BUCKETS_PER_UNIT - 1).bit_length())
_BLOCK = 1 << 12


async def shared_scores(
    communicator: Communicator, randomness: PartyRandomness, columns: MaskedColumns, weights: Ring64
) -> Ring64:
    """Return this party's shares of all rows' scores, with 28 fraction bits."""
    rows, width = columns.share.shape
    weight_mask = randomness.mask("scores/weights", width)
    opened = await communicator.open_short(weights - weight_mask, "scores/weights")
    return await asyncio.to_thread(
        columns.product_share,
        opened,
        weight_mask,
        await randomness.dealt_share("scores/product", rows),
    )


async def deal_shared_scores(randomness: DealerRandomness, masks: Ring64) -> None:
    """The dealer's side of ``shared_scores``. ``masks``: U."""
    weight_mask = randomness.mask("scores/weights", masks.shape[1])
    await randomness.deal("scores/product", await asyncio.to_thread(np.matmul, masks, weight_mask))


async def score_histogram(
    communicator: Communicator,
    randomness: PartyRandomness,
    share: Ring64,
    bad: NDArray[np.bool_] | None,
    groups: NDArray[np.bool_],
) -> NDArray[np.int64] | None:
    """Return the counts (groups, 2, buckets) of good and bad rows at the label party, ``None`` at
    the others.

    ``share``: of the scores. ``bad``: at the label party. ``groups`` (groups, rows): the rows that
    are counted together.
    """
    rows, dtype = len(share), count_dtype(len(share))
    if bad is not None:
        share = share + (bad.astype(np.uint64) << (_SHIFT + np.uint64(BUCKETS.bit_length() - 1)))
    opened = await communicator.open(share + randomness.mask("scores/index", rows), "scores/index")
    indices = (opened >> _SHIFT).astype(np.int64) % _TABLE_SIZE
    total = np.zeros((len(groups), _TABLE_SIZE), dtype)
    for number, block in _blocks(rows):
        table = await randomness.dealt_share(
            f"scores/table/{number}", block.stop - block.start, _TABLE_SIZE, dtype=dtype
        )
        total += await asyncio.to_thread(
            _rotated, table, indices[block], groups[:, block].astype(dtype)
        )
    counts = await communicator.open_to_label(total, "scores/counts")
    return None if counts is None else _in_bucket_order(counts)


def _rotated(
    table: NDArray[np.unsignedinteger],
    indices: NDArray[np.int64],
    groups: NDArray[np.unsignedinteger],
) -> NDArray[np.unsignedinteger]:
    turned = np.take_along_axis(
        table, (indices[:, None] - np.arange(_TABLE_SIZE)) % _TABLE_SIZE, axis=1
    )
    return np.stack([np.einsum("n,nk->k", group, turned) for group in groups])


def _in_bucket_order(counts: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
    """Reorder a table to buckets from the lowest score up: good rows are around index 0, bad ones
    around the middle.
    """
    return np.roll(counts, BUCKETS // 2, axis=1).reshape(len(counts), 2, BUCKETS).astype(np.int64)


async def deal_score_histogram(randomness: DealerRandomness, rows: int) -> None:
    """The dealer's side of ``score_histogram``."""
    indices, dtype = (
        (randomness.mask("scores/index", rows) >> _SHIFT).astype(np.int64) % _TABLE_SIZE,
        count_dtype(rows),
    )
    for number, block in _blocks(rows):
        table = np.zeros((block.stop - block.start, _TABLE_SIZE), dtype)
        table[np.arange(len(table)), indices[block]] = 1
        await randomness.deal(f"scores/table/{number}", table)


def log_odds() -> NDArray[np.float64]:
    """Return the log-odds that each bucket represents."""
    return np.arange(-BUCKETS // 2, BUCKETS // 2) / BUCKETS_PER_UNIT


def _blocks(rows: int) -> Iterator[tuple[int, slice]]:
    for number, start in enumerate(range(0, rows, _BLOCK)):
        yield number, slice(start, min(start + _BLOCK, rows))
