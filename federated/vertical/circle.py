"""The parties that hold shares of the same values, and how they open them to each other.

Short vectors go from everybody to everybody. Long ones are added up by the label party, which tells the sum: 2 (n - 1) messages for n parties.
Shares are words whose sum is the value, or bits whose exclusive or is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from federated.session import Session
from federated.vertical.dealing import Shape
from federated.vertical.fixed import Words
from federated.vertical.messages import receive_words, send_words

Narrow = NDArray[np.unsignedinteger]


class Circle:
    """One party's place among those that hold shares. ``names`` in the dealing's order; the last is the label party."""

    def __init__(self, session: Session, names: Sequence[str]) -> None:
        self.session, self.me, self.label = session, session.party, names[-1]
        self.peers = [name for name in names if name != session.party]

    @property
    def first(self) -> bool:
        """Whether this is the one party that adds what all know: the label party."""
        return self.me == self.label

    async def exchange(self, words: Words, kind: str) -> Words:
        """Open a short vector: everybody tells everybody."""
        for peer in self.peers:
            await self.session.to(peer).send(kind, words=words)
        total = words.copy()
        for peer in self.peers:
            total += (await self.session.to(peer).receive(kind)).array("words", "uint64", [len(words)])
        return total

    async def open(self, share: Narrow, kind: str, *, bits: bool = False) -> Narrow:
        """Open a long array, of any shape: the label party adds up and tells. ``bits``: its shares are joined by exclusive or."""
        if not self.first:
            await self.send(self.label, kind, share)
            return (await self.receive(self.label, kind, share.size, share.dtype.name)).reshape(share.shape)
        total = await self.gather(share, kind, bits=bits)
        await asyncio.gather(*(self.send(peer, kind, total) for peer in self.peers))
        return total

    async def tell(self, share: Narrow, kind: str) -> Narrow | None:
        """Open an array to the label party alone; ``None`` at the others."""
        if self.first:
            return await self.gather(share, kind)
        await self.send(self.label, kind, share)
        return None

    async def open_blocks(self, share: Narrow, shape: Shape, kind: str) -> Narrow:
        """Open (rows, all columns) of which the label party holds a share of every column, and each other party one of its own (rows, own)."""
        if not self.first:
            await self.send(self.label, kind, share)
            return (await self.receive(self.label, kind, len(share) * shape.total, share.dtype.name)).reshape(-1, shape.total)
        total = share.copy()
        for peer in self.peers:
            part = await self.receive(peer, kind, len(share) * shape.columns[peer], share.dtype.name)
            total[:, shape.span(peer)] += part.reshape(len(share), -1)
        await asyncio.gather(*(self.send(peer, kind, total) for peer in self.peers))
        return total

    async def gather(self, share: Narrow, kind: str, *, bits: bool = False) -> Narrow:
        """As the label party, put an array together."""
        parts = await asyncio.gather(*(self.receive(peer, kind, share.size, share.dtype.name) for peer in self.peers))
        total = share.copy()
        for part in parts:
            total = total ^ part.reshape(share.shape) if bits else total + part.reshape(share.shape)
        return total

    async def send(self, peer: str, kind: str, words: Narrow) -> None:
        """Send an array of any length."""
        await send_words(self.session, peer, kind, words)

    async def receive(self, peer: str, kind: str, count: int, dtype: str = "uint64") -> Narrow:
        """Receive an array of this length, flat."""
        return await receive_words(self.session, peer, kind, count, dtype)
