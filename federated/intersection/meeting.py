"""One intersection between two parties, by either method, and handing over the rows of it that the sender may learn."""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray

from federated.channel import Channel
from federated.errors import PeerFault
from federated.intersection import ecdh, kkrt
from federated.intersection.identifiers import locate
from federated.intersection.pair import Pair, Terms, settle
from federated.intersection.suites import Words
from federated.session import Session

_SENT = 1 << 20  # tags in one message


async def find(session: Session, peer: str, ids: NDArray[np.bytes_], terms: Terms, label: str) -> tuple[Words, NDArray[np.bool_]]:
    """As receiver, learn which of one's rows ``peer`` has too; the rows' tags and the answer. With ``reveal`` ``size`` only its count has a meaning.

    ``label`` names this run within the session: two with the same peer must have different ones, for their randomness is derived from it.
    """
    pair = await settle(session, peer, ids, terms, "receiver", label)
    if terms.method == "ecdh":
        return await ecdh.find(pair, ids, size_only=terms.reveal == "size")
    return await kkrt.find(pair, ids)


async def serve(session: Session, peer: str, ids: NDArray[np.bytes_], terms: Terms, label: str) -> Words:
    """As sender, let ``peer`` find out; the rows' tags."""
    pair: Pair = await settle(session, peer, ids, terms, "sender", label)
    if terms.method == "ecdh":
        return await ecdh.serve(pair, ids, size_only=terms.reveal == "size")
    return await kkrt.serve(pair, ids)


async def tell(channel: Channel, tags: Words) -> None:
    """Name rows to the sender by their tags, in this order. It holds every one of them, so it learns nothing of other identifiers."""
    await channel.send("intersection/common", count=len(tags))
    for start in range(0, len(tags), _SENT):
        await channel.send("intersection/tags", tags=tags[start : start + _SENT])


async def told(channel: Channel, tags: Words) -> NDArray[np.int64]:
    """The sender's rows that the receiver names, in its order; ``PeerFault`` ``rows_unknown`` if one is none or is named twice."""
    count = (await channel.receive("intersection/common")).integer("count", most=len(tags))
    named = np.empty((count, 2), np.uint64)
    for start in range(0, count, _SENT):
        shape = [min(_SENT, count - start), 2]
        named[start : start + _SENT] = (await channel.receive("intersection/tags")).array("tags", "uint64", shape)
    rows = await asyncio.to_thread(locate, tags, named)
    if (rows < 0).any() or len(np.unique(rows)) != count:
        raise PeerFault("rows_unknown", f"{channel.peer} names rows that are not here, or one twice.", peer=channel.peer)
    return rows
