"""Arrays between parties, in messages below the frame limit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federated.session import Session

MAX_WORDS_PER_MESSAGE = 1 << 20
"""Elements in one message."""


async def send_array(
    session: Session, peer: str, kind: str, words: NDArray[np.unsignedinteger]
) -> None:
    """Send an array, flattened, in as many messages as it needs."""
    flat = np.ascontiguousarray(words).reshape(-1)
    for start in range(0, len(flat), MAX_WORDS_PER_MESSAGE):
        await session.to(peer).send(kind, words=flat[start : start + MAX_WORDS_PER_MESSAGE])


async def receive_array(
    session: Session, peer: str, kind: str, count: int, dtype: str = "uint64"
) -> NDArray[np.unsignedinteger]:
    """Receive a flat array of ``count`` elements."""
    pieces: list[NDArray[np.unsignedinteger]] = []
    for start in range(0, count, MAX_WORDS_PER_MESSAGE):
        pieces.append(
            (await session.to(peer).receive(kind)).array(
                "words", dtype, [min(MAX_WORDS_PER_MESSAGE, count - start)]
            )
        )
    return pieces[0] if len(pieces) == 1 else np.concatenate([np.empty(0, dtype), *pieces])
