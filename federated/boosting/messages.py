"""Messages of a joint forest, with what the receiver requires of each. Ciphertexts are checked here, before the library sees one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from federated.boosting.he import Ciphertexts, PublicKey, Scheme
from federated.boosting.trees import Frontier
from federated.channel import Channel, Message
from federated.errors import PeerFault

GRADIENTS, SUMS = "he/gradients", "he/sums"
"""A library draws the randomness of these: a replay does not compare them."""

_BYTES = 8 << 20


def pieces(count: int, scheme: Scheme) -> list[slice]:
    """How ciphertexts are split into messages, at both ends."""
    size = min(scheme.piece, _BYTES // scheme.width)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


async def send_ciphertexts(channel: Channel, kind: str, given: Ciphertexts, scheme: Scheme) -> None:
    """Send ciphertexts in pieces."""
    for piece in pieces(len(given), scheme):
        await channel.send(kind, numbers=given[piece])


async def receive_ciphertexts(channel: Channel, kind: str, count: int, key: PublicKey) -> Ciphertexts:
    """Receive so many ciphertexts; ``PeerFault`` ``message_malformed`` if one is no number between zero and the bound."""
    given = np.empty((count, key.scheme.width), np.uint8)
    for piece in pieces(count, key.scheme):
        message = await channel.receive(kind)
        given[piece] = message.array("numbers", "uint8", [piece.stop - piece.start, key.scheme.width])
        try:
            await asyncio.to_thread(key.check, given[piece])
        except ValueError as error:
            raise malformed(message, str(error)) from error
    return given


async def receive_key(channel: Channel, scheme: Scheme) -> PublicKey:
    """The label party's key; ``PeerFault`` ``key_malformed``."""
    data = (await channel.receive("boosting/key")).blob("key")
    try:
        return await asyncio.to_thread(PublicKey.from_bytes, scheme, data)
    except (ValueError, RuntimeError) as error:
        raise PeerFault("key_malformed", f"{channel.peer}'s key cannot be used: {error}.", peer=channel.peer) from error


def packed(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Bits, eight to a byte."""
    return np.packbits(mask.ravel())


def bits(message: Message, name: str, count: int) -> NDArray[np.bool_]:
    """So many bits; those that fill up the last byte are 0."""
    given = message.array(name, "uint8", [-(-count // 8)])
    unpacked = np.unpackbits(given).astype(np.bool_)
    if unpacked[count:].any():
        raise malformed(message, f"{name} has bits beyond its end")
    return unpacked[:count]


def standing(frontier: Frontier, nodes: Sequence[int]) -> list[NDArray[np.int64]]:
    """The rows of each of these nodes: the order in which the sides of rows are told."""
    return [np.flatnonzero(frontier.node == node) for node in nodes]


def malformed(message: Message, what: str) -> PeerFault:
    """A message that is not what the protocol allows."""
    return PeerFault("message_malformed", f"{message.peer}'s message {message.kind}: {what}.", peer=message.peer)
