"""Cuckoo hashing with three functions and no stash.

Each function has a third of the bins to itself, so that an item's three bins differ and one table of the sender's masks belongs to each third.
There are 1.27 bins an item (Pinkas, Schneider, Zohner, ACM TOPS 2018: no stash is needed for a failure below 2**-40); three functions stop to
work below 1.09. For small sets what fails is four items with the same three bins; 384 more bins keep that below 2**-43 at
every size (the page of the protocol has the sum).

Items are placed in rounds, all that have no bin at once: each takes one of its bins, who was there is put out, who lost the race goes on. An item
that finds an empty bin among its three takes that; else it picks one at random. Rounds are bounded; whoever calls this starts again with other tags.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federated.intersection.suites import Words
from federated.randomness import Randomness

FUNCTIONS = 3
_ROUNDS = 2000

Bins = NDArray[np.int32]


def bins_in_part(items: int) -> int:
    """The bins of each function for so many items: a multiple of 64."""
    return -(-(127 * items + 100 * 384) // (FUNCTIONS * 100 * 64)) * 64


def bins_of(tags: Words, part: int) -> Bins:
    """Each tag's bin under each function, (3, rows), counted within the function's part."""
    words = tags.view(np.uint32)[:, :FUNCTIONS].T.astype(np.uint64)
    return (words * np.uint64(part) >> np.uint64(32)).astype(np.int32)


def place(bins: Bins, part: int, randomness: Randomness) -> Bins | None:
    """Which item each bin holds, (3, part), -1 for none; ``None`` if some item found no place."""
    count = bins.shape[1]
    places = (bins + np.int32(part) * np.arange(FUNCTIONS, dtype=np.int32)[:, None]).T.copy()
    holder = np.full(FUNCTIONS * part, -1, np.int32)
    waiting = np.arange(count, dtype=np.int32)
    for _ in range(_ROUNDS):
        options = places[waiting]
        pick = np.frombuffer(randomness.bytes(len(waiting)), np.uint8) % FUNCTIONS
        free = holder[options] < 0
        pick = np.where(free.any(axis=1), np.argmax(free, axis=1), pick)
        target = np.take_along_axis(options, pick[:, None], axis=1)[:, 0]
        before = holder[target]
        holder[target] = waiting
        won = holder[target] == waiting
        evicted = before[won]
        waiting = np.concatenate([waiting[~won], evicted[evicted >= 0]])
        if not len(waiting):
            return holder.reshape(FUNCTIONS, part)
    return None
