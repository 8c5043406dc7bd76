"""The objects of which a running node has one of each type, such as its gateway or its sources.

A package that needs state for the life of a process stores it here under its own type instead of in
a module: two nodes in one process share nothing, and a new ``Services`` is a restarted node.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Services:
    """One object per type. Thread-safe; a factory may ask for other services."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._objects: dict[type[Any], object] = {}

    def get(self, kind: type[T], make: Callable[[], T]) -> T:
        """The node's object of that type, made by ``make`` at first use."""
        with self._lock:
            if kind not in self._objects:
                self._objects[kind] = make()
            return cast(T, self._objects[kind])

    def find(self, kind: type[T]) -> T | None:
        """The node's object of that type; None while there is none."""
        with self._lock:
            return cast("T | None", self._objects.get(kind))

    def put(self, *objects: object) -> None:
        """Set the node's object of each one's own type."""
        with self._lock:
            for item in objects:
                self._objects[type(item)] = item

    def drop(self, *kinds: type[Any]) -> None:
        """Remove the objects of these types, as a restart would."""
        with self._lock:
            for kind in kinds:
                self._objects.pop(kind, None)
