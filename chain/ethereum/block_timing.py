"""When a chain that makes empty blocks makes its next one, and how far this clock is from its time.

No clock and no I/O: the view reports what it sees.
"""

from __future__ import annotations

import statistics
from collections import deque

from chain.ethereum.view_snapshot import ChainHead

MAX_BLOCKS = 16
"""Blocks that the estimates rest on."""
EARLY_SECONDS = 0.05
"""So long before its expected time the next block is first asked for."""
OVERDUE_SECONDS = 0.1
"""Until a block that is not there yet is asked for again; twice as long each further time."""
MAX_INTERVAL_SECONDS = 2.0
"""Longest pause for which the next block's expected time is trusted."""


class BlockTiming:
    """Estimates from the latest blocks."""

    def __init__(self, poll_seconds: float) -> None:
        """``poll_seconds``: longest pause between two requests for a block that may be there."""
        self._poll_seconds = poll_seconds
        self._lags: deque[float] = deque(maxlen=MAX_BLOCKS)
        self._intervals: deque[float] = deque(maxlen=MAX_BLOCKS)
        """Seconds a block between the latest heads, by their timestamps."""
        self._misses = 0
        """Requests for the latest block since it was last a new one."""

    def missed(self) -> None:
        """The latest block was not a new one."""
        self._misses += 1

    def advanced(self, before: ChainHead | None, head: ChainHead) -> None:
        """A new block was seen; the first one after the start says nothing of the block time."""
        self._misses = 0
        if before is None:
            return
        self._lags.append(head.seen_at - head.timestamp)
        self._intervals.append((head.timestamp - before.timestamp) / (head.height - before.height))

    def pause(self) -> float:
        """Seconds until the next block is asked for."""
        if self._misses or not self._intervals:
            return min(self._poll_seconds, OVERDUE_SECONDS * 2.0 ** min(self._misses, 10))
        expected = min(statistics.median(self._intervals), MAX_INTERVAL_SECONDS) - EARLY_SECONDS
        return max(expected, min(self._poll_seconds, OVERDUE_SECONDS))

    @property
    def clock_offset(self) -> float | None:
        """This clock minus the blocks' time, in seconds: the smallest difference lately, so that
        network delay counts least. None before the second block.
        """
        # A copy: the view's thread appends while others read.
        lags = list(self._lags)
        return min(lags) if lags else None
