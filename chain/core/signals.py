"""Ending a process by SIGTERM or SIGINT, however often it is sent.

A handler runs between any two instructions of the main thread. One that takes a lock, as
``threading.Event.set`` does, waits forever for a lock that the interrupted code holds, and the
process is deaf from then on. So no handler is used: the signals are blocked, and a thread that does
nothing else takes them.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

TERMINATION_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})


def run_until_signalled(work: Callable[[threading.Event], None]) -> None:
    """Run ``work`` in the calling thread with an event that the first SIGTERM or SIGINT sets; later
    ones change nothing.

    Call it from the main thread before other threads start: they inherit that the signals are
    blocked. Once a signal came, the process is ending, and the signals are ignored from then on.
    """
    stop = threading.Event()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINATION_SIGNALS)

    def watch() -> None:
        signal.sigwait(TERMINATION_SIGNALS)
        stop.set()

    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    watcher.start()
    try:
        work(stop)
    finally:
        if stop.is_set():
            ignore()
        else:
            # The watcher waits for a signal that will not come; one of our own ends it.
            os.kill(os.getpid(), signal.SIGTERM)
            watcher.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore() -> None:
    """For a process that is ending: whatever signals still come, it ends in its own way. From the
    main thread only.
    """
    for number in TERMINATION_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
