"""PSI by KKRT16 (Kolesnikov, Kumaresan, Rosulek, Trieu, CCS 2016), for large sets.

The receiver learns which of its rows the sender has too; the sender learns a padded size alone. The
sender answers each part of the receiver's bins (``batch_oprf``) with one sorted table of masks, one
mask for each of its rows under that part's hash function. The order of messages is fixed so that
the parties never both wait to send:

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
from federated.intersection.base_ot import OtSender
from federated.intersection.batch_oprf import (
    MAX_ATTEMPTS,
    BatchOprfReceiver,
    BatchOprfSender,
    SenderSecret,
    place_rows,
)
from federated.intersection.cuckoo import FUNCTIONS
from federated.intersection.handshake import PsiSession
from federated.intersection.identifiers import locate
from federated.intersection.oprf import CODE_BITS, mask_width
from federated.intersection.suites import Words, blocks
from federated.randomness import Randomness

_MAX_MASKS = 1 << 18  # in one message


# --- Receiver -------------------------------------------------------------------------------------


async def run_receiver(psi: PsiSession, ids: NDArray[np.bytes_]) -> tuple[Words, NDArray[np.bool_]]:
    """Return this receiver's tags, (rows, 2), and whether the sender has them too, (rows,).

    Raises:
        BadInput: ``ids_repeat``; Conflict: ``hashing_failed``; PeerFault: ``point_invalid``,
            ``masks_unsorted``, ``message_malformed``.
    """
    ot_sender = OtSender(psi.channel, psi.suite, psi.value, psi.randomness.child("transfers"))
    await ot_sender.start()
    part = cuckoo.bins_in_part(psi.own_rows)
    placed = await asyncio.to_thread(place_rows, psi.tagging, ids, part, psi.randomness)
    await psi.channel.send("intersection/bins", attempt=placed.attempt)
    receiver = BatchOprfReceiver(psi, placed, await ot_sender.finish(CODE_BITS))
    width = mask_width(psi.peer_rows, psi.own_rows)
    found = np.zeros(len(ids), np.bool_)
    ahead = await receiver.send_part(0)
    for number, rows in enumerate(placed.row_of_bin):
        own = cut(ahead, width)
        if number + 1 < FUNCTIONS:
            ahead = await receiver.send_part(number + 1)
        theirs = await _receive_masks(psi.channel, psi.peer_rows, width)
        found[rows[rows >= 0]] = await asyncio.to_thread(_within, theirs, own)
    return placed.tags, found


def _within(theirs: Words, own: Words) -> NDArray[np.bool_]:
    return locate(theirs, own) >= 0


async def _receive_masks(channel: Channel, rows: int, width: int) -> Words:
    out = np.zeros((rows, 2), np.uint64)
    for piece in blocks(rows, _MAX_MASKS):
        message, count = await channel.receive("intersection/masks"), piece.stop - piece.start
        out[piece, 0] = message.array("heads", "uint64", [count])
        out[piece, 1:].view(np.uint8)[:, : width - 8] = message.array(
            "tails",
            "uint8",
            [count, width - 8],
        )
    if not (out[1:, 0] >= out[:-1, 0]).all():
        raise PeerFault(
            "masks_unsorted",
            f"{channel.peer}'s masks are not sorted.",
            peer=channel.peer,
        )
    return out


# --- Sender ---------------------------------------------------------------------------------------


async def run_sender(psi: PsiSession, ids: NDArray[np.bytes_]) -> Words:
    """Return this sender's tags, (rows, 2), after answering the receiver.

    Raises:
        BadInput: ``ids_repeat``; PeerFault: ``point_invalid``, ``message_malformed``.
    """
    secret = await SenderSecret.draw(psi)
    tags = await asyncio.to_thread(psi.tagging.tags, ids)
    attempt = (await psi.channel.receive("intersection/bins")).integer(
        "attempt",
        maximum=MAX_ATTEMPTS - 1,
    )
    if attempt:
        tags = await asyncio.to_thread(psi.tagging.tags, ids, attempt)
    sender, dummies = BatchOprfSender(psi, tags, secret), psi.randomness.child("dummies")
    await asyncio.to_thread(sender.prepare)
    await sender.receive_part(0)
    for number in range(FUNCTIONS):
        masks = await asyncio.to_thread(_masks, sender, number, len(ids), psi.own_rows, dummies)
        if number + 1 < FUNCTIONS:
            await sender.receive_part(number + 1)
        await _send_masks(psi.channel, masks, mask_width(psi.own_rows, psi.peer_rows))
    return tags


def _masks(
    sender: BatchOprfSender,
    number: int,
    rows: int,
    padded: int,
    dummies: Randomness,
) -> Words:
    """Return the masks of all rows under one hash function, sorted, (padded, 2).

    Random ones pad them to the padded size.
    """
    out = np.empty((padded, 2), np.uint64)
    sender.values(number, out[:rows])
    out[rows:] = dummies.words(padded - rows, 2)
    return out[np.argsort(out[:, 0])]


async def _send_masks(channel: Channel, masks: Words, width: int) -> None:
    for piece in blocks(len(masks), _MAX_MASKS):
        tails = np.ascontiguousarray(masks[piece, 1:]).view(np.uint8)[:, : width - 8]
        await channel.send("intersection/masks", heads=masks[piece, 0], tails=tails)


# --- Both -----------------------------------------------------------------------------------------


def cut(masks: Words, width: int) -> Words:
    """Return masks, (rows, 2), with the bytes beyond a width of 8 to 16 set to zero."""
    masks[:, 1] &= np.uint64((1 << (8 * (width - 8))) - 1)
    return masks
