"""A demo's output folder, for one run alone, and ends by signal that clean up like Ctrl-C."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from chain.errors import BadInput

MARKER = ".qiaolian-demo"
"""Says that a folder is the demo's, and is locked while one runs there."""


@contextlib.contextmanager
def own_folder(out: Path, parts: Sequence[str]) -> Iterator[None]:
    """``out`` for this run alone, emptied of the ``parts`` an earlier run left; a folder of somebody else's is left as it is.

    Raises:
        BadInput: ``demo_out_in_use``, ``demo_out_unwritable``, ``demo_running``.
    """
    marker = out / MARKER
    left = [each for each in (out / part for part in parts) if each.exists()]
    if left and not marker.exists():
        raise BadInput("demo_out_in_use", f"{left[0]} was not made by a demo.", hint="Name another folder with --out.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = marker.open("a", encoding="utf-8")
    except OSError as error:
        raise BadInput("demo_out_unwritable", f"{out} cannot be written to: {error.strerror}.", hint="Name another with --out.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BadInput("demo_running", f"Another demo runs in {out}.", hint="End it, or name another folder with --out.") from error
        for each in left:
            shutil.rmtree(each)
        yield


@contextlib.contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does: everything it started ends too."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
