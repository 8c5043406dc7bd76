"""Rate limits: token buckets by name, bounded in number.

A library would keep its counters in a store that grows with the number of addresses; here the
bucket that was used longest ago is forgotten first, so a flood of addresses costs a fixed amount of
memory.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from chain.core.errors import QiaolianError

MAX_BUCKETS = 10_000


class RateLimited(QiaolianError):
    """The caller exceeds its rate."""

    status = 429


class RateLimiter:
    """Buckets of ``per_second`` requests with room for ``burst``. Belongs to one event loop."""

    def __init__(
        self, per_second: float, burst: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> None:
        """Count one request.

        Raises:
            RateLimited: ``rate_limited``; nothing is counted then.
        """
        now = self._clock()
        left, at = self._buckets.pop(name, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._per_second)
        allowed = left >= 1.0
        self._buckets[name] = (left - 1.0 if allowed else left, now)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        if not allowed:
            raise RateLimited(
                "rate_limited",
                "There were too many requests from here lately.",
                hint="Wait a second, then send the request again.",
            )
