"""How the scores of rows that nobody knows are spread, by outcome: counts in buckets of 1/8 of log-odds, and no row's score.

A score z is held as shares. The parties open z + r under a mask r and take the number of its bucket, u = ⌊(z + r)·8⌋, from which that of the mask,
⌊r·8⌋, leaves the bucket of z or the next one above, the nearer more often: the mean over the masks is z. The dealer deals a row of a table with a
one at ⌊r·8⌋; turned round by u it has a one at the row's bucket, and turned rows of shares are added up. The outcome is told by which half of a
table twice as long the one stands in, so that good and bad rows need one table.

Rows that are no member's have the score 0 exactly, and fall into its bucket exactly; the label party knows how many they are and takes them off.
Scores of 16 and more in size would come out in the other half, and are found by that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from federated.vertical.circle import Circle
from federated.vertical.dealing import count_type
from federated.vertical.fixed import FRACTION, Words
from federated.vertical.hands import Deck, Hand
from federated.vertical.training import Columns

IN_ONE = 8
"""Buckets in one unit of log-odds."""
BUCKETS = 32 * IN_ONE
"""From -16 to 16."""
_PLACES = 2 * BUCKETS
_SHIFT = np.uint64(2 * FRACTION - (IN_ONE - 1).bit_length())
_BLOCK = 1 << 12


async def scores(circle: Circle, hand: Hand, columns: Columns, weights: Words) -> Words:
    """This party's shares of all rows' scores, with 28 fraction bits."""
    rows, width = columns.share.shape
    hidden = hand.mask("scores/weights", width)
    opened = await circle.exchange(weights - hidden, "scores/weights")
    return await asyncio.to_thread(columns.times, opened, hidden, await hand.share("scores/product", rows))


async def deal_scores(deck: Deck, masks: Words) -> None:
    """The dealer's side of ``scores``. ``masks``: U."""
    hidden = deck.mask("scores/weights", masks.shape[1])
    await deck.give("scores/product", await asyncio.to_thread(np.matmul, masks, hidden))


async def spread(circle: Circle, hand: Hand, share: Words, bad: NDArray[np.bool_] | None, groups: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    """At the label party the counts (groups, 2, buckets) of good and of bad rows, mod the size of a word; ``None`` elsewhere.

    ``share``: of the scores; ``bad``: at the label party; ``groups`` (groups, rows): which rows are counted together.
    """
    rows, kind = len(share), count_type(len(share))
    if bad is not None:
        share = share + (bad.astype(np.uint64) << (_SHIFT + np.uint64(BUCKETS.bit_length() - 1)))
    opened = await circle.open(share + hand.mask("scores/place", rows), "scores/place")
    places = (opened >> _SHIFT).astype(np.int64) % _PLACES
    total = np.zeros((len(groups), _PLACES), kind)
    for number, block in _blocks(rows):
        table = await hand.share(f"scores/table/{number}", block.stop - block.start, _PLACES, kind=kind)
        total += await asyncio.to_thread(_turned, table, places[block], groups[:, block].astype(kind))
    counts = await circle.tell(total, "scores/counts")
    return None if counts is None else _laid_out(counts)


def _turned(table: NDArray[np.unsignedinteger], places: NDArray[np.int64], groups: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    turned = np.take_along_axis(table, (places[:, None] - np.arange(_PLACES)) % _PLACES, axis=1)
    return np.stack([np.einsum("n,nk->k", each, turned) for each in groups])


def _laid_out(counts: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
    """From the order of the table to buckets from the lowest score up: those of good rows stand around place 0, of bad ones around the middle."""
    return np.roll(counts, BUCKETS // 2, axis=1).reshape(len(counts), 2, BUCKETS).astype(np.int64)


async def deal_spread(deck: Deck, rows: int) -> None:
    """The dealer's side of ``spread``."""
    places, kind = (deck.mask("scores/place", rows) >> _SHIFT).astype(np.int64) % _PLACES, count_type(rows)
    for number, block in _blocks(rows):
        table = np.zeros((block.stop - block.start, _PLACES), kind)
        table[np.arange(len(table)), places[block]] = 1
        await deck.give(f"scores/table/{number}", table)


def log_odds() -> NDArray[np.float64]:
    """The log-odds that each bucket stands for."""
    return np.arange(-BUCKETS // 2, BUCKETS // 2) / IN_ONE


def _blocks(rows: int) -> Iterator[tuple[int, slice]]:
    for number, start in enumerate(range(0, rows, _BLOCK)):
        yield number, slice(start, min(start + _BLOCK, rows))
