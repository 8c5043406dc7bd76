"""Long arrays between parties, in pieces below the limit of a frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federated.session import Session

PIECE = 1 << 20
"""Words in one message."""


async def send_words(session: Session, peer: str, kind: str, words: NDArray[np.unsignedinteger]) -> None:
    """Send an array, flat, in as many messages as it takes."""
    flat = np.ascontiguousarray(words).reshape(-1)
    for start in range(0, len(flat), PIECE):
        await session.to(peer).send(kind, words=flat[start : start + PIECE])


async def receive_words(session: Session, peer: str, kind: str, count: int, dtype: str = "uint64") -> NDArray[np.unsignedinteger]:
    """Receive that many words, flat."""
    pieces: list[NDArray[np.unsignedinteger]] = []
    for start in range(0, count, PIECE):
        pieces.append((await session.to(peer).receive(kind)).array("words", dtype, [min(PIECE, count - start)]))
    return pieces[0] if len(pieces) == 1 else np.concatenate([np.empty(0, dtype), *pieces])
