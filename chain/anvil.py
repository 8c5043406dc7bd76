"""A throw-away chain for tests: anvil, which starts in a tenth of a second and can move its clock.

It keeps nothing after its end and has no validators, so it never holds data that matters.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import contracts
from chain.errors import QiaolianError, Unavailable
from chain.rpc import Rpc

START_SECONDS = 15.0
_PACKAGES = Path(contracts.__file__).resolve().parent / "node_modules" / "@foundry-rs"


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
    """A fresh chain on a free port; its RPC address. It ends with the block.

    Raises:
        Unavailable: ``anvil_missing``; ``anvil_failed`` when it does not answer in time, with what it said.
    """
    program = anvil_path()
    with tempfile.TemporaryFile() as log:
        port = _free_port()
        process = subprocess.Popen(_command(program, port), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            if not _answers(url, process):
                log.seek(0)
                said = log.read().decode(errors="replace").strip()[-300:]
                raise Unavailable("anvil_failed", "The throw-away chain anvil did not start.", hint=said)
            yield url
        finally:
            process.kill()
            process.wait()


def _command(program: Path, port: int) -> list[str]:
    return [
        str(program),
        *("--host", "127.0.0.1", "--port", str(port), "--accounts", "0", "--hardfork", "cancun"),
        *("--base-fee", "0", "--gas-price", "0", "--no-priority-fee", "--prune-history", "--no-cors"),
    ]


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    rpc = Rpc([url], timeout=1)
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            rpc.call("eth_blockNumber")
            return True
        except QiaolianError:
            time.sleep(0.01)
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
