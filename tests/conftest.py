"""Chains that the whole run shares: real validators for the session, a throw-away chain for each module; and loopback
servers that play a chain node gone wrong.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import hypothesis
import pytest

from chain.anvil import anvil as throw_away_chain
from chain.engine.build import build
from chain.engine.network import Network

# A slow machine fails no test.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

ORGANISATIONS = ["operator", "supervisor", "bank", "department"]


def _network(directory: pytest.TempPathFactory, organisations: list[str]) -> Iterator[Network]:
    build()
    network = Network.create(directory.mktemp("kcn") / "network", organisations)
    try:
        network.start()
        yield network
    finally:
        network.destroy()


@pytest.fixture(scope="session")
def kcn_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A real network of one validator. Tests may stop and kill it, and leave it running."""
    yield from _network(tmp_path_factory, ORGANISATIONS[:1])


@pytest.fixture(scope="session")
def kcn_network4(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A real network of four validators. Tests may stop and kill them, and leave them running."""
    yield from _network(tmp_path_factory, ORGANISATIONS)


@pytest.fixture(scope="module")
def anvil() -> Iterator[str]:
    """The RPC address of a fresh throw-away chain."""
    with throw_away_chain() as url:
        yield url


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
