"""When a request is repeated, and after how long; without I/O."""

from __future__ import annotations

import random
from dataclasses import dataclass

_BUSY = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off with full jitter; times in seconds.

    Only repeatable operations are repeated: reads, and writes under an idempotency key.
    """

    attempts: int = 4
    first_delay: float = 0.25
    max_delay: float = 10.0

    def delay(self, attempt: int, *, retry_after: str | None = None) -> float:
        """How long to wait after this failed attempt, the first being 1."""
        ceiling = min(self.max_delay, self.first_delay * 2 ** (attempt - 1))
        asked = (
            int(retry_after)
            if retry_after and retry_after.isascii() and retry_after.isdigit()
            else 0
        )
        return min(self.max_delay, max(random.uniform(0, ceiling), asked))  # noqa: S311

    def repeats(self, attempt: int, status: int | None, *, repeatable: bool) -> bool:
        """Whether another attempt follows; ``status`` is None if no answer came."""
        return repeatable and attempt < self.attempts and (status is None or status in _BUSY)
