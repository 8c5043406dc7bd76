"""Encryptions of zero, made while the label party would wait for sums, so that gradients are hidden at once when they are known."""

from __future__ import annotations

import asyncio
from types import TracebackType

import numpy as np

from federated.boosting.he import Ciphertexts, PublicKey

_PIECE = 256
"""Made at once. The library holds the interpreter's lock meanwhile, for some ten milliseconds."""
_AHEAD = 1 << 16
"""Made ahead at most: 17 MB of Okamoto-Uchiyama ciphertexts."""


class Masks:
    """So many of them, in the order they are made. As a context it makes them, and stops at its end."""

    def __init__(self, key: PublicKey, count: int) -> None:
        self._key, self._left = key, count
        self._made: asyncio.Queue[Ciphertexts] = asyncio.Queue(_AHEAD // _PIECE)
        self._rest: Ciphertexts = np.empty((0, key.scheme.width), np.uint8)

    async def __aenter__(self) -> Masks:
        self._making = asyncio.create_task(self._make())
        return self

    async def __aexit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self._making.cancel()
        await asyncio.gather(self._making, return_exceptions=True)

    async def take(self, count: int) -> Ciphertexts:
        """The next so many; nobody gets one of them again."""
        pieces, held = [self._rest], len(self._rest)
        while held < count:
            pieces.append(await self._next())
            held += len(pieces[-1])
        whole = np.concatenate(pieces)
        self._rest = whole[count:]
        return whole[:count]

    async def _next(self) -> Ciphertexts:
        coming = asyncio.ensure_future(self._made.get())
        try:
            await asyncio.wait({coming, self._making}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done() and self._made.empty():
                await self._making  # its error, if it had one
                raise RuntimeError("more masks are taken than were ordered")
            return await coming
        finally:
            coming.cancel()

    async def _make(self) -> None:
        while self._left:
            count = min(_PIECE, self._left)
            made = await asyncio.to_thread(self._key.encrypt, np.zeros(count, object))
            self._left -= count
            await self._made.put(made)
