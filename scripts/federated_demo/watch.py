"""Watches which files any process opens, by inotify(7).

A file cannot be read or mapped before it is opened, so an unopened source is an unread one. What
was opened counts as read, whole.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_IN_ACCESS, _IN_OPEN = 0x1, 0x20
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows


@contextmanager
def watched(paths: Sequence[Path]) -> Iterator[Callable[[], dict[Path, int]]]:
    """Watch files; the returned function lists which have been opened since, with their sizes in
    bytes.

    Raises:
        OSError: The kernel gives no more watches, or a file is not there.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1 failed")
    try:
        names: dict[int, Path] = {}
        for path in paths:
            watch = libc.inotify_add_watch(descriptor, os.fsencode(path), _IN_OPEN | _IN_ACCESS)
            if watch < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
            names[watch] = path
        opened: dict[Path, int] = {}

        def seen() -> dict[Path, int]:
            for watch in _events(descriptor):
                opened.setdefault(names[watch], names[watch].stat().st_size)
            return dict(opened)

        yield seen
    finally:
        os.close(descriptor)


def _events(descriptor: int) -> Iterator[int]:
    """The watches that have reported something."""
    while True:
        try:
            data = os.read(descriptor, 1 << 16)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return
            raise
        offset = 0
        while offset < len(data):
            watch, _, _, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size + length
            if watch < 0:
                raise OSError(errno.EOVERFLOW, "the kernel's queue of events overflowed")
            yield watch
