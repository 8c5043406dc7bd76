"""KKRT16: the receiver learns which of its rows the sender has too; the sender learns nothing but a padded size.

The bins are worked on in three parts, one for each hash function. For each part the receiver sends its matrix u in blocks of rows as they are
made, and the sender answers with one table of masks, one for each of its rows under that function, sorted. The order of messages is fixed so
that neither side waits to send to one that waits to send:

    receiver  u0  u1      (reads 0)  u2      (reads 1) (reads 2)
    sender    (reads u0 u1)  masks0  (reads u2)  masks1  masks2
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.channel import Channel
from federated.errors import Conflict, PeerFault
from federated.intersection import cuckoo
from federated.intersection.base_ot import Giver, Seeds, choose
from federated.intersection.cuckoo import FUNCTIONS, Bins
from federated.intersection.identifiers import locate, tags_of
from federated.intersection.oprf import COLUMNS, SLOTS, WORDS, Columns, Function, arguments, mask_width
from federated.intersection.pair import Pair
from federated.intersection.suites import Words
from federated.intersection.transpose import transpose

ATTEMPTS = 8  # at cuckoo hashing
_BLOCK = 1 << 15  # bins worked on at once: 448 columns of 4 KiB stay in the cache
_SENT = 1 << 18  # masks in one message


# --- Receiver ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Placement:
    """The receiver's rows in bins: the attempt that placed them all, their tags, and the row each bin holds (3, part)."""

    attempt: int
    tags: Words
    holder: Bins


async def find(pair: Pair, ids: NDArray[np.bytes_]) -> tuple[Words, NDArray[np.bool_]]:
    """The receiver's side: its rows' tags, and whether the sender has them too.

    Raises:
        BadInput: ``ids_repeat``; Conflict: ``hashing_failed``; PeerFault: ``point_invalid``, ``masks_unsorted``, ``message_malformed``.
    """
    giver = Giver(pair.channel, pair.suite, pair.value, pair.randomness.child("transfers"))
    await giver.start()
    part = cuckoo.bins_in_part(pair.own_rows)
    placed = await asyncio.to_thread(arrange, pair, ids, part)
    await pair.channel.send("intersection/bins", attempt=placed.attempt)
    receiver = Receiver(pair, placed, part, await giver.finish(COLUMNS))
    await receiver.send_part(0)
    for number in range(FUNCTIONS):
        if number + 1 < FUNCTIONS:
            await receiver.send_part(number + 1)
        await receiver.match_part(number)
    return placed.tags, receiver.found


def arrange(pair: Pair, ids: NDArray[np.bytes_], part: int) -> Placement:
    """Put the rows into bins; new tags, hence new bins, after a failure. ``hashing_failed`` when all attempts have failed."""
    for attempt in range(ATTEMPTS):
        tags = tags_of(ids, pair.width, pair.suite, pair.key(attempt))
        holder = cuckoo.place(cuckoo.bins_of(tags, part), part, pair.randomness.child(f"cuckoo/{attempt}"))
        if holder is not None:
            return Placement(attempt, tags, holder)
    raise Conflict("hashing_failed", f"Cuckoo hashing has failed {ATTEMPTS} times.", hint="Run the job again; it draws new keys.")


class Receiver:
    """The receiver's state while parts go out and masks come in. ``found``: for each row, whether a mask has matched."""

    def __init__(self, pair: Pair, placed: Placement, part: int, seeds: tuple[Seeds, Seeds]) -> None:
        self._pair, self._placed, self._part = pair, placed, part
        self._columns = [Columns(pair.suite, each) for each in seeds]
        self._function = Function(pair.suite, pair.value)
        self._masks: dict[int, list[Words]] = {}
        self.found = np.zeros(len(placed.tags), np.bool_)

    async def send_part(self, number: int) -> None:
        """Make and send u of one part, and keep the masks of its rows."""
        self._masks[number] = []
        for block in _blocks(self._part):
            u, masks = await asyncio.to_thread(self._make, number, block)
            self._masks[number].append(masks)
            await self._pair.channel.send("intersection/u", rows=u)

    def _make(self, number: int, block: slice) -> tuple[Words, Words]:
        first, second = (each.take(block.stop - block.start) for each in self._columns)
        second ^= first
        t, u = transpose(first), transpose(second)
        held = self._placed.holder[number, block]
        full = np.flatnonzero(held >= 0)
        # Empty bins get the code 0: the column of each pair that the sender does not know hides it like any other.
        u[full] ^= self._function.codes(self._placed.tags[held[full]])[:, 1:]
        return u, self._function.masks(arguments(number * self._part + block.start, t)[full])

    async def match_part(self, number: int) -> None:
        """Receive the sender's masks of one part, and compare."""
        width = mask_width(self._pair.peer_rows, self._pair.own_rows)
        own = cut(np.concatenate(self._masks.pop(number)), width)
        theirs = await _receive_masks(self._pair.channel, self._pair.peer_rows, width)
        held = self._placed.holder[number]
        self.found[held[held >= 0]] = await asyncio.to_thread(lambda: locate(theirs, own) >= 0)


