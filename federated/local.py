"""All parties of a job in one process, over queues: the messages and checks of TLS, without
processes.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from federated.channel import Buffer, Channel
from federated.errors import PeerFault
from federated.randomness import Randomness
from federated.session import Session

T = TypeVar("T")
Role = Callable[[Session], Awaitable[T]]


class QueueWire:
    """One end of a pair of queues."""

    def __init__(
        self, inbox: asyncio.Queue[bytes | None], outbox: asyncio.Queue[bytes | None]
    ) -> None:
        self._inbox, self._outbox = inbox, outbox

    async def send(self, frame: Sequence[Buffer]) -> None:
        """Put a frame into the peer's queue."""
        await self._outbox.put(b"".join(frame))

    async def receive(self) -> memoryview:
        """Return the next frame; ``peer_gone`` if the peer has closed."""
        frame = await self._inbox.get()
        if frame is None:
            raise PeerFault("peer_gone", "The peer has closed the connection.")
        return memoryview(frame)

    async def close(self) -> None:
        """Tell the peer that no more frames follow."""
        await self._outbox.put(None)


def wire_pair() -> tuple[QueueWire, QueueWire]:
    """Return two connected ends."""
    there: asyncio.Queue[bytes | None] = asyncio.Queue()
    back: asyncio.Queue[bytes | None] = asyncio.Queue()
    return QueueWire(back, there), QueueWire(there, back)


async def run_together(
    roles: Mapping[str, Role[T]], *, seeds: Mapping[str, bytes] | None = None
) -> dict[str, T]:
    """Run all parties' roles concurrently and return their results by name. The first error cancels
    all.
    """
    wires: dict[str, dict[str, QueueWire]] = {name: {} for name in roles}
    names = list(roles)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            wires[first][second], wires[second][first] = wire_pair()

    async def one(name: str) -> T:
        channels = {peer: Channel(peer, wire) for peer, wire in wires[name].items()}
        seed = secrets.token_bytes(32) if seeds is None else seeds[name]
        try:
            return await roles[name](Session(name, channels, Randomness(seed)))
        finally:
            for wire in wires[name].values():
                await wire.close()

    async with asyncio.TaskGroup() as group:
        tasks = {name: group.create_task(one(name)) for name in names}
    return {name: task.result() for name, task in tasks.items()}


def run_local(
    roles: Mapping[str, Role[T]], *, seeds: Mapping[str, bytes] | None = None
) -> dict[str, T]:
    """Run ``run_together`` from synchronous code; a single error is raised as itself."""
    try:
        return asyncio.run(run_together(roles, seeds=seeds))
    except* Exception as group:
        raise _cause(group) from None


def _cause(group: BaseException) -> BaseException:
    """Return the error that is not a consequence of another party's."""
    leaves: list[BaseException] = []
    pending = [group]
    while pending:
        error = pending.pop()
        if isinstance(error, BaseExceptionGroup):
            pending.extend(error.exceptions)
        else:
            leaves.append(error)
    return next((error for error in leaves if getattr(error, "code", "") != "peer_gone"), leaves[0])
