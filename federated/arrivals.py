"""Connections that peers have opened for jobs, until the job is started here.

A peer may start a job first. Its connection is kept for this job, a newer one in place of an older; the job takes it when it is started, or waits
for it. Every peer has ``MOST_EARLY`` places of its own, so nothing that one peer does keeps another out. A connection that has ended gives its place
up; one that has been kept for longer than peers are waited for does so when all of the peer's places are taken.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from federated.transport import TlsWire

MOST_EARLY = 64
"""Connections of one peer for jobs that nobody has started here."""


class _Kept(NamedTuple):
    since: float
    wire: TlsWire


class Arrivals:
    """What has come and what is waited for, by peer and job."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._wanted: dict[tuple[str, str], asyncio.Event] = {}

    async def expected(self, peer: str, job: str) -> TlsWire:
        """The peer's connection for a job that is started here; waits until there is one that stands."""
        key = (peer, job)
        arrived = self._wanted[key] = asyncio.Event()
        try:
            while True:
                arrived.clear()
                kept = self._kept.pop(key, None)
                if kept is None:
                    await arrived.wait()
                elif kept.wire.gone:
                    await kept.wire.close()  # of an earlier try that the peer has given up
                else:
                    return kept.wire
        finally:
            del self._wanted[key]

    def place(self, peer: str, job: str, wire: TlsWire) -> list[TlsWire]:
        """Keep a connection, or hand it to the job that waits for it. What is returned has lost its place, or found none: close it."""
        key = (peer, job)
        left = [self._kept.pop(each).wire for each in [*self._kept] if each == key or self._kept[each].wire.gone]
        now = asyncio.get_running_loop().time()
        if key not in self._wanted and self._count(peer) >= MOST_EARLY:
            left += [self._kept.pop(each).wire for each in [*self._kept] if each[0] == peer and self._kept[each].since < now - self._patience]
        if key not in self._wanted and self._count(peer) >= MOST_EARLY:
            return [*left, wire]
        self._kept[key] = _Kept(now, wire)
        if key in self._wanted:
            self._wanted[key].set()
        return left

    async def close(self) -> None:
        """Close all that is kept."""
        wires = [each.wire for each in self._kept.values()]
        self._kept.clear()
        await asyncio.gather(*(each.close() for each in wires))

    def _count(self, peer: str) -> int:
        return sum(each == peer for each, _ in self._kept)
