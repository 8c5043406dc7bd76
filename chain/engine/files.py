"""File operations of the engine: exclusive locks, atomic writes, and errors for a full disk."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from chain.core.errors import Unavailable


@contextlib.contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold an advisory lock on a file; it goes with the process, however that ends."""
    # Opened close-on-exec (Python's default), so that processes started meanwhile do not hold it
    # on.
    with path.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def disk_full_translated(doing: str) -> Iterator[None]:
    """Turn the system's "no space left" into ``disk_full``."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(doing) from error
        raise


def disk_full(doing: str) -> Unavailable:
    """The error of a full disk, met while ``doing`` something."""
    return Unavailable(
        "disk_full",
        f"The disk is full; it was met {doing}.",
        hint="Free about 3 GB and run it again.",
    )


def write_atomically(path: Path, text: str) -> None:
    """Write a file durably, so that a reader finds the old one or the new one and never a part."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
