"""A throw-away chain for tests: anvil, which starts in a tenth of a second and can set its clock.

It stores nothing after its end and has no validators, so it never holds data that matters.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import contracts
from chain.core.errors import Unavailable

START_SECONDS = 60.0
_PACKAGES = Path(contracts.__file__).resolve().parent / "node_modules" / "@foundry-rs"
_LISTENING = re.compile(r"Listening on (127\.0\.0\.1:[0-9]+)\n")


def anvil_path() -> Path:
    """The program itself: the npm package's launcher would leave it running when it is killed.

    Raises:
        Unavailable: ``anvil_missing``.
    """
    for path in sorted(_PACKAGES.glob("anvil-*/bin/anvil")):
        return path
    raise Unavailable(
        "anvil_missing",
        "The throw-away chain anvil is not installed.",
        hint="Run ./scripts/test, which installs it, or: npm ci --prefix contracts",
    )


@contextmanager
def anvil() -> Iterator[str]:
    """A fresh chain; its RPC address. It ends with the block.

    Raises:
        Unavailable: ``anvil_missing``; ``anvil_failed`` when it does not listen in time, with what
            it said.
    """
    with tempfile.TemporaryDirectory() as directory:
        url, process = start(Path(directory) / "anvil.log")
        try:
            yield url
        finally:
            end(process)


def start(log: Path, *, keeps_history: bool = False) -> tuple[str, subprocess.Popen[bytes]]:
    """A fresh chain for the caller to ``end``: its RPC address and process; what it says goes to
    the log.

    The system chooses the port while anvil takes it, so nobody can take it in between. Raises as
    ``anvil``.
    """
    command = [
        str(anvil_path()),
        *("--host", "127.0.0.1", "--port", "0", "--accounts", "0", "--hardfork", "cancun"),
        *("--base-fee", "0", "--gas-price", "0", "--no-priority-fee", "--no-cors"),
        *(() if keeps_history else ("--prune-history",)),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        listening = _LISTENING.search(log.read_text(encoding="utf-8", errors="replace"))
        if listening is not None:
            return f"http://{listening[1]}", process
        time.sleep(0.01)
    end(process)
    raise Unavailable(
        "anvil_failed",
        "The throw-away chain anvil did not start.",
        hint=log.read_text(encoding="utf-8", errors="replace").strip()[-300:],
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """End a chain that ``start`` made."""
    process.kill()
    process.wait()
