"""One intersection between two parties by either method, and its rows that the sender learns."""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray

from federated.channel import Channel
from federated.errors import PeerFault
from federated.intersection import ecdh, kkrt
from federated.intersection.handshake import PsiTerms, handshake
from federated.intersection.identifiers import locate
from federated.intersection.suites import Words
from federated.session import Session

_MAX_TAGS = 1 << 20  # in one message


async def run_receiver(
    session: Session,
    peer: str,
    ids: NDArray[np.bytes_],
    terms: PsiTerms,
    label: str,
) -> tuple[Words, NDArray[np.bool_]]:
    """Return this receiver's tags, (rows, 2), and whether ``peer`` has them too, (rows,).

    With ``reveal`` ``size`` only the number of common rows has a meaning. ``label`` names this run
    within the session: two with the same peer need different ones, as randomness is derived from
    it.
    """
    psi = await handshake(session, peer, ids, terms, "receiver", label)
    if terms.method == "ecdh":
        return await ecdh.run_receiver(psi, ids, size_only=terms.reveal == "size")
    return await kkrt.run_receiver(psi, ids)


async def run_sender(
    session: Session,
    peer: str,
    ids: NDArray[np.bytes_],
    terms: PsiTerms,
    label: str,
) -> Words:
    """Return this sender's tags, (rows, 2), after answering ``peer``."""
    psi = await handshake(session, peer, ids, terms, "sender", label)
    if terms.method == "ecdh":
        return await ecdh.run_sender(psi, ids, size_only=terms.reveal == "size")
    return await kkrt.run_sender(psi, ids)


async def send_common_rows(channel: Channel, tags: Words) -> None:
    """Send common rows to the sender by their tags, in this order.

    The sender has every one of them, so it learns nothing of other identifiers.
    """
    await channel.send("intersection/common", count=len(tags))
    for start in range(0, len(tags), _MAX_TAGS):
        await channel.send("intersection/tags", tags=tags[start : start + _MAX_TAGS])


async def receive_common_rows(channel: Channel, tags: Words) -> NDArray[np.int64]:
    """Return this sender's rows that the receiver names, in its order, (common rows,).

    Raises:
        PeerFault: ``rows_unknown`` if a row is not here or is named twice; ``message_malformed``.
    """
    count = (await channel.receive("intersection/common")).integer("count", maximum=len(tags))
    named = np.empty((count, 2), np.uint64)
    for start in range(0, count, _MAX_TAGS):
        shape = [min(_MAX_TAGS, count - start), 2]
        named[start : start + _MAX_TAGS] = (await channel.receive("intersection/tags")).array(
            "tags",
            "uint64",
            shape,
        )
    rows = await asyncio.to_thread(locate, tags, named)
    if (rows < 0).any() or len(np.unique(rows)) != count:
        raise PeerFault(
            "rows_unknown",
            f"{channel.peer} names rows that this party does not have, or one row twice.",
            peer=channel.peer,
        )
    return rows
