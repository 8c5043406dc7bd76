"""KKRT16: the receiver learns which of its rows the sender has too; the sender learns nothing but a padded size.

The sender answers each part of the receiver's bins (``batched``) with one table of masks, one for each of its rows under that part's function,
sorted. The order of messages is fixed so that neither side waits to send to one that waits to send:

    receiver  u0  u1      (reads 0)  u2      (reads 1) (reads 2)
    sender    (reads u0 u1)  masks0  (reads u2)  masks1  masks2
"""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray

from federated.channel import Channel
from federated.errors import PeerFault
from federated.intersection import cuckoo
from federated.intersection.base_ot import Giver
from federated.intersection.batched import ATTEMPTS, Receiver, Secret, Sender, arrange
from federated.intersection.cuckoo import FUNCTIONS
from federated.intersection.identifiers import locate
from federated.intersection.oprf import COLUMNS, mask_width
from federated.intersection.pair import Pair
from federated.intersection.suites import Words, blocks
from federated.randomness import Randomness

_SENT = 1 << 18  # masks in one message


# --- Receiver ---------------------------------------------------------------------------------------------------------------------


async def find(pair: Pair, ids: NDArray[np.bytes_]) -> tuple[Words, NDArray[np.bool_]]:
    """The receiver's side: its rows' tags, and whether the sender has them too.

    Raises:
        BadInput: ``ids_repeat``; Conflict: ``hashing_failed``; PeerFault: ``point_invalid``, ``masks_unsorted``, ``message_malformed``.
    """
    giver = Giver(pair.channel, pair.suite, pair.value, pair.randomness.child("transfers"))
    await giver.start()
    part = cuckoo.bins_in_part(pair.own_rows)
    placed = await asyncio.to_thread(arrange, pair.tagging, ids, part, pair.randomness)
    await pair.channel.send("intersection/bins", attempt=placed.attempt)
    receiver, width = Receiver(pair, placed, await giver.finish(COLUMNS)), mask_width(pair.peer_rows, pair.own_rows)
    found = np.zeros(len(ids), np.bool_)
    ahead = await receiver.send_part(0)
    for number, held in enumerate(placed.holder):
        own = cut(ahead, width)
        if number + 1 < FUNCTIONS:
            ahead = await receiver.send_part(number + 1)
        theirs = await _receive_masks(pair.channel, pair.peer_rows, width)
        found[held[held >= 0]] = await asyncio.to_thread(_within, theirs, own)
    return placed.tags, found


def _within(theirs: Words, own: Words) -> NDArray[np.bool_]:
    return locate(theirs, own) >= 0


async def _receive_masks(channel: Channel, rows: int, width: int) -> Words:
    out = np.zeros((rows, 2), np.uint64)
    for piece in blocks(rows, _SENT):
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
    secret = await Secret.draw(pair)
    tags = await asyncio.to_thread(pair.tagging.tags, ids)
    attempt = (await pair.channel.receive("intersection/bins")).integer("attempt", most=ATTEMPTS - 1)
    if attempt:
        tags = await asyncio.to_thread(pair.tagging.tags, ids, attempt)
    sender, dummies = Sender(pair, tags, secret), pair.randomness.child("dummies")
    await asyncio.to_thread(sender.prepare)
    await sender.receive_part(0)
    for number in range(FUNCTIONS):
        masks = await asyncio.to_thread(_masks, sender, number, len(ids), pair.own_rows, dummies)
        if number + 1 < FUNCTIONS:
            await sender.receive_part(number + 1)
        await _send_masks(pair.channel, masks, mask_width(pair.own_rows, pair.peer_rows))
    return tags


def _masks(sender: Sender, number: int, rows: int, padded: int, dummies: Randomness) -> Words:
    """The masks of all rows under one hash function, random ones up to the padded size, sorted: (padded, 2)."""
    out = np.empty((padded, 2), np.uint64)
    sender.values(number, out[:rows])
    out[rows:] = dummies.words(padded - rows, 2)
    return out[np.argsort(out[:, 0])]


async def _send_masks(channel: Channel, masks: Words, width: int) -> None:
    for piece in blocks(len(masks), _SENT):
        tails = np.ascontiguousarray(masks[piece, 1:]).view(np.uint8)[:, : width - 8]
        await channel.send("intersection/masks", heads=masks[piece, 0], tails=tails)


# --- Both -------------------------------------------------------------------------------------------------------------------------


def cut(masks: Words, width: int) -> Words:
    """Masks (rows, 2) with the bytes above a width of 8 to 16 set to zero."""
    masks[:, 1] &= np.uint64((1 << (8 * (width - 8))) - 1)
    return masks
