"""The way between nodes: pinned keys, errors by code, connections that break."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from chain.core.errors import Forbidden, NotFound, QiaolianError, Unauthorised
from chain.ethereum.finality import UnsealedForTestsOnly
from chain.ethereum.view import ChainView
from chain.keys.files import KeyStore, tls_certificate, tls_private_pem
from chain.statements.members import Algorithm, KeyPurpose
from nodes import config
from nodes.config import Peer
from nodes.http import shown_certificate
from nodes.peers import HttpPeers
from nodes.tokens import TokenIssuer
from tests.nodes.conftest import TestNetwork, eventually

WithPeers = Callable[..., Any]
"""Runs a coroutine with the bank's peers; its result."""


@pytest.fixture
def use(network: TestNetwork) -> Iterator[WithPeers]:
    """Runs a coroutine with the bank's peers, some of whose addresses may be changed."""
    bank = network.of("bank")
    read = config.load(bank.plan.directory / "node.toml")
    signer = KeyStore(bank.plan.directory / "keys", read.passphrase()).secp256k1("token")
    view = ChainView(network.chain.url, network.deployment, UnsealedForTestsOnly())
    view.start(wait_seconds=60)

    def run(
        work: Callable[[HttpPeers], Awaitable[Any]], *, timeout: float = 60.0, **changed: Any
    ) -> Any:
        async def inside() -> Any:
            issuer = TokenIssuer(member=bank.member, signer=signer, deployment=network.deployment)
            peers = HttpPeers(
                peers={**read.peers, **changed}, issuer=issuer, view=view, timeout=timeout
            )
            try:
                return await work(peers)
            finally:
                peers.close()

        return asyncio.run(inside())

    yield run
    view.stop()


def refusal_of(action: Callable[[], Any]) -> QiaolianError:
    with pytest.raises(QiaolianError) as caught:
        action()
    return caught.value


def test_many_requests_at_once_share_connections_and_all_come_back(
    network: TestNetwork, use: WithPeers
) -> None:
    department = network.of("department").member

    async def many(peers: HttpPeers) -> list[Any]:
        return await asyncio.gather(
            *(peers.post(department, "/v1/peer/ping", {"n": n}) for n in range(200))
        )

    assert [item["member"] for item in use(many)] == [network.of("bank").member] * 200


def test_a_peers_refusal_comes_back_as_our_own_error_by_code(
    network: TestNetwork, use: WithPeers
) -> None:
    department = network.of("department").member
    error = refusal_of(lambda: use(lambda peers: peers.get(department, "/v1/assets")))
    assert (type(error), error.code, error.context["peer"]) == (
        Forbidden,
        "role_missing",
        department,
    )
    error = refusal_of(lambda: use(lambda peers: peers.get(department, "/v1/peer/nothing")))
    assert (type(error), error.code) == (NotFound, "path_unknown")


def test_a_member_without_an_address_is_unknown(use: WithPeers) -> None:
    error = refusal_of(lambda: use(lambda peers: peers.get("91440300MA5F000012", "/v1/peer/ping")))
    assert error.code == "peer_unknown"


def test_a_node_that_does_not_run_is_unreachable(network: TestNetwork, use: WithPeers) -> None:
    department = network.of("department").member
    changed = {department: Peer(url="https://127.0.0.1:1")}
    assert (
        refusal_of(
            lambda: use(lambda peers: peers.get(department, "/v1/peer/ping"), **changed)
        ).code
        == "peer_unreachable"
    )


def test_another_members_node_at_the_address_is_refused_before_any_request(
    network: TestNetwork, use: WithPeers
) -> None:
    department, operator = network.of("department").member, network.of("operator")
    changed = {department: Peer(url=operator.url)}
    error = refusal_of(lambda: use(lambda peers: peers.get(department, "/v1/peer/ping"), **changed))
    assert error.code == "peer_wrong_certificate"


