"""KKRT16's oblivious pseudo-random function over many bins, between two parties.

The receiver, whose bin j holds the tag x, gets F(j, x) and nothing else of F; the sender can compute F(j, y) of any tag y and learns nothing of
what the bins hold, not even which of them are full. The bins are worked on in three parts, one for each hash function. For each part the receiver
sends its matrix u, in blocks of rows as they are made; nothing comes back. ``kkrt`` compares values of F; ``programmed`` gives them a meaning.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.errors import Conflict
from federated.intersection import cuckoo
from federated.intersection.base_ot import Seeds, choose
from federated.intersection.cuckoo import Bins
from federated.intersection.identifiers import Tagging
from federated.intersection.oprf import SLOTS, WORDS, Columns, Function, arguments
from federated.intersection.pair import Pair
from federated.intersection.suites import Words, blocks
from federated.intersection.transpose import transpose
from federated.randomness import Randomness

ATTEMPTS = 8  # at cuckoo hashing


# --- Receiver ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Placement:
    """The receiver's rows in bins: the attempt that placed them all, their tags, and the row each bin holds (3, part)."""

    attempt: int
    tags: Words
    holder: Bins


def arrange(tagging: Tagging, ids: NDArray[np.bytes_], part: int, randomness: Randomness) -> Placement:
    """Put the rows into bins; new tags, hence new bins, after a failure. ``hashing_failed`` when all attempts have failed."""
    for attempt in range(ATTEMPTS):
        tags = tagging.tags(ids, attempt)
        holder = cuckoo.place(cuckoo.bins_of(tags, part), part, randomness.child(f"cuckoo/{attempt}"))
        if holder is not None:
            return Placement(attempt, tags, holder)
    raise Conflict("hashing_failed", f"Cuckoo hashing has failed {ATTEMPTS} times.", hint="Run the job again; it draws new keys.")


class Receiver:
    """The receiver's state while its parts go out."""

    def __init__(self, pair: Pair, placed: Placement, seeds: tuple[Seeds, Seeds]) -> None:
        self._pair, self._placed, self._part = pair, placed, placed.holder.shape[1]
        self._columns = [Columns(pair.suite, seed) for seed in seeds]
        self._function = Function(pair.suite, pair.value)

    async def send_part(self, number: int) -> Words:
        """Make and send u of one part; F of its full bins, in their order: (full, 2)."""
        values = []
        for block in blocks(self._part):
            u, some = await asyncio.to_thread(self._make, number, block)
            values.append(some)
            await self._pair.channel.send("intersection/u", rows=u)
        return np.concatenate(values)

    def _make(self, number: int, block: slice) -> tuple[Words, Words]:
        first, second = (column.take(block.stop - block.start) for column in self._columns)
        second ^= first
        t, u = transpose(first), transpose(second)
        held = self._placed.holder[number, block]
        full = np.flatnonzero(held >= 0)
        # Empty bins get the code 0: the column of each pair that the sender does not know hides it like any other.
        u[full] ^= self._function.codes(self._placed.tags[held[full]])[:, 1:]
        return u, self._function.masks(arguments(number * self._part + block.start, t)[full])


# --- Sender -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Secret:
    """The sender's secret s, and the seeds that its bits have chosen."""

    words: Words
    seeds: Seeds

    @classmethod
    async def draw(cls, pair: Pair) -> Secret:
        """Draw s and choose by it, while the receiver gives; ``point_invalid``."""
        words = pair.randomness.child("secret").words(WORDS)
        choices = np.unpackbits(words.view(np.uint8), bitorder="little")
        return cls(words, await choose(pair.channel, pair.suite, pair.value, choices, pair.randomness.child("transfers")))


class Sender:
    """The sender's state while the receiver's parts come in."""

    def __init__(self, pair: Pair, tags: Words, secret: Secret) -> None:
        self._pair, self._tags, self._secret = pair, tags, secret.words
        self._part = cuckoo.bins_in_part(pair.peer_rows)
        self._columns = Columns(pair.suite, secret.seeds)
        self._function = Function(pair.suite, pair.value)
        self._q: Words = np.empty((0, SLOTS), np.uint64)

    def prepare(self) -> None:
        """Compute every row's bins, and its code under the secret."""
        self.bins = cuckoo.bins_of(self._tags, self._part)
        self._codes = self._function.codes(self._tags)
        self._codes[:, 1:] &= self._secret

    async def receive_part(self, number: int) -> None:
        """Receive u of one part; q for each of its bins."""
        q = np.empty((self._part, SLOTS), np.uint64)
        for block in blocks(self._part):
            message = await self._pair.channel.receive("intersection/u")
            u = message.array("rows", "uint64", [block.stop - block.start, WORDS])
            q[block] = await asyncio.to_thread(self._rows, number * self._part + block.start, u)
        self._q = q

    def _rows(self, first_bin: int, u: Words) -> Words:
        rows = transpose(self._columns.take(len(u)))
        rows ^= u & self._secret
        return arguments(first_bin, rows)

    def values(self, number: int, out: Words) -> None:
        """F of every row in its bin of the part received last, into (rows, 2)."""
        for block in blocks(len(self._tags)):
            out[block] = self._function.masks(self._q[self.bins[number, block]] ^ self._codes[block])
