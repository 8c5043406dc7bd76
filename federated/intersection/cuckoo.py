"""Cuckoo hashing with three hash functions and no stash.

Each function has a third of the bins to itself, so that an item's three bins differ and each third
needs one table of the sender's masks. There are 1.27 bins an item (Pinkas, Schneider, Zohner, ACM
TOPS 2018: without a stash, placement fails with probability below 2**-40); the threshold for three
functions is 1.09. In small sets the likely failure is four items with the same three bins: 384
additional bins keep it below 2**-43 at every size (``docs/protocols/intersection.md``).

All items without a bin are placed in rounds: each takes one of its bins and evicts the item there;
of several that take the same bin one stays, and the others continue. An item takes an empty bin if
one of its three is empty, otherwise a random one. The number of rounds is bounded; the caller tries
again with other tags.
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
    """Return the number of bins of each function for so many items: a multiple of 64."""
    return -(-(127 * items + 100 * 384) // (FUNCTIONS * 100 * 64)) * 64


def bins_of(tags: Words, part: int) -> Bins:
    """Return each tag's bin under each function, (3, rows), counted within the function's part."""
    words = tags.view(np.uint32)[:, :FUNCTIONS].T.astype(np.uint64)
    return (words * np.uint64(part) >> np.uint64(32)).astype(np.int32)


def place(bins: Bins, part: int, randomness: Randomness) -> Bins | None:
    """Return the item in each bin, (3, part), -1 for none; ``None`` if some item has no bin.

    ``bins``: each item's bin under each function, (3, items), as from ``bins_of``.
    """
    count = bins.shape[1]
    options_of = (bins + np.int32(part) * np.arange(FUNCTIONS, dtype=np.int32)[:, None]).T.copy()
    item_of_bin = np.full(FUNCTIONS * part, -1, np.int32)
    waiting = np.arange(count, dtype=np.int32)
    for _ in range(_ROUNDS):
        options = options_of[waiting]
        pick = np.frombuffer(randomness.bytes(len(waiting)), np.uint8) % FUNCTIONS
        free = item_of_bin[options] < 0
        pick = np.where(free.any(axis=1), np.argmax(free, axis=1), pick)
        target = np.take_along_axis(options, pick[:, None], axis=1)[:, 0]
        previous = item_of_bin[target]
        item_of_bin[target] = waiting
        stayed = item_of_bin[target] == waiting
        evicted = previous[stayed]
        waiting = np.concatenate([waiting[~stayed], evicted[evicted >= 0]])
        if not len(waiting):
            return item_of_bin.reshape(FUNCTIONS, part)
    return None
