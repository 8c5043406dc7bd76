"""Waiting for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from chain.core.errors import QiaolianError

T = TypeVar("T")

SECONDS = 60.0
"""A bound for what a busy machine may delay, not a measure."""


def wait_for(
    look: Callable[[], T | None],
    what: str = "a condition",
    *,
    seconds: float = SECONDS,
    pause: float = 0.01,
) -> T:
    """What ``look`` gives once it is true; a refusal counts as not yet.

    Raises:
        AssertionError: it is not true within ``seconds``; then, where the last look was refused,
            that refusal.
    """
    deadline = time.monotonic() + seconds
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
        time.sleep(pause)
