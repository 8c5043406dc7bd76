"""How a long-running process asks the C library for memory."""

from __future__ import annotations

import contextlib
import ctypes
import gc

_M_ARENA_MAX = -8
"""Number of ``mallopt``'s parameter (glibc, ``malloc.h``)."""


def use_one_arena() -> None:
    """Let all threads allocate from one heap, where the C library can choose (glibc).

    Each thread would otherwise keep an arena of its own. Python's threads hardly ever allocate at
    the same time, and what a thread has freed would stay with it: 16 MB after opening key files
    (scrypt). Call it before the first thread starts.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def return_freed_memory() -> None:
    """Give memory that was freed back to the system, where the C library can (glibc). Call it once,
    after a start.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
