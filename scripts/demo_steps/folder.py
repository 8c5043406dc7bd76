"""A demo's output folder, locked for one run, and SIGTERM handled like Ctrl-C."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from chain.core.errors import BadInput

MARKER = ".qiaolian-demo"
"""Says that a folder is the demo's, and is locked while one runs there."""


@contextlib.contextmanager
def own_folder(out: Path, parts: Sequence[str]) -> Iterator[None]:
    """Lock ``out`` for this run and remove the ``parts`` of an earlier run; a folder that no demo
    made stays untouched.

    Raises:
        BadInput: ``demo_running``, and what ``require_usable`` raises.
    """
    require_usable(out, parts)
    marker = out / MARKER
    left = [path for path in (out / part for part in parts) if path.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = marker.open("a", encoding="utf-8")
    except OSError as error:
        raise BadInput(
            "demo_out_unwritable",
            f"{out} cannot be written to: {error.strerror}.",
            hint="Name another with --out.",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BadInput(
                "demo_running",
                f"Another demo runs in {out}.",
                hint="End it, or name another folder with --out.",
            ) from error
        for item in left:
            shutil.rmtree(item)
        yield


def require_usable(out: Path, parts: Sequence[str]) -> None:
    """Check that a demo may write to this folder, without writing.

    Raises:
        BadInput: ``demo_out_in_use`` (holds ``parts`` that no demo made), ``demo_out_unwritable``.
    """
    for path in (out / part for part in parts):
        if path.exists() and not (out / MARKER).exists():
            raise BadInput(
                "demo_out_in_use",
                f"{path} was not made by a demo.",
                hint="Name another folder with --out.",
            )
    there = next(path for path in (out, *out.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise BadInput(
            "demo_out_unwritable",
            f"{out} cannot be written to.",
            hint="Name another folder with --out.",
        )


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
