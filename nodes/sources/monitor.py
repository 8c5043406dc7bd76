"""Watches the configured sources: what cannot be read is reported with its code, and tried again.

Each source is checked by a thread of its own, so that a database that does not answer holds up
neither the node's start nor the other sources.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from chain.core.errors import QiaolianError
from nodes.sources import Sources

log = logging.getLogger("qiaolian.sources")

_BUSY = "source_indexing"
"""Not a fault: the first pass over a large file takes its time."""


@dataclass(frozen=True)
class SourceStatus:
    """What the last check of a source found; ``code`` is empty where it can be read or was not
    checked yet.
    """

    name: str
    code: str = ""
    detail: str = ""
    hint: str = ""

    @property
    def up(self) -> bool:
        """Whether nothing is known against it."""
        return not self.code


class SourceMonitor:
    """Checks every source at the start and then every ``seconds``; a first check also builds a
    file's index.
    """

    def __init__(self, sources: Sources, *, seconds: float) -> None:
        self._sources = sources
        self._seconds = seconds
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._status = {name: SourceStatus(name) for name in sources}

    def start(self) -> None:
        """Begin in the background."""
        for name in self._sources:
            threading.Thread(
                target=self._watch, args=(name,), name=f"source-{name}", daemon=True
            ).start()

    def stop(self) -> None:
        """End; a check under way is not waited for."""
        self._stop.set()

    def statuses(self) -> Sequence[SourceStatus]:
        """Every source's latest status, in the configuration's order."""
        with self._lock:
            return tuple(self._status.values())

    def check(self, name: str) -> SourceStatus:
        """Check one source now, and log a change."""
        try:
            self._sources.check(name)
            found = SourceStatus(name)
        except QiaolianError as error:
            busy = error.code == _BUSY
            found = SourceStatus(name, "" if busy else error.code, error.sentence, error.hint)
        with self._lock:
            before, self._status[name] = self._status[name], found
        if found.code != before.code:
            _report(found)
        return found

    def _watch(self, name: str) -> None:
        while not self._stop.is_set():
            self.check(name)
            self._stop.wait(self._seconds)


def _report(status: SourceStatus) -> None:
    fields = {"source": status.name, "code": status.code}
    if status.up:
        log.info("source %s can be read again", status.name, extra=fields)
    else:
        log.warning(
            "source %s cannot be read: %s %s", status.name, status.detail, status.hint, extra=fields
        )
