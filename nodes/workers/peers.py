"""Monitors the other members' nodes: reachability, certificate expiry and clock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from chain.core.errors import QiaolianError
from nodes.findings import PeerStatus
from nodes.peers import HttpPeers
from registry import fanout

ROUND_SECONDS = 10.0
"""How long one member's node may take to answer."""


class PeerMonitor:
    """The status of each configured peer. Thread-safe."""

    def __init__(self, peers: HttpPeers, *, clock: Callable[[], float]) -> None:
        """``clock`` gives Unix seconds."""
        self._peers = peers
        self._clock = clock
        self._lock = threading.Lock()
        self._statuses = {member: PeerStatus(member) for member in peers.members}

    def statuses(self) -> Sequence[PeerStatus]:
        """Every peer's latest status."""
        with self._lock:
            return tuple(self._statuses.values())

    def certificate_ends(self) -> Mapping[str, float]:
        """As ``HttpPeers.certificate_ends``."""
        return self._peers.certificate_ends()

    def clock_offsets(self) -> Mapping[str, float]:
        """As ``HttpPeers.clock_offsets``."""
        return self._peers.clock_offsets()

    async def round(self) -> None:
        """Check every peer once, concurrently."""
        outcomes = await fanout.for_each(self._peers.members, self._ask, seconds=ROUND_SECONDS)
        with self._lock:
            for member, outcome in outcomes.items():
                self._statuses[member] = self._status(self._statuses[member], outcome)

    async def _ask(self, member: str) -> None:
        await self._peers.get(member, "/v1/peer/ping")

    def _status(self, former: PeerStatus, outcome: QiaolianError | None) -> PeerStatus:
        if outcome is None:
            return PeerStatus(former.member)
        since = self._clock() if former.failing_since is None else former.failing_since
        return PeerStatus(former.member, since, outcome.code, outcome.sentence, outcome.hint)
