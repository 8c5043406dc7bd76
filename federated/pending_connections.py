"""Pending connections: opened by peers for jobs that are not started here yet.

A peer may start a job first. Its connection is held for that job, and a newer one replaces an older
one; the job takes it when it starts, or waits for it. Every peer has ``MAX_PENDING`` slots of its
own, so that no peer can lock out another. A connection that has ended frees its slot; one held
longer than peers are waited for does so when all slots of its peer are in use.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from federated.transport import TlsWire

MAX_PENDING = 64
"""Connections of one peer for jobs that are not started here."""


class _Held(NamedTuple):
    since: float
    wire: TlsWire


class PendingConnections:
    """Held and awaited connections, by peer and job."""

    def __init__(self, max_age: float) -> None:
        self._max_age = max_age
        self._held: dict[tuple[str, str], _Held] = {}
        self._awaited: dict[tuple[str, str], asyncio.Event] = {}

    async def wait_for(self, peer: str, job: str) -> TlsWire:
        """Return the peer's connection for a job that is started here; wait until there is a live
        one.
        """
        key = (peer, job)
        arrived = self._awaited[key] = asyncio.Event()
        try:
            while True:
                arrived.clear()
                held = self._held.pop(key, None)
                if held is None:
                    await arrived.wait()
                elif held.wire.gone:
                    await held.wire.close()  # of an earlier try that the peer has given up
                else:
                    return held.wire
        finally:
            del self._awaited[key]

    def add(self, peer: str, job: str, wire: TlsWire) -> list[TlsWire]:
        """Hold a connection, or give it to the job that waits for it. Return the connections that
        have no slot: the caller closes them.
        """
        key = (peer, job)
        dropped = [
            self._held.pop(entry).wire
            for entry in [*self._held]
            if entry == key or self._held[entry].wire.gone
        ]
        now = asyncio.get_running_loop().time()
        if key not in self._awaited and self._count(peer) >= MAX_PENDING:
            dropped += [
                self._held.pop(entry).wire
                for entry in [*self._held]
                if entry[0] == peer and self._held[entry].since < now - self._max_age
            ]
        if key not in self._awaited and self._count(peer) >= MAX_PENDING:
            return [*dropped, wire]
        self._held[key] = _Held(now, wire)
        if key in self._awaited:
            self._awaited[key].set()
        return dropped

    async def close(self) -> None:
        """Close all held connections."""
        wires = [pending.wire for pending in self._held.values()]
        self._held.clear()
        await asyncio.gather(*(wire.close() for wire in wires))

    def _count(self, peer: str) -> int:
        return sum(owner == peer for owner, _ in self._held)
