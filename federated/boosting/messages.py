"""Messages of a joint forest and their validation. Ciphertexts are checked here before the library
reads them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from federated.boosting.he import Ciphertexts, PublicKey, Scheme
from federated.boosting.trees import TreeLevel
from federated.channel import Channel, Message
from federated.errors import PeerFault

GRADIENTS, SUMS = "he/gradients", "he/sums"
"""A library draws the randomness of these messages, so a replay does not compare them."""

_BYTES = 8 << 20


def message_slices(count: int, scheme: Scheme) -> list[slice]:
    """Return how ciphertexts are split into messages, at both ends."""
    size = min(scheme.piece, _BYTES // scheme.width)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


async def send_ciphertexts(
    channel: Channel, kind: str, ciphertexts: Ciphertexts, scheme: Scheme
) -> None:
    """Send ciphertexts in several messages."""
    for piece in message_slices(len(ciphertexts), scheme):
        await channel.send(kind, numbers=ciphertexts[piece])


async def receive_ciphertexts(
    channel: Channel, kind: str, count: int, key: PublicKey
) -> Ciphertexts:
    """Receive ``count`` ciphertexts; ``message_malformed`` if one is not between zero and the
    bound.
    """
    ciphertexts = np.empty((count, key.scheme.width), np.uint8)
    for piece in message_slices(count, key.scheme):
        message = await channel.receive(kind)
        ciphertexts[piece] = message.array(
            "numbers", "uint8", [piece.stop - piece.start, key.scheme.width]
        )
        try:
            await asyncio.to_thread(key.check, ciphertexts[piece])
        except ValueError as error:
            raise malformed(message, str(error)) from error
    return ciphertexts


async def receive_key(channel: Channel, scheme: Scheme) -> PublicKey:
    """Receive the label party's key; ``key_malformed``."""
    data = (await channel.receive("boosting/key")).blob("key")
    try:
        return await asyncio.to_thread(PublicKey.from_bytes, scheme, data)
    except (ValueError, RuntimeError) as error:
        raise PeerFault(
            "key_malformed", f"{channel.peer}'s key cannot be used: {error}.", peer=channel.peer
        ) from error


def pack_bits(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Pack bits, eight to a byte."""
    return np.packbits(mask.ravel())


def unpack_bits(message: Message, name: str, count: int) -> NDArray[np.bool_]:
    """Read ``count`` bits; the padding of the last byte must be 0."""
    ciphertexts = message.array(name, "uint8", [-(-count // 8)])
    unpacked = np.unpackbits(ciphertexts).astype(np.bool_)
    if unpacked[count:].any():
        raise malformed(message, f"{name} has bits beyond its end")
    return unpacked[:count]


def rows_of_nodes(frontier: TreeLevel, nodes: Sequence[int]) -> list[NDArray[np.int64]]:
    """Return the rows of each node, in the order in which their sides are sent."""
    return [np.flatnonzero(frontier.node == node) for node in nodes]


def malformed(message: Message, what: str) -> PeerFault:
    """Return the error for a message that violates the protocol."""
    return PeerFault(
        "message_malformed", f"{message.peer}'s message {message.kind}: {what}.", peer=message.peer
    )
