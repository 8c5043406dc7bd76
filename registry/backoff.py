"""Backoff between attempts, for workers that try again until they succeed."""

from __future__ import annotations

from collections.abc import Hashable


class Backoff:
    """Exponential backoff by key, between two bounds in seconds."""

    def __init__(self, *, first: float, longest: float) -> None:
        self._first, self._longest = first, longest
        self._until: dict[Hashable, tuple[float, float]] = {}
        """When a pause ends, and how long it was."""

    def is_due(self, what: Hashable, now: float) -> bool:
        """Return whether a key may be tried."""
        return what not in self._until or self._until[what][0] <= now

    def failed(self, what: Hashable, now: float) -> None:
        """Record a failure and double the pause."""
        seconds = (
            min(self._longest, 2 * self._until[what][1]) if what in self._until else self._first
        )
        self._until[what] = now + seconds, seconds

    def succeeded(self, what: Hashable) -> None:
        """Record a success and end the pause."""
        self._until.pop(what, None)
