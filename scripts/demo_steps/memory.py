"""Peak memory of everything the demo runs, as summed proportional set size (shared pages counted
once).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil


def proportional_bytes(pid: int) -> int:
    """The PSS of one process in bytes; 0 when it has gone (proc_pid_smaps_rollup(5))."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return 0


class MemoryWatch:
    """Samples this process, its descendants and the processes ``others`` names, until stopped."""

    def __init__(self, others: Callable[[], Iterable[int]], *, every_seconds: float = 1.0) -> None:
        self._others = others
        self._every = every_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory-watch", daemon=True)
        self.peak_bytes = 0

    def start(self) -> None:
        """Begin sampling."""
        self._thread.start()

    def stop(self) -> int:
        """Stop; the peak in bytes."""
        self._stopped.set()
        self._thread.join(timeout=10)
        return self.peak_bytes

    def _run(self) -> None:
        me = psutil.Process()
        while True:
            pids = {me.pid, *(child.pid for child in me.children(recursive=True)), *self._others()}
            self.peak_bytes = max(self.peak_bytes, sum(proportional_bytes(pid) for pid in pids))
            if self._stopped.wait(self._every):
                return