def test_a_pin_that_differs_from_the_directory_is_refused(
    network: TestNetwork, use: WithPeers
) -> None:
    department = network.of("department")
    changed = {department.member: Peer(url=department.url, tls="0x" + "00" * 32)}
    error = refusal_of(
        lambda: use(lambda peers: peers.get(department.member, "/v1/peer/ping"), **changed)
    )
    assert error.code == "peer_wrong_certificate"


@pytest.fixture
def impostor(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A TLS server with a key that is not pinned, and the tokens it received."""
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "c.pem").write_bytes(tls_certificate(key, "impostor"))
    (tmp_path / "k.pem").write_bytes(tls_private_pem(key))
    received: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            received.append(self.headers["authorization"])
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}", received
    server.shutdown()
    server.server_close()


def test_no_request_is_sent_on_an_open_connection_after_the_peers_key_ended(
    network: TestNetwork, use: WithPeers, impostor: tuple[str, list[str]], tmp_path: Path
) -> None:
    department = network.of("department").member
    url, _ = impostor
    key = shown_certificate(ssl.PEM_cert_to_DER_cert((tmp_path / "c.pem").read_text())).fingerprint
    network.governance.execute(
        [("addKey", (department, (key, int(KeyPurpose.TLS), int(Algorithm.P256))))]
    )

    async def code(peers: HttpPeers) -> str:
        try:
            await peers.get(department, "/v1/peer/ping")
        except QiaolianError as error:
            return error.code
        return ""

    async def over_its_end(peers: HttpPeers) -> str:
        async with asyncio.timeout(60):
            while await code(peers):
                await asyncio.sleep(0.02)
            await asyncio.to_thread(
                network.governance.execute, [("endKey", (key, b"stolen".ljust(32, b"\0")))]
            )
            while not (refused := await code(peers)):
                await asyncio.sleep(0.02)
            return refused

    assert use(over_its_end, **{department: Peer(url=url)}) == "peer_wrong_certificate"


def test_an_impostor_gets_no_token(
    network: TestNetwork, use: WithPeers, impostor: tuple[str, list[str]]
) -> None:
    department = network.of("department").member
    url, received = impostor
    error = refusal_of(
        lambda: use(
            lambda peers: peers.get(department, "/v1/peer/ping"), **{department: Peer(url=url)}
        )
    )
    assert error.code == "peer_wrong_certificate"
    assert received == []


def test_a_node_killed_between_requests_is_reached_again(
    network: TestNetwork, use: WithPeers
) -> None:
    department = network.of("department")

    async def over_a_kill(peers: HttpPeers) -> list[str]:
        codes = []
        for kill in (False, True, False):
            if kill:
                await asyncio.to_thread(department.node.kill)
            try:
                await peers.get(department.member, "/v1/peer/ping")
                codes.append("")
            except QiaolianError as error:
                codes.append(error.code)
                department.node.start()
                await asyncio.to_thread(department.node.wait_ready, department.client(None))
        return codes

    assert use(over_a_kill) == ["", "peer_unreachable", ""]


def test_a_suspended_members_own_calls_are_refused_by_code(
    network: TestNetwork, use: WithPeers
) -> None:
    bank, department = network.of("bank"), network.of("department").member

    def ping() -> Any:
        return use(lambda peers: peers.get(department, "/v1/peer/ping"))

    def refusal() -> QiaolianError | None:
        try:
            ping()
        except QiaolianError as error:
            return error
        return None

    network.governance.execute([("suspend", (bank.member, b"test".ljust(32, b"\0")))])
    try:
        error = eventually(refusal)
        assert (error.code, error.status) == ("member_suspended", 403)
    finally:
        network.governance.execute([("lift", (bank.member,))])
    assert eventually(ping) == {"member": bank.member}


def test_a_node_without_a_token_is_unauthorised(network: TestNetwork) -> None:
    with pytest.raises(Unauthorised):
        network.of("department").client(None).get("/v1/peer/ping")
