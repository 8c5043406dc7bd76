"""An oblivious key-value store (OKVS): a table from which each key decodes to its value.

The table shows nothing of the keys. A key's value is the XOR of three slots of the table, one in
each of its thirds, and of those of the last ``DENSE`` slots that the key selects (Garimella,
Pinkas, Rosulek, Trieu, Yanai, CRYPTO 2021; dense slots as in Raghuraman and Rindal, CCS 2022). A
table for given keys and values thus solves a system of linear equations. Keys are 128-bit values of
a pseudo-random function; so are the slots that they select.

**Encoding.** Peeling: a slot that only one key selects becomes that key's pivot; the key is
removed, and so on, all such keys of a round at once. What remains is a small core, mostly two keys
with the same three slots, solved by Gauss-Jordan elimination with the dense slots. The table starts
random; each key's pivot is then set so that the key decodes to its value, the core first, then the
peeled keys from the last round to the first. The order depends on the keys alone and serves any
number of tables.

**Obliviousness.** If the equations are independent and the values are uniform to whoever sees the
table, the table is uniform: free slots are random, pivots are random slots corrected by uniform
values. That holds for any number of keys, so that no dummy keys up to a padded size are needed: the
size of the table follows from the padded size.

**Failure.** There are 1.3 slots a key (as in the first paper) and 384 more, in three equal thirds;
the threshold of peeling is 1.222. By the second paper's fit to its experiments, a core that grows
with the set then has probability below 2**-40 at every size. Small cores are solvable unless the
dense slots do not distinguish their keys, also below 2**-40 (``docs/protocols/circuit.md``). The
caller tries again with other slots.
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
MAX_CORE = 1024

Slots = NDArray[np.int32]
Rows = NDArray[np.int32]


@dataclass(frozen=True)
class OkvsLayout:
    """A table's slots: three equal thirds, then the dense ones."""

    third: int

    @classmethod
    def of(cls, keys: int) -> OkvsLayout:
        """Return the layout for at most so many keys."""
        return cls(-(-(13 * keys + 10 * 384) // (THIRDS * 10)))

    @property
    def sparse(self) -> int:
        """The number of slots in the thirds."""
        return THIRDS * self.third

    @property
    def slots(self) -> int:
        """The number of all slots."""
        return self.sparse + DENSE


@dataclass(frozen=True)
class KeySlots:
    """The slots that keys select.

    ``slots``: one in each third, (keys, 3); ``dense``: bits of the dense slots, (keys, 5) bytes.
    """

    slots: Slots
    dense: NDArray[np.uint8]

    @classmethod
    def of(cls, keys: Words, layout: OkvsLayout, permutations: Sequence[Permutation]) -> KeySlots:
        """Return the slots of keys, (keys, 2), from two permutations of this attempt."""
        first, second = (one_way(permutation, keys) for permutation in permutations)
        third = np.uint64(layout.third)
        slots = (first.view(np.uint32)[:, :THIRDS].astype(np.uint64) * third) >> np.uint64(32)
        slots += third * np.arange(THIRDS, dtype=np.uint64)
        return cls(slots.astype(np.int32), second.view(np.uint8)[:, : DENSE // 8].copy())

    def __len__(self) -> int:
        return len(self.slots)

    def take(self, rows: Rows | slice) -> KeySlots:
        """Return the slots of some keys."""
        return KeySlots(self.slots[rows], self.dense[rows])


def decode(table: Words, key_slots: KeySlots) -> Words:
    """Return what keys decode to, (keys, words), in a table of (slots, words)."""
    out, dense = np.empty((len(key_slots), table.shape[1]), np.uint64), _DenseSums(table)
    for block in blocks(len(key_slots)):
        some = key_slots.take(block)
        out[block] = _sparse(table, some.slots)
        dense.add(out[block], some.dense)
    return out


def _sparse(table: Words, slots: Slots) -> Words:
    out = table[slots[:, 0]]
    for index in range(1, THIRDS):
        out ^= table[slots[:, index]]
    return out


class _DenseSums:
    """XORs of a table's dense slots, eight slots at a time from a table of all 256 combinations."""

    def __init__(self, table: Words) -> None:
        self._sums = []
        for start in range(len(table) - DENSE, len(table), 8):
            sums = np.zeros((1, table.shape[1]), np.uint64)
            for slot in table[start : start + 8]:
                sums = np.concatenate([sums, sums ^ slot])
            self._sums.append(sums)

    def add(self, values: Words, selected: NDArray[np.uint8]) -> None:
        for sums, index in zip(self._sums, selected.T, strict=True):
            values ^= sums[index]


# --- Solving --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Core:
    """The keys that peeling leaves over, and the solution of their equations.

    ``pivots``: each key's own slot; ``combined``: for each key, of which keys' residuals the sum
    corrects its pivot, (keys, keys).
    """

    keys: Rows
    pivots: Rows
    combined: NDArray[np.bool_]


@dataclass(frozen=True)
class Solver:
    """The order in which pivots are set, and each key's pivot; for one set of keys."""

    layout: OkvsLayout
    key_slots: KeySlots
    core: Core
    rounds: tuple[tuple[Rows, Rows], ...]  # of peeling, first to last: keys, pivots

    @classmethod
    def of(cls, layout: OkvsLayout, key_slots: KeySlots) -> Solver | None:
        """Peel the keys and solve the core.

        ``None`` if the equations are dependent, or more than ``MAX_CORE`` keys remain.
        """
        rounds, left = _peel(layout, key_slots.slots)
        core = _core(layout, key_slots.take(left), left)
        return None if core is None else cls(layout, key_slots, core, tuple(rounds))

    def encode(self, values: Words, randomness: Randomness) -> Words:
        """Return a table, (slots, words), from which the keys decode to ``values``, (keys, words).

        It is uniform if ``values`` are.
        """
        table = randomness.words(self.layout.slots, values.shape[1])
        self._assign_core(table, values)
        dense = _DenseSums(table)
        for keys, pivots in reversed(self.rounds):
            for block in blocks(len(keys)):
                some, slots = keys[block], pivots[block]
                residual = values[some]
                residual ^= _sparse(table, self.key_slots.slots[some])
                dense.add(residual, self.key_slots.dense[some])
                table[slots] ^= residual
        return table

    def _assign_core(self, table: Words, values: Words) -> None:
        core = self.core
        residual = values[core.keys] ^ decode(table, self.key_slots.take(core.keys))
        for slot, which in zip(core.pivots, core.combined, strict=True):
            table[slot] ^= np.bitwise_xor.reduce(residual[which], axis=0)


def _peel(layout: OkvsLayout, slots: Slots) -> tuple[list[tuple[Rows, Rows]], Rows]:
    """Return the rounds of peeling (keys, pivots), and the keys that no round takes."""
    flat = slots.reshape(-1)
    count = np.bincount(flat, minlength=layout.sparse).astype(np.int32)
    # The sum, wrapping, of the numbers of the keys that select a slot: of a single key its number.
    total = np.zeros(layout.sparse, np.int32)
    np.add.at(total, flat, np.repeat(np.arange(len(slots), dtype=np.int32), THIRDS))
    last = np.full(len(slots), -1, np.int32)
    alone, rounds = np.flatnonzero(count == 1).astype(np.int32), list[tuple[Rows, Rows]]()
    while len(alone):
        keys, turns = total[alone], np.arange(len(alone), dtype=np.int32)
        last[keys] = turns
        chosen = last[keys] == turns  # a key that is alone in several slots gets one of them
        keys, pivots = keys[chosen], alone[chosen]
        rounds.append((keys, pivots))
        released = slots[keys].reshape(-1)
        np.subtract.at(count, released, 1)
        np.subtract.at(total, released, np.repeat(keys, THIRDS))
        alone = released[count[released] == 1]
    return rounds, np.flatnonzero(last < 0).astype(np.int32)


def _core(layout: OkvsLayout, key_slots: KeySlots, keys: Rows) -> Core | None:
    """Solve the core by Gauss-Jordan elimination.

    An equation is one integer: bit c is column c; the bits above say which equations were summed.
    """
    if len(keys) > MAX_CORE:
        return None
    columns = np.concatenate(
        [np.unique(key_slots.slots), np.arange(layout.sparse, layout.slots)],
    ).astype(np.int32)
    width = len(columns)
    rows = [1 << (width + number) for number in range(len(keys))]
    for number, (slots, dense) in enumerate(
        zip(np.searchsorted(columns, key_slots.slots).tolist(), key_slots.dense, strict=True),
    ):
        rows[number] |= sum(1 << column for column in slots) | int.from_bytes(
            dense.tobytes(),
            "little",
        ) << (width - DENSE)
    pivots = []
    for number in range(len(keys)):
        row = rows[number]
        line = row & ((1 << width) - 1)
        if not line:
            return None
        pivot = line & -line  # the lowest: sparse slots before dense ones
        pivots.append(pivot.bit_length() - 1)
        for other, equation in enumerate(rows):
            if other != number and equation & pivot:
                rows[other] = equation ^ row
    return Core(
        keys,
        columns[np.array(pivots, np.int32)],
        _bits([row >> width for row in rows], len(keys)),
    )


def _bits(numbers: Sequence[int], width: int) -> NDArray[Any]:
    size = -(-width // 8)
    packed = np.frombuffer(
        b"".join(number.to_bytes(size, "little") for number in numbers),
        np.uint8,
    ).reshape(len(numbers), size)
    return np.unpackbits(packed, axis=1, count=width, bitorder="little").astype(np.bool_)
