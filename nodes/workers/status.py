"""Status of the workers' rounds, for health and metrics."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from chain.core.errors import QiaolianError
from nodes.findings import WorkerStatus


class WorkerMonitor:
    """The status of each worker by name. Thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """``clock`` gives Unix seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._statuses: dict[str, WorkerStatus] = {}

    def statuses(self) -> Sequence[WorkerStatus]:
        """Every worker that has begun a round."""
        with self._lock:
            return tuple(self._statuses.values())

    def begun(self, name: str) -> None:
        """A round begins."""
        with self._lock:
            self._statuses[name] = replace(self._status(name), running_since=self._clock())

    def succeeded(self, name: str) -> None:
        """The round did its work."""
        with self._lock:
            self._statuses[name] = WorkerStatus(name, last_success=self._clock())

    def failed(self, name: str, error: QiaolianError, *, partial: bool = False) -> None:
        """The round failed; ``partial``: with some members only."""
        with self._lock:
            former = self._status(name)
            self._statuses[name] = WorkerStatus(
                name,
                last_success=former.last_success,
                failing_since=self._clock()
                if former.failing_since is None
                else former.failing_since,
                failures=former.failures + 1,
                partial=partial,
                code=error.code,
                detail=error.sentence,
                hint=error.hint,
            )

    def finished(self, name: str) -> None:
        """The worker has no more to do."""
        with self._lock:
            self._statuses.pop(name, None)

    def _status(self, name: str) -> WorkerStatus:
        return self._statuses.get(name, WorkerStatus(name))
