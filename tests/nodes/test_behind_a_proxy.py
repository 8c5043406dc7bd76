"""Proxies between nodes, and before a node: what passes through, and what a proxy says is laid on
the proxy.

Those named ``nginx`` run the configurations of ``docs/behind-a-proxy.md`` in a real nginx.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from chain.core.errors import QiaolianError, RefusedBy, Refuser
from chain.core.loopback import free_ports
from chain.keys.files import tls_certificate, tls_fingerprint, tls_private_pem
from chain.statements.members import Algorithm, KeyPurpose
from nodes.cli import main as cli
from nodes.client import NodeClient
from nodes.config import Peer
from nodes.provision import Organisation
from tests.nodes.conftest import TestNetwork, eventually
from tests.nodes.test_peers import WithPeers, refusal_of, use
from tests.support.real_parts import REAL_PARTS, real_part

__all__ = ["use"]

DOCS = Path(__file__).parents[2] / "docs" / "behind-a-proxy.md"
(STREAM_MODULE,) = REAL_PARTS["nginx"].needs
MIB = 1 << 20

PAGES = [
    (413, "text/html", "proxy_body_too_large"),
    (502, "text/html", "proxy_bad_gateway"),
    (503, "text/html", "proxy_unavailable"),
    (504, "text/html; charset=utf-8", "proxy_timeout"),
    (407, "text/html", "proxy_forbidden"),
    (429, "application/json", "proxy_busy"),
    (302, "text/html", "not_a_node"),
    (404, "text/html", "not_a_node"),
    (200, "text/html", "not_a_node"),
]


@dataclass
class Front:
    """Something that opens TLS before a node, with a key of its own."""

    directory: Path
    port: int

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def certificate(self) -> Path:
        return self.directory / "front.crt.pem"

    def client(self, organisation: Organisation, role: str) -> NodeClient:
        return NodeClient(self.url, certificate=self.certificate, token=organisation.token(role))


@pytest.fixture(scope="module")
def keys(network: TestNetwork, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with a proxy's TLS key, which the department registered as one of its own."""
    directory = tmp_path_factory.mktemp("front")
    key = ec.generate_private_key(ec.SECP256R1())
    (directory / "front.crt.pem").write_bytes(tls_certificate(key, "front"))
    (directory / "front.key.pem").write_bytes(tls_private_pem(key))
    name = tls_fingerprint(key.public_key())
    member = network.of("department").member
    network.governance.execute(
        [("addKey", (member, (name, int(KeyPurpose.TLS), int(Algorithm.P256))))]
    )
    yield directory
    network.governance.execute([("endKey", (name, b"test".ljust(32, b"\0")))])


