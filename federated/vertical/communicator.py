"""The communicator: the parties that hold shares of the same values, and how they open them.

Every party sends a short vector to every other party. The label party adds up a long one and sends
the sum back: 2 (n - 1) messages for n parties. Ring shares are additive; bit shares are combined by
exclusive or.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from federated.session import Session
from federated.vertical.fixed_point import Ring64
from federated.vertical.messages import receive_array, send_array
from federated.vertical.preprocessing import BlockShape

RingArray = NDArray[np.unsignedinteger]


class Communicator:
    """One party's end. ``names`` in the order of the preprocessing: the label party is the last."""

    def __init__(self, session: Session, names: Sequence[str]) -> None:
        self.session, self.party, self.label = session, session.party, names[-1]
        self.peers = [name for name in names if name != session.party]

    @property
    def is_label(self) -> bool:
        """Whether this is the label party, the one that adds public constants to its shares."""
        return self.party == self.label

    async def open_short(self, words: Ring64, kind: str) -> Ring64:
        """Open a short vector: every party sends its share to every other party."""
        for peer in self.peers:
            await self.session.to(peer).send(kind, words=words)
        total = words.copy()
        for peer in self.peers:
            total += (await self.session.to(peer).receive(kind)).array(
                "words", "uint64", [len(words)]
            )
        return total

    async def open(self, share: RingArray, kind: str, *, bits: bool = False) -> RingArray:
        """Open a long array of any shape through the label party. ``bits``: shares combine by
        exclusive or.
        """
        if not self.is_label:
            await self.send(self.label, kind, share)
            return (await self.receive(self.label, kind, share.size, share.dtype.name)).reshape(
                share.shape
            )
        total = await self.sum_at_label(share, kind, bits=bits)
        await asyncio.gather(*(self.send(peer, kind, total) for peer in self.peers))
        return total

    async def open_to_label(self, share: RingArray, kind: str) -> RingArray | None:
        """Open an array to the label party alone; return ``None`` at the others."""
        if self.is_label:
            return await self.sum_at_label(share, kind)
        await self.send(self.label, kind, share)
        return None

    async def open_blocks(self, share: RingArray, shape: BlockShape, kind: str) -> RingArray:
        """Open (rows, all columns). The label party holds a share of every column, any other party
        one of its own block (rows, own columns).
        """
        if not self.is_label:
            await self.send(self.label, kind, share)
            return (
                await self.receive(self.label, kind, len(share) * shape.total, share.dtype.name)
            ).reshape(-1, shape.total)
        total = share.copy()
        for peer in self.peers:
            part = await self.receive(
                peer, kind, len(share) * shape.columns[peer], share.dtype.name
            )
            total[:, shape.span(peer)] += part.reshape(len(share), -1)
        await asyncio.gather(*(self.send(peer, kind, total) for peer in self.peers))
        return total

    async def sum_at_label(self, share: RingArray, kind: str, *, bits: bool = False) -> RingArray:
        """At the label party, combine the shares of all parties."""
        parts = await asyncio.gather(
            *(self.receive(peer, kind, share.size, share.dtype.name) for peer in self.peers)
        )
        total = share.copy()
        for part in parts:
            total = total ^ part.reshape(share.shape) if bits else total + part.reshape(share.shape)
        return total

    async def send(self, peer: str, kind: str, words: RingArray) -> None:
        """Send an array of any length."""
        await send_array(self.session, peer, kind, words)

    async def receive(self, peer: str, kind: str, count: int, dtype: str = "uint64") -> RingArray:
        """Receive a flat array of this length."""
        return await receive_array(self.session, peer, kind, count, dtype)
