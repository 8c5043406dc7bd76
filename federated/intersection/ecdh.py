"""Intersection by Diffie and Hellman's commuting exponents (Meadows 1986; Huberman, Franklin, Hogg 1999), for small sets, and its size alone.

The receiver sends a·P for each of its tags' group elements P, the sender gives back b·a·P, and the receiver takes its own exponent off again: b·P.
The sender also sends a hash of b·P for each of its own tags, sorted. In the variant for the size the sender gives the receiver's elements back
sorted, so that the receiver cannot tell which row each belongs to. Padding is random elements and random hashes.
"""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray

from federated.channel import Channel
from federated.intersection.base_ot import checked
from federated.intersection.identifiers import locate
from federated.intersection.pair import Pair
from federated.intersection.suites import Suite, Words

_SENT = 1 << 16  # elements in one message


async def find(pair: Pair, ids: NDArray[np.bytes_], *, size_only: bool) -> tuple[Words, NDArray[np.bool_]]:
    """The receiver's side: its rows' tags, and whether the sender has them too; for the size alone, in an order that belongs to no row.

    Raises:
        BadInput: ``ids_repeat``; PeerFault: ``point_invalid``, ``message_malformed``.
    """
    group, tags = pair.suite.group, await asyncio.to_thread(pair.tagging.tags, ids)
    secret = group.scalar(pair.randomness.child("exponent"))
    padding = pair.randomness.child("padding").words(pair.own_rows - len(tags), 2)
    blinded = await asyncio.to_thread(lambda: group.times(secret, group.hash_to(_values(np.concatenate([tags, padding])))))
    await _send(pair.channel, "intersection/blinded", blinded)
    raised = await _receive(pair, "intersection/raised", pair.own_rows)
    back = group.inverse(secret)
    own = await checked(pair.channel.peer, lambda: _hashes(pair.suite, pair.value, group.times(back, raised)))
    theirs = (await pair.channel.receive("intersection/hashes")).array("hashes", "uint64", [pair.peer_rows, 2])
    found = locate(theirs, own) >= 0
    return tags, found if size_only else found[: len(tags)]


async def serve(pair: Pair, ids: NDArray[np.bytes_], *, size_only: bool) -> Words:
    """The sender's side: its rows' tags.

    Raises:
        BadInput: ``ids_repeat``; PeerFault: ``point_invalid``, ``message_malformed``.
    """
    group, tags = pair.suite.group, await asyncio.to_thread(pair.tagging.tags, ids)
    secret = group.scalar(pair.randomness.child("exponent"))
    own = await asyncio.to_thread(lambda: _hashes(pair.suite, pair.value, group.times(secret, group.hash_to(_values(tags)))))
    blinded = await _receive(pair, "intersection/blinded", pair.peer_rows)
    raised = await checked(pair.channel.peer, lambda: group.times(secret, blinded))
    await _send(pair.channel, "intersection/raised", sorted(raised) if size_only else raised)
    padding = pair.randomness.child("padding").words(pair.own_rows - len(own), 2)
    padded = np.concatenate([own, padding])
    await pair.channel.send("intersection/hashes", hashes=padded[np.argsort(padded[:, 0])])
    return tags


def _values(tags: Words) -> list[bytes]:
    return [tag.tobytes() for tag in tags]


def _hashes(suite: Suite, value: bytes, points: list[bytes]) -> Words:
    digests = [suite.digest(b"qiaolian.psi.v1/ecdh", value, point)[:16] for point in points]
    return np.frombuffer(b"".join(digests), np.uint64).reshape(len(points), 2)


async def _send(channel: Channel, kind: str, points: list[bytes]) -> None:
    for start in range(0, len(points), _SENT):
        piece = points[start : start + _SENT]
        await channel.send(kind, points=np.frombuffer(b"".join(piece), np.uint8).reshape(len(piece), -1))


async def _receive(pair: Pair, kind: str, count: int) -> list[bytes]:
    points: list[bytes] = []
    for start in range(0, count, _SENT):
        shape = [min(_SENT, count - start), pair.suite.group.width]
        points += [point.tobytes() for point in (await pair.channel.receive(kind)).array("points", "uint8", shape)]
    return points
