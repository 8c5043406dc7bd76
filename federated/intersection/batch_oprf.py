"""The batched oblivious pseudo-random function of KKRT16 (``oprf``), over cuckoo bins.

The receiver, whose bin j holds the tag x, gets F(j, x) and nothing else of F. The sender can
compute F(j, y) of any tag y, and does not learn what the bins hold, nor which of them are empty.
The bins are processed in three parts, one for each hash function. For each part the receiver sends
its matrix u in blocks of rows; the sender sends nothing back. ``kkrt`` compares values of F;
``opprf`` uses them as keys.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.errors import Conflict
from federated.intersection import cuckoo
from federated.intersection.base_ot import Seeds, receive_seeds
from federated.intersection.cuckoo import Bins
from federated.intersection.handshake import PsiSession
from federated.intersection.identifiers import Tagging
from federated.intersection.oprf import (
    CODE_WORDS,
    INPUT_WORDS,
    OprfFunction,
    PrgColumns,
    hash_inputs,
)
from federated.intersection.suites import Words, blocks
from federated.intersection.transpose import transpose
from federated.randomness import Randomness

MAX_ATTEMPTS = 8  # at cuckoo hashing


# --- Receiver -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Placement:
    """The receiver's rows in bins.

    ``attempt``: the attempt at cuckoo hashing that placed all rows; ``tags``: their tags in it;
    ``row_of_bin``: the row in each bin, (3, part), -1 in an empty one.
    """

    attempt: int
    tags: Words
    row_of_bin: Bins


def place_rows(
    tagging: Tagging,
    ids: NDArray[np.bytes_],
    part: int,
    randomness: Randomness,
) -> Placement:
    """Place the rows into bins; after a failure with new tags, hence other bins.

    Raises:
        Conflict: ``hashing_failed`` after ``MAX_ATTEMPTS`` attempts; BadInput: ``ids_repeat``.
    """
    for attempt in range(MAX_ATTEMPTS):
        tags = tagging.tags(ids, attempt)
        row_of_bin = cuckoo.place(
            cuckoo.bins_of(tags, part),
            part,
            randomness.child(f"cuckoo/{attempt}"),
        )
        if row_of_bin is not None:
            return Placement(attempt, tags, row_of_bin)
    raise Conflict(
        "hashing_failed",
        f"Cuckoo hashing has failed {MAX_ATTEMPTS} times.",
        hint="Run the job again; it draws new keys.",
    )


class BatchOprfReceiver:
    """The receiver's state while it sends the parts of u."""

    def __init__(self, psi: PsiSession, placed: Placement, seeds: tuple[Seeds, Seeds]) -> None:
        self._psi, self._placed, self._part = psi, placed, placed.row_of_bin.shape[1]
        self._columns = [PrgColumns(psi.suite, seed) for seed in seeds]
        self._function = OprfFunction(psi.suite, psi.value)

    async def send_part(self, number: int) -> Words:
        """Send u of one part; return F of its full bins, in their order, (full bins, 2)."""
        values = []
        for block in blocks(self._part):
            u, block_values = await asyncio.to_thread(self._make, number, block)
            values.append(block_values)
            await self._psi.channel.send("intersection/u", rows=u)
        return np.concatenate(values)

    def _make(self, number: int, block: slice) -> tuple[Words, Words]:
        first, second = (column.take(block.stop - block.start) for column in self._columns)
        second ^= first
        t, u = transpose(first), transpose(second)
        rows = self._placed.row_of_bin[number, block]
        full = np.flatnonzero(rows >= 0)
        # Empty bins have the code 0, hidden like any other by the column that the sender did not
        # choose.
        u[full] ^= self._function.codes(self._placed.tags[rows[full]])[:, 1:]
        return u, self._function.masks(hash_inputs(number * self._part + block.start, t)[full])


# --- Sender ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SenderSecret:
    """The sender's secret s of ``CODE_BITS`` bits, and the seeds that it selects."""

    words: Words
    seeds: Seeds

    @classmethod
    async def draw(cls, psi: PsiSession) -> SenderSecret:
        """Draw s and receive the seeds it selects from the peer.

        Raises:
            PeerFault: ``point_invalid``, ``message_malformed``.
        """
        words = psi.randomness.child("secret").words(CODE_WORDS)
        choices = np.unpackbits(words.view(np.uint8), bitorder="little")
        return cls(
            words,
            await receive_seeds(
                psi.channel,
                psi.suite,
                psi.value,
                choices,
                psi.randomness.child("transfers"),
            ),
        )


class BatchOprfSender:
    """The sender's state while the receiver's parts arrive."""

    def __init__(self, psi: PsiSession, tags: Words, secret: SenderSecret) -> None:
        self._psi, self._tags, self._secret = psi, tags, secret.words
        self._part = cuckoo.bins_in_part(psi.peer_rows)
        self._columns = PrgColumns(psi.suite, secret.seeds)
        self._function = OprfFunction(psi.suite, psi.value)
        self._q: Words = np.empty((0, INPUT_WORDS), np.uint64)

    def prepare(self) -> None:
        """Compute every row's bins, and its code masked by the secret."""
        self.bins = cuckoo.bins_of(self._tags, self._part)
        self._codes = self._function.codes(self._tags)
        self._codes[:, 1:] &= self._secret

    async def receive_part(self, number: int) -> None:
        """Receive u of one part, and compute q of each of its bins."""
        q = np.empty((self._part, INPUT_WORDS), np.uint64)
        for block in blocks(self._part):
            message = await self._psi.channel.receive("intersection/u")
            u = message.array("rows", "uint64", [block.stop - block.start, CODE_WORDS])
            q[block] = await asyncio.to_thread(self._rows, number * self._part + block.start, u)
        self._q = q

    def _rows(self, first_bin: int, u: Words) -> Words:
        rows = transpose(self._columns.take(len(u)))
        rows ^= u & self._secret
        return hash_inputs(first_bin, rows)

    def values(self, number: int, out: Words) -> None:
        """Write F of every row, in its bin of the last part received, to ``out``, (rows, 2)."""
        for block in blocks(len(self._tags)):
            out[block] = self._function.masks(
                self._q[self.bins[number, block]] ^ self._codes[block],
            )
