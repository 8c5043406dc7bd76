"""Waiting for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from chain.core.errors import QiaolianError

T = TypeVar("T")

SECONDS = 60.0
"""A bound for what a busy machine may delay, not a measure."""


def growing_pauses() -> Iterator[float]:
    """Seconds between two looks: what comes soon is seen soon, and a long wait costs little."""
    pause = 0.01
    while True:
        yield pause
        pause = min(1.5 * pause, 0.1)


def wait_for(
    look: Callable[[], T | None],
    what: str = "a condition",
    *,
    seconds: float = SECONDS,
) -> T:
    """What ``look`` gives once it is true; a refusal counts as not yet.

    Raises:
        AssertionError: it is not true within ``seconds``; then, where the last look was refused,
            that refusal.
    """
    deadline, pauses = time.monotonic() + seconds, growing_pauses()
    while True:
        try:
            found = look()
        except QiaolianError:
            if time.monotonic() > deadline:
                raise
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(next(pauses))