async def _receive_masks(channel: Channel, rows: int, width: int) -> Words:
    out = np.zeros((rows, 2), np.uint64)
    for piece in _blocks(rows, _SENT):
        message, count = await channel.receive("intersection/masks"), piece.stop - piece.start
        out[piece, 0] = message.array("heads", "uint64", [count])
        out[piece, 1:].view(np.uint8)[:, : width - 8] = message.array("tails", "uint8", [count, width - 8])
    if not (out[1:, 0] >= out[:-1, 0]).all():
        raise PeerFault("masks_unsorted", f"{channel.peer}'s masks are not sorted.", peer=channel.peer)
    return out


# --- Sender -----------------------------------------------------------------------------------------------------------------------


async def serve(pair: Pair, ids: NDArray[np.bytes_]) -> Words:
    """The sender's side: its rows' tags.

    Raises:
        BadInput: ``ids_repeat``; PeerFault: ``point_invalid``, ``message_malformed``.
    """
    secret = pair.randomness.child("secret").words(WORDS)
    choices = np.unpackbits(secret.view(np.uint8), bitorder="little")
    seeds = await choose(pair.channel, pair.suite, pair.value, choices, pair.randomness.child("transfers"))
    tags = await asyncio.to_thread(tags_of, ids, pair.width, pair.suite, pair.key())
    attempt = (await pair.channel.receive("intersection/bins")).integer("attempt", most=ATTEMPTS - 1)
    if attempt:
        tags = await asyncio.to_thread(tags_of, ids, pair.width, pair.suite, pair.key(attempt))
    sender = Sender(pair, tags, secret, seeds)
    await asyncio.to_thread(sender.prepare)
    await sender.receive_part(0)
    for number in range(FUNCTIONS):
        masks = await asyncio.to_thread(sender.masks, number)
        if number + 1 < FUNCTIONS:
            await sender.receive_part(number + 1)
        await _send_masks(pair.channel, masks, mask_width(pair.own_rows, pair.peer_rows))
    return tags


class Sender:
    """The sender's state while parts come in and masks go out."""

    def __init__(self, pair: Pair, tags: Words, secret: Words, seeds: Seeds) -> None:
        self._pair, self._tags, self._secret = pair, tags, secret
        self._part = cuckoo.bins_in_part(pair.peer_rows)
        self._columns = Columns(pair.suite, seeds)
        self._function = Function(pair.suite, pair.value)
        self._dummies = pair.randomness.child("dummies")
        self._q: Words = np.empty((0, SLOTS), np.uint64)

    def prepare(self) -> None:
        """Compute every row's bins, and its code under the secret."""
        self._bins = cuckoo.bins_of(self._tags, self._part)
        self._codes = self._function.codes(self._tags)
        self._codes[:, 1:] &= self._secret

    async def receive_part(self, number: int) -> None:
        """Receive u of one part; q for each of its bins."""
        q = np.empty((self._part, SLOTS), np.uint64)
        for block in _blocks(self._part):
            message = await self._pair.channel.receive("intersection/u")
            u = message.array("rows", "uint64", [block.stop - block.start, WORDS])
            q[block] = await asyncio.to_thread(self._rows, number * self._part + block.start, u)
        self._q = q

    def _rows(self, first_bin: int, u: Words) -> Words:
        rows = transpose(self._columns.take(len(u)))
        rows ^= u & self._secret
        return arguments(first_bin, rows)

    def masks(self, number: int) -> Words:
        """The masks of all rows under one hash function, random ones up to the padded size, sorted: (own_rows, 2)."""
        out = np.empty((self._pair.own_rows, 2), np.uint64)
        for block in _blocks(len(self._tags)):
            out[block] = self._function.masks(self._q[self._bins[number, block]] ^ self._codes[block])
        out[len(self._tags) :] = self._dummies.words(self._pair.own_rows - len(self._tags), 2)
        return out[np.argsort(out[:, 0])]


async def _send_masks(channel: Channel, masks: Words, width: int) -> None:
    for piece in _blocks(len(masks), _SENT):
        tails = np.ascontiguousarray(masks[piece, 1:]).view(np.uint8)[:, : width - 8]
        await channel.send("intersection/masks", heads=masks[piece, 0], tails=tails)


# --- Both -------------------------------------------------------------------------------------------------------------------------


def cut(masks: Words, width: int) -> Words:
    """Masks (rows, 2) with the bytes above a width of 8 to 16 set to zero."""
    masks[:, 1] &= np.uint64((1 << (8 * (width - 8))) - 1)
    return masks


def _blocks(rows: int, size: int = _BLOCK) -> Iterator[slice]:
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