@contextmanager
def pages(keys: Path, status: int, content_type: str) -> Iterator[Front]:
    """A server that answers everything with the same page."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            body = b"<html><h1>proxy</h1></html>"
            self.send_response(status)
            self.send_header("content-type", content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "front.crt.pem", keys / "front.key.pem")
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield Front(keys, server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def peers_refusal(use: WithPeers, front: Front, member: str, *, body: int = 2) -> QiaolianError:
    """What the bank's node makes of the answer to a request to a member whose node is behind a
    proxy, once the proxy's key is known.
    """

    async def ask(peers: Any) -> QiaolianError:
        async with asyncio.timeout(60):
            while True:
                try:
                    await peers.post(member, "/v1/peer/ping", b'"' + b"x" * (body - 2) + b'"')
                except QiaolianError as error:
                    if error.code not in ("peer_wrong_certificate", "chain_view_stale"):
                        return error
                    await asyncio.sleep(0.02)

    error: QiaolianError = use(ask, **{member: Peer(url=front.url)})
    return error


# --- Pages in place of answers --------------------------------------------------------------------


@pytest.mark.parametrize(("status", "content_type", "code"), PAGES)
def test_a_page_between_nodes_is_laid_on_the_proxy(
    network: TestNetwork, use: WithPeers, keys: Path, status: int, content_type: str, code: str
) -> None:
    member = network.of("department").member
    with pages(keys, status, content_type) as front:
        error = peers_refusal(use, front, member)
    assert (error.code, error.status) == (code, 413 if status == 413 else 503)
    assert error.refused_by == RefusedBy(Refuser.PROXY, member, front.address)


@pytest.mark.parametrize(("status", "content_type", "code"), PAGES)
def test_a_page_before_the_own_node_is_laid_on_the_proxy(
    network: TestNetwork,
    keys: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    content_type: str,
    code: str,
) -> None:
    monkeypatch.setenv("QIAOLIAN_TOKEN", network.of("bank").token("clerk"))
    with pages(keys, status, content_type) as front:
        arguments = ["--url", front.url, "--certificate", str(front.certificate)]
        assert cli.main(["asset", "list", *arguments]) == (2 if status == 413 else 4)
        assert cli.main(["health", *arguments]) == (2 if status == 413 else 4)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith(f"error[{code}]: ")
        assert line.endswith(f"Refused by: proxy at {front.address}.")


# --- The configurations of the page ---------------------------------------------------------------


@contextmanager
def nginx(directory: Path, port: int, blocks: str) -> Iterator[None]:
    """A real nginx with these blocks, until it is no longer needed."""
    program = real_part("nginx")
    directory.mkdir()
    config = directory / "nginx.conf"
    temporary = "".join(
        f"{kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    if blocks.startswith("server"):
        blocks = f"http {{ access_log off; {temporary}\n{blocks} }}"
    config.write_text(
        f"load_module {STREAM_MODULE};\npid {directory}/pid;\nerror_log stderr;\nevents {{}}\n{blocks}"
    )
    with (directory / "log").open("wb") as log:
        command = [
            program,
            "-p",
            str(directory),
            "-c",
            str(config),
            "-g",
            "daemon off; master_process off;",
        ]
        process = subprocess.Popen(command, stderr=log)
    try:
        assert eventually(lambda: process.poll() is not None or accepts(port), seconds=20)
        assert process.poll() is None, (directory / "log").read_text()
        yield
    finally:
        process.terminate()
        process.wait(20)


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def example(index: int, changes: dict[str, str]) -> str:
    """A configuration of the page with its names and addresses replaced by the test's."""
    block = re.findall(r"```nginx\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)[index]
    for old, new in changes.items():
        assert old in block, old
        block = block.replace(old, new)
    return str(block)


@pytest.fixture
def front(keys: Path, tmp_path: Path) -> Callable[..., Any]:
    """The page's reverse proxy before a node; some of its lines may be changed."""

    @contextmanager
    def made(organisation: Organisation, *, upstream: int = 0, **changes: str) -> Iterator[Front]:
        (port,) = free_ports(1)
        ours = {
            "listen 443": f"listen 127.0.0.1:{port}",
            "10.0.0.5:8443": f"127.0.0.1:{upstream or organisation.plan.port}",
            "/etc/nginx/node.crt.pem": str(organisation.certificate),
            "/etc/nginx/": f"{keys}/",
        }
        with nginx(tmp_path / "http", port, example(1, {**ours, **changes})):
            yield Front(keys, port)

    return made


def test_nginx_passes_tls_between_nodes_through_by_name(
    network: TestNetwork, use: WithPeers, tmp_path: Path
) -> None:
    department, bank = network.of("department"), network.of("bank").member
    (port,) = free_ports(1)
    changes = {
        "listen 443": f"listen 127.0.0.1:{port}",
        "tax.example.gov.cn": "localhost",
        "10.0.0.5:8443": f"127.0.0.1:{department.plan.port}",
    }

    async def both(peers: Any) -> list[Any]:
        return await asyncio.gather(
            *(
                peers.post(department.member, "/v1/peer/ping", {"a": "x" * size})
                for size in (1, MIB // 5)
            )
        )

    with nginx(tmp_path / "stream", port, example(0, changes)):
        through = Peer(url=f"https://localhost:{port}")
        answers = use(both, **{department.member: through})
        unnamed = refusal_of(
            lambda: use(both, **{department.member: Peer(url=f"https://127.0.0.1:{port}")})
        )
        other = refusal_of(
            lambda: use(
                lambda peers: peers.get(network.of("operator").member, "/"),
                **{network.of("operator").member: through},
            )
        )
    assert [answer["member"] for answer in answers] == [bank, bank]
    assert (unnamed.code, unnamed.refused_by.kind) == ("peer_unreachable", Refuser.PEER)
    assert other.code == "peer_wrong_certificate"


def test_nginx_before_a_node_lets_its_own_people_through_and_peers_not(
    network: TestNetwork, front: Any
) -> None:
    bank = network.of("bank")
    with front(bank) as before:
        client = before.client(bank, "clerk")
        assert "assets" in client.get("/v1/assets")
        unknown = refusal_of(lambda: client.get("/v1/operations/none?wait=1"))
        assert (unknown.code, unknown.refused_by) == (
            "operation_unknown",
            RefusedBy(Refuser.NODE, bank.member),
        )
        large = refusal_of(lambda: client.post("/v1/assets", {"name": "x" * (2 * MIB)}))
        assert (large.code, large.refused_by.kind) == ("body_too_large", Refuser.NODE)
        headers = {
            **client.headers(),
            "x-forwarded-for": "10.9.9.9",
            "forwarded": "for=10.9.9.9",
            "x-forwarded-proto": "http",
        }
        assert client.raw("GET", "/v1/assets", b"", headers).status == 200
        peer = refusal_of(lambda: client.post("/v1/peer/ping", {}))
        assert (peer.code, peer.refused_by.kind) == ("not_a_node", Refuser.PROXY)
        client.close()


def test_nginx_that_takes_smaller_bodies_is_named(network: TestNetwork, front: Any) -> None:
    bank = network.of("bank")
    with front(bank, **{"client_max_body_size 10m;": ""}) as before:
        client = before.client(bank, "clerk")
        error = refusal_of(lambda: client.post("/v1/calls/batch", {"calls": ["x" * MIB]}))
        client.close()
    assert (error.code, error.status, error.refused_by) == (
        "proxy_body_too_large",
        413,
        RefusedBy(Refuser.PROXY, address=before.address),
    )


def test_nginx_between_nodes_that_takes_smaller_bodies_is_named(
    network: TestNetwork, use: WithPeers, front: Any
) -> None:
    department = network.of("department")
    with front(department, **{"client_max_body_size 10m;": "", "/v1/peer/": "/v2/"}) as before:
        error = peers_refusal(use, before, department.member, body=MIB + 1)
    assert (error.code, error.status) == ("proxy_body_too_large", 413)
    assert error.refused_by == RefusedBy(Refuser.PROXY, department.member, before.address)


def test_nginx_without_its_node_is_named(network: TestNetwork, use: WithPeers, front: Any) -> None:
    department = network.of("department")
    (nobody,) = free_ports(1)
    with front(department, upstream=nobody, **{"/v1/peer/": "/v2/"}) as before:
        client = before.client(department, "clerk")
        own = refusal_of(lambda: client.get("/v1/assets"))
        between = peers_refusal(use, before, department.member)
        client.close()
    assert (own.code, own.refused_by) == (
        "proxy_bad_gateway",
        RefusedBy(Refuser.PROXY, address=before.address),
    )
    assert (between.code, between.refused_by) == (
        "proxy_bad_gateway",
        RefusedBy(Refuser.PROXY, department.member, before.address),
    )


def test_nginx_that_waits_less_than_its_node_takes_is_named(
    network: TestNetwork, use: WithPeers, front: Any
) -> None:
    department = network.of("department")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        impatient = {
            "read_timeout 130s": "read_timeout 1s",
            "connect_timeout 5s": "connect_timeout 1s",
            "/v1/peer/": "/v2/",
        }
        with front(department, upstream=silent.getsockname()[1], **impatient) as before:
            client = before.client(department, "clerk")
            own = refusal_of(lambda: client.get("/v1/assets"))
            between = peers_refusal(use, before, department.member)
            client.close()
    assert (own.code, own.refused_by.kind) == ("proxy_timeout", Refuser.PROXY)
    assert (between.code, between.refused_by) == (
        "proxy_timeout",
        RefusedBy(Refuser.PROXY, department.member, before.address),
    )
