"""An oblivious key-value store: a table from which each programmed key decodes to its value, and which shows nothing of the keys.

A key's value is the XOR of three slots of the table, one in each of its thirds, and of those of the table's last ``DENSE`` slots that the key names
(Garimella, Pinkas, Rosulek, Trieu, Yanai, CRYPTO 2021; the dense slots as in Raghuraman and Rindal, CCS 2022). So a table for given keys and
values is a solution of linear equations. Keys here are 128-bit values of a pseudo-random function; what they name is another such value.

**Solving.** Peel: a slot that only one key names is that key's own, whatever the others need; take the key out, and go on, all such keys of a round
at once. What remains, if anything, is a small core of keys, mostly two with the same three slots, which Gauss and Jordan solve with the dense
slots. Then start from a random table and mend each key at its own slot, the core first, the peeled ones from the last round to the first. Who peels
when depends on the keys alone, so that it is done once for any number of tables.

**Why it shows nothing.** If the equations are independent and the values uniform to who sees the table, then so is the table: free slots are random,
the others are random values mended by uniform ones. That holds for any set of keys and any number of them: dummies up to a padded size
are not needed, the size of the table does it.

**When it fails.** There are 1.3 slots a key (as many as the first paper takes) and 384 more, in three equal thirds; peeling stops to work below
1.222. By the second paper's fit to its experiments, a core that grows with the set then has probability below 2**-40 at every size. Small cores
are solved unless the dense slots do not tell their keys apart: below 2**-40 too (the page of the protocol has the sum). Whoever calls this starts
again with other slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.intersection.oprf import one_way
from federated.intersection.suites import Permutation, Words, blocks
from federated.randomness import Randomness

THIRDS = 3
DENSE = 40
LARGEST_CORE = 1024

Slots = NDArray[np.int32]
Rows = NDArray[np.int32]


@dataclass(frozen=True)
class Layout:
    """A table's slots: three equal thirds, then the dense ones."""

    third: int

    @classmethod
    def of(cls, keys: int) -> Layout:
        """The layout for at most so many keys."""
        return cls(-(-(13 * keys + 10 * 384) // (THIRDS * 10)))

    @property
    def sparse(self) -> int:
        """The slots of the thirds."""
        return THIRDS * self.third

    @property
    def slots(self) -> int:
        """All slots."""
        return self.sparse + DENSE


@dataclass(frozen=True)
class Lines:
    """What keys name: three slots each, (keys, 3), and the dense slots as bits, (keys, 5) bytes."""

    slots: Slots
    dense: NDArray[np.uint8]

    @classmethod
    def of(cls, keys: Words, layout: Layout, permutations: Sequence[Permutation]) -> Lines:
        """The lines of keys (keys, 2), from two permutations of this attempt's own."""
        first, second = (one_way(permutation, keys) for permutation in permutations)
        third = np.uint64(layout.third)
        places = (first.view(np.uint32)[:, :THIRDS].astype(np.uint64) * third) >> np.uint64(32)
        places += third * np.arange(THIRDS, dtype=np.uint64)
        return cls(places.astype(np.int32), second.view(np.uint8)[:, : DENSE // 8].copy())

    def __len__(self) -> int:
        return len(self.slots)

    def take(self, rows: Rows | slice) -> Lines:
        """Some keys' lines."""
        return Lines(self.slots[rows], self.dense[rows])


def decode(table: Words, lines: Lines) -> Words:
    """What keys decode to: (keys, words) from a table of (slots, words)."""
    out, dense = np.empty((len(lines), table.shape[1]), np.uint64), _Dense(table)
    for block in blocks(len(lines)):
        some = lines.take(block)
        out[block] = _sparse(table, some.slots)
        dense.add(out[block], some.dense)
    return out


def _sparse(table: Words, slots: Slots) -> Words:
    out = table[slots[:, 0]]
    for place in range(1, THIRDS):
        out ^= table[slots[:, place]]
    return out


class _Dense:
    """Sums of a table's dense slots, eight slots at a time from a table of all 256 sums."""

    def __init__(self, table: Words) -> None:
        self._sums = []
        for start in range(len(table) - DENSE, len(table), 8):
            sums = np.zeros((1, table.shape[1]), np.uint64)
            for slot in table[start : start + 8]:
                sums = np.concatenate([sums, sums ^ slot])
            self._sums.append(sums)

    def add(self, values: Words, named: NDArray[np.uint8]) -> None:
        for sums, index in zip(self._sums, named.T, strict=True):
            values ^= sums[index]


# --- Solving ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Core:
    """Keys that peeling leaves, their own slots, and which keys' misses each slot is mended by (keys, keys)."""

    keys: Rows
    own: Rows
    mended: NDArray[np.bool_]


@dataclass(frozen=True)
class Solver:
    """The order in which keys are mended, and each one's own slot; for one set of lines."""

    layout: Layout
    lines: Lines
    core: Core
    rounds: tuple[tuple[Rows, Rows], ...]  # of peeling, first to last: keys, own slots

    @classmethod
    def of(cls, layout: Layout, lines: Lines) -> Solver | None:
        """Peel, and solve what remains; ``None`` if the equations depend on one another, or too many keys remain."""
        rounds, left = _peel(layout, lines.slots)
        core = _core(layout, lines.take(left), left)
        return None if core is None else cls(layout, lines, core, tuple(rounds))

    def encode(self, values: Words, randomness: Randomness) -> Words:
        """A table, (slots, words), from which the keys decode to ``values`` (keys, words); uniform if they are."""
        table = randomness.words(self.layout.slots, values.shape[1])
        self._mend_core(table, values)
        dense = _Dense(table)
        for keys, own in reversed(self.rounds):
            for block in blocks(len(keys)):
                some, slots = keys[block], own[block]
                missed = values[some]
                missed ^= _sparse(table, self.lines.slots[some])
                dense.add(missed, self.lines.dense[some])
                table[slots] ^= missed
        return table

    def _mend_core(self, table: Words, values: Words) -> None:
        core = self.core
        missed = values[core.keys] ^ decode(table, self.lines.take(core.keys))
        for slot, which in zip(core.own, core.mended, strict=True):
            table[slot] ^= np.bitwise_xor.reduce(missed[which], axis=0)


def _peel(layout: Layout, slots: Slots) -> tuple[list[tuple[Rows, Rows]], Rows]:
    """The rounds of peeling, and the keys that no round takes."""
    flat = slots.reshape(-1)
    count = np.bincount(flat, minlength=layout.sparse).astype(np.int32)
    total = np.zeros(layout.sparse, np.int32)  # of the numbers of the keys that name a slot, wrapping: where there is one, it is that key's
    np.add.at(total, flat, np.repeat(np.arange(len(slots), dtype=np.int32), THIRDS))
    last = np.full(len(slots), -1, np.int32)
    alone, rounds = np.flatnonzero(count == 1).astype(np.int32), list[tuple[Rows, Rows]]()
    while len(alone):
        keys, turns = total[alone], np.arange(len(alone), dtype=np.int32)
        last[keys] = turns
        chosen = last[keys] == turns  # a key that has several slots alone, or one twice here, gets one of them
        keys, own = keys[chosen], alone[chosen]
        rounds.append((keys, own))
        named = slots[keys].reshape(-1)
        np.subtract.at(count, named, 1)
        np.subtract.at(total, named, np.repeat(keys, THIRDS))
        alone = named[count[named] == 1]
    return rounds, np.flatnonzero(last < 0).astype(np.int32)


def _core(layout: Layout, lines: Lines, keys: Rows) -> Core | None:
    """Gauss and Jordan over the core's lines, as whole numbers: bit c is column c, and the bits above tell which lines have been summed."""
    if len(keys) > LARGEST_CORE:
        return None
    columns = np.concatenate([np.unique(lines.slots), np.arange(layout.sparse, layout.slots)]).astype(np.int32)
    width = len(columns)
    rows = [1 << (width + number) for number in range(len(keys))]
    for number, (slots, dense) in enumerate(zip(np.searchsorted(columns, lines.slots).tolist(), lines.dense, strict=True)):
        rows[number] |= sum(1 << place for place in slots) | int.from_bytes(dense.tobytes(), "little") << (width - DENSE)
    own = []
    for number in range(len(keys)):
        row = rows[number]
        line = row & ((1 << width) - 1)
        if not line:
            return None
        pivot = line & -line  # the lowest: sparse slots before dense ones
        own.append(pivot.bit_length() - 1)
        rows = [equation ^ row if other != number and equation & pivot else equation for other, equation in enumerate(rows)]
    return Core(keys, columns[np.array(own, np.int32)], _bits([row >> width for row in rows], len(keys)))


def _bits(numbers: Sequence[int], width: int) -> NDArray[Any]:
    size = -(-width // 8)
    packed = np.frombuffer(b"".join(number.to_bytes(size, "little") for number in numbers), np.uint8).reshape(len(numbers), size)
    return np.unpackbits(packed, axis=1, count=width, bitorder="little").astype(np.bool_)
