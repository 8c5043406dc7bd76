"""Chains that a module's tests share: real validators, or a throw-away chain; and loopback servers
that play a chain node gone wrong.

Nothing here outlives the module that asked for it: a network that waits for later tests costs
processor time all the while.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from chain.core import loopback
from chain.core.memory import return_freed_memory
from chain.engine.build import build
from chain.engine.network import Network
from chain.ethereum.anvil import anvil as throw_away_chain
from nodes.provision import NodeProcess
from tests.support import node_forks
from tests.support.postgresql import PostgresServer, postgres_server

# A slow machine fails no test. ``./scripts/test --long`` takes the second profile.
hypothesis.settings.register_profile("short", deadline=None, max_examples=50)
hypothesis.settings.register_profile("long", deadline=None, max_examples=400)
hypothesis.settings.load_profile("short")

FIRST = (
    "tests/nodes/",
    "tests/chain/test_engine.py",
    "tests/scripts/test_key_replacement.py",
    "tests/scripts/test_demo.py",
    "tests/registry/",
    "tests/scripts/test_people.py",
    "tests/federated/horizontal/test_flower.py",
    "tests/scripts/test_federated_demo.py",
    "tests/console/test_bank_browser.py",
)
"""What takes longest in one piece, and so begins first in a parallel run."""

SHARE_A_NETWORK = ("tests/nodes/",)
"""Folders whose tests stay in one process, as starting their network takes longer than a second."""

MEMORY_OF_WORKERS: list[int] = []


def pytest_configure() -> None:
    """Let programs that tests start be interrupted, and give each process of a parallel run its own
    part of the ports for them.
    """
    if (
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):  # as in a shell's background job; what is started would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    worker, count = (
        os.environ.get("PYTEST_XDIST_WORKER"),
        int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")),
    )
    if worker is not None:
        part, start = len(loopback.PORTS) // count, loopback.PORTS.start
        loopback.PORTS = range(start + part * int(worker[2:]), start + part * (int(worker[2:]) + 1))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """In a parallel run, keep the tests of a module together, and those of a folder whose modules
    share a network.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByNetwork(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next(
                (folder for folder in SHARE_A_NETWORK if nodeid.startswith(folder)),
                nodeid.partition("::")[0],
            )

    return ByNetwork(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a parallel run, begin with what takes longest."""
    if hasattr(config, "workerinput"):
        items.sort(key=_place_in_a_parallel_run)


def pytest_collection_finish() -> None:
    """Modules and tests never become garbage: collections need not look at them again and again."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the run how much memory this process took."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["peak_megabytes"] = _peak_megabytes()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take what a process of a parallel run told."""
    if peak := getattr(node, "workeroutput", {}).get("peak_megabytes"):
        MEMORY_OF_WORKERS.append(peak)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the most memory that each test process held; docs/tests.md has the limit."""
    peaks = ", ".join(map(str, MEMORY_OF_WORKERS or [_peak_megabytes()]))
    terminalreporter.write_line(f"peak memory of the test processes: {peaks} MB")


def _peak_megabytes() -> int:
    """The most memory that this process has held at once (resident set)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


@pytest.fixture(autouse=True, scope="session")
def _nodes_are_forked() -> None:
    """Start node processes with the program imported."""
    NodeProcess._spawn = node_forks.spawn


@pytest.fixture(autouse=True, scope="module")
def _memory_is_returned() -> Iterator[None]:
    """Give back what a module's tests held."""
    yield
    return_freed_memory()


def _place_in_a_parallel_run(item: pytest.Item) -> int:
    return next(
        (index for index, start in enumerate(FIRST) if item.nodeid.startswith(start)), len(FIRST)
    )


ORGANISATIONS = ["operator", "supervisor", "bank", "department"]


def _network(directory: pytest.TempPathFactory, organisations: list[str]) -> Iterator[Network]:
    build()
    network = Network.create(directory.mktemp("kcn") / "network", organisations)
    try:
        network.start()
        yield network
    finally:
        network.destroy()


@pytest.fixture(scope="module")
def kcn_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A real network of one validator. Tests may stop and kill it, and leave it running."""
    yield from _network(tmp_path_factory, ORGANISATIONS[:1])


@pytest.fixture(scope="module")
def kcn_network4(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A real network of four validators. Tests may stop and kill them, and leave them running."""
    yield from _network(tmp_path_factory, ORGANISATIONS)


@pytest.fixture(scope="module")
def anvil() -> Iterator[str]:
    """The RPC address of a fresh throw-away chain."""
    with throw_away_chain() as url:
        yield url


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgresServer]:
    """A real PostgreSQL server; skipped or failed without one (``tests.support.real_parts``)."""
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind that a node takes."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/node.db"
    server: PostgresServer = request.getfixturevalue("postgresql")
    return server.new_database()


@pytest.fixture(autouse=True)
def own_log_handler() -> Iterator[None]:
    """Take away the handler of a command that ran in this process: it writes to the stream that the
    test captured.
    """
    yield
    root = logging.getLogger()
    for handler in list(root.handlers):
        if type(handler) is logging.StreamHandler:
            root.removeHandler(handler)


Answer = Callable[[Any], bytes]


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    """Serve a function from a JSON-RPC request to the answer's bytes, on a free loopback port."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: Any) -> None:
                return None

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
