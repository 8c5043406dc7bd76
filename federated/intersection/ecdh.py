"""PSI by commuting exponents (Meadows 1986; Huberman, Franklin, Hogg 1999), and PSI cardinality.

For small sets. The receiver sends a·P for the group element P of each of its tags. The sender
returns b·a·P, from which the receiver removes its own exponent: b·P. The sender also sends a hash
of b·P for each of its own tags, sorted. For the cardinality alone the sender returns the receiver's
elements sorted, so that the receiver cannot assign them to its rows. Padding is random elements and
random hashes.
"""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray

from federated.channel import Channel
from federated.intersection.base_ot import checked
from federated.intersection.handshake import PsiSession
from federated.intersection.identifiers import locate
from federated.intersection.suites import Suite, Words

_MAX_ELEMENTS = 1 << 16  # in one message


async def run_receiver(
    psi: PsiSession,
    ids: NDArray[np.bytes_],
    *,
    size_only: bool,
) -> tuple[Words, NDArray[np.bool_]]:
    """Return this receiver's tags, (rows, 2), and whether the sender has them too, (rows,).

    With ``size_only`` the flags are in an order unrelated to the rows; only their number has a
    meaning.

    Raises:
        BadInput: ``ids_repeat``; PeerFault: ``point_invalid``, ``message_malformed``.
    """
    group, tags = psi.suite.group, await asyncio.to_thread(psi.tagging.tags, ids)
    secret = group.scalar(psi.randomness.child("exponent"))
    padding = psi.randomness.child("padding").words(psi.own_rows - len(tags), 2)
    blinded = await asyncio.to_thread(
        lambda: group.times(secret, group.hash_to(_values(np.concatenate([tags, padding])))),
    )
    await _send(psi.channel, "intersection/blinded", blinded)
    raised = await _receive(psi, "intersection/raised", psi.own_rows)
    back = group.inverse(secret)
    own = await checked(
        psi.channel.peer,
        lambda: _hashes(psi.suite, psi.value, group.times(back, raised)),
    )
    theirs = (await psi.channel.receive("intersection/hashes")).array(
        "hashes",
        "uint64",
        [psi.peer_rows, 2],
    )
    found = locate(theirs, own) >= 0
    return tags, found if size_only else found[: len(tags)]


async def run_sender(psi: PsiSession, ids: NDArray[np.bytes_], *, size_only: bool) -> Words:
    """Return this sender's tags, (rows, 2), after answering the receiver.

    Raises:
        BadInput: ``ids_repeat``; PeerFault: ``point_invalid``, ``message_malformed``.
    """
    group, tags = psi.suite.group, await asyncio.to_thread(psi.tagging.tags, ids)
    secret = group.scalar(psi.randomness.child("exponent"))
    own = await asyncio.to_thread(
        lambda: _hashes(psi.suite, psi.value, group.times(secret, group.hash_to(_values(tags)))),
    )
    blinded = await _receive(psi, "intersection/blinded", psi.peer_rows)
    raised = await checked(psi.channel.peer, lambda: group.times(secret, blinded))
    await _send(psi.channel, "intersection/raised", sorted(raised) if size_only else raised)
    padding = psi.randomness.child("padding").words(psi.own_rows - len(own), 2)
    padded = np.concatenate([own, padding])
    await psi.channel.send("intersection/hashes", hashes=padded[np.argsort(padded[:, 0])])
    return tags


def _values(tags: Words) -> list[bytes]:
    return [tag.tobytes() for tag in tags]


def _hashes(suite: Suite, value: bytes, points: list[bytes]) -> Words:
    digests = [suite.digest(b"qiaolian.psi.v1/ecdh", value, point)[:16] for point in points]
    return np.frombuffer(b"".join(digests), np.uint64).reshape(len(points), 2)


async def _send(channel: Channel, kind: str, points: list[bytes]) -> None:
    for start in range(0, len(points), _MAX_ELEMENTS):
        piece = points[start : start + _MAX_ELEMENTS]
        await channel.send(
            kind,
            points=np.frombuffer(b"".join(piece), np.uint8).reshape(len(piece), -1),
        )


async def _receive(psi: PsiSession, kind: str, count: int) -> list[bytes]:
    points: list[bytes] = []
    for start in range(0, count, _MAX_ELEMENTS):
        shape = [min(_MAX_ELEMENTS, count - start), psi.suite.group.width]
        message = await psi.channel.receive(kind)
        points += [point.tobytes() for point in message.array("points", "uint8", shape)]
    return points
