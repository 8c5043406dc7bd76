"""Webhooks against real receivers: signed, retried, bounded, and never led to an inner service."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from qiaolian_client import webhooks as receiver_side

from chain.context import Context
from chain.core.errors import QiaolianError
from chain.keys.files import tls_certificate
from chain.statements.members import Role
from nodes.provision import Organisation
from nodes.webhooks import delivery, service
from nodes.webhooks.delivery import DeliverySettings, Sender
from nodes.webhooks.model import Attempt
from nodes.webhooks.store import WebhookRow
from nodes.webhooks.worker import WebhookWorker
from registry.pages import PageRequest
from tests.nodes.conftest import TestNetwork, eventually
from tests.support.console import TestClock, make_context

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
HOUR, DAY = 3_600, 86_400


class Receiver:
    """A system of the organisation's own: what it got, and what it answers."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 200
        self.location = ""
        self.endless = False
        self.silent = threading.Event()
        self.silent.set()
        self.url = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers["content-length"])
        self.got.append((dict(request.headers), request.rfile.read(length)))
        self.silent.wait(30)
        request.send_response(self.status)
        if self.location:
            request.send_header("location", self.location)
        request.end_headers()
        while self.endless:
            request.wfile.write(b"x" * 65_536)

    def event(self, secret: str, index: int = -1) -> receiver_side.Event:
        headers, body = self.got[index]
        return receiver_side.verify(
            body, headers[receiver_side.HEADER], secret=secret, tolerance=float("inf")
        )


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver on loopback."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            try:
                receiver.answer(self)
            except OSError:
                receiver.endless = False

        def log_message(self, format: str, *arguments: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    scheme = "http" if tls is None else "https"
    receiver.url = f"{scheme}://127.0.0.1:{server.server_address[1]}/hook"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.silent.set()
        receiver.endless = False
        server.shutdown()
        server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture
def context(tmp_path: Path, clock: TestClock) -> Iterator[Context]:
    made = make_context(tmp_path, clock, Role.BANK)
    yield made
    made.ledger.close()
    made.database.close()


def deliver(context: Context, settings: DeliverySettings = DeliverySettings(LOOPBACK)) -> None:
    """One round of the worker."""

    async def run() -> None:
        await WebhookWorker(context, Sender(settings)).round()

    asyncio.run(run())


def made(context: Context, url: str) -> tuple[str, str]:
    """A new webhook with a test event on its way; its id and secret."""
    webhook, secret = service.create(context, url=url, kinds=[])
    service.send_test(context, webhook.id)
    return webhook.id, secret


def last(context: Context, webhook_id: str) -> tuple[str, int, int | None, str]:
    row = service.deliveries(context, webhook_id, PageRequest()).rows[0]
    return row.state, row.attempts, row.status, row.error


def test_a_delivery_is_signed_and_names_the_organisation(
    context: Context, receiver: Receiver
) -> None:
    webhook_id, secret = made(context, receiver.url)
    deliver(context)
    event = receiver.event(secret)
    assert (event.kind, event.subject, event.member) == ("webhook.test", webhook_id, context.member)
    assert last(context, webhook_id) == ("delivered", 1, 200, "")
    deliver(context)
    assert len(receiver.got) == 1


def test_a_secret_is_shown_once_and_not_stored_in_clear(context: Context) -> None:
    _, secret = service.create(context, url="https://core.bank.example/", kinds=[])
    with context.database.read() as session:
        (row,) = session.query(WebhookRow)
    assert secret.encode() not in row.secret
    assert secret not in repr(service.listing(context))


def test_a_rotated_secret_and_the_former_one_sign_for_a_day(
    context: Context, receiver: Receiver, clock: TestClock
) -> None:
    webhook_id, former = made(context, receiver.url)
    _, secret = service.rotate(context, webhook_id)
    deliver(context)
    assert receiver.event(secret) == receiver.event(former)
    clock.at += DAY + 1
    service.send_test(context, webhook_id)
    deliver(context)
    receiver.event(secret)
    with pytest.raises(receiver_side.DeliveryRefused):
        receiver.event(former)


def test_a_failed_delivery_is_repeated_later_with_the_same_event(
    context: Context, receiver: Receiver, clock: TestClock
) -> None:
    webhook_id, secret = made(context, receiver.url)
    receiver.status = 500
    deliver(context)
    deliver(context)
    assert len(receiver.got) == 1
    assert last(context, webhook_id) == ("pending", 1, 500, "webhook_answer")
    clock.at += 5
    receiver.status = 204
    deliver(context)
    assert receiver.event(secret, 0) == receiver.event(secret, 1)
    assert last(context, webhook_id) == ("delivered", 2, 204, "")


def test_a_webhook_is_disabled_after_three_days_and_its_deliveries_can_be_replayed(
    context: Context, receiver: Receiver, clock: TestClock
) -> None:
    webhook_id, secret = made(context, receiver.url)
    receiver.status = 503
    for _ in range(100):
        deliver(context)
        clock.at += HOUR
    found = service.find(context, webhook_id)
    assert (found.active, found.disabled_reason) == (False, "failing")
    assert last(context, webhook_id)[0] == "failed"
    before = len(receiver.got)
    deliver(context)
    assert len(receiver.got) == before
    with pytest.raises(QiaolianError, match="disabled"):
        service.send_test(context, webhook_id)
    receiver.status = 200
    service.set_active(context, webhook_id, active=True)
    row = service.deliveries(context, webhook_id, PageRequest()).rows[0]
    service.replay(context, webhook_id, row.id)
    deliver(context)
    assert last(context, webhook_id) == ("delivered", 1, 200, "")
    assert receiver.event(secret).id == row.event.id


def test_a_redirect_is_not_followed(context: Context, receiver: Receiver) -> None:
    with receiving() as inner:
        receiver.status, receiver.location = 307, inner.url
        webhook_id, _ = made(context, receiver.url)
        deliver(context)
        assert last(context, webhook_id) == ("pending", 1, 307, "webhook_redirect")
        assert inner.got == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.1", "2130706433"])
def test_no_inner_service_is_reached_by_whatever_name(
    context: Context, receiver: Receiver, host: str
) -> None:
    port = receiver.url.split(":")[-1]
    webhook_id, _ = made(context, f"https://{host}:{port}")
    deliver(context, DeliverySettings())
    assert last(context, webhook_id) == ("pending", 1, None, "webhook_address_refused")
    assert receiver.got == []


def test_a_receiver_that_does_not_answer_costs_a_bounded_time(
    context: Context, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "TIMEOUT_SECONDS", 0.2)
    receiver.silent.clear()
    webhook_id, _ = made(context, receiver.url)
    deliver(context)
    assert last(context, webhook_id) == ("pending", 1, None, "webhook_timeout")


def test_an_answer_without_end_is_not_read(context: Context, receiver: Receiver) -> None:
    receiver.endless = True
    webhook_id, _ = made(context, receiver.url)
    deliver(context)
    assert last(context, webhook_id) == ("delivered", 1, 200, "")


def test_only_a_trusted_certificate_is_accepted(context: Context, tmp_path: Path) -> None:
    key, certificate = tls_files(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with receiving(tls) as receiver:
        webhook_id, secret = made(context, receiver.url)
        deliver(context)
        assert last(context, webhook_id) == ("pending", 1, None, "webhook_certificate")
        assert receiver.got == []
        row = service.deliveries(context, webhook_id, PageRequest()).rows[0]
        service.replay(context, webhook_id, row.id)
        deliver(context, DeliverySettings(LOOPBACK, certificate))
        assert receiver.event(secret).subject == webhook_id


def tls_files(directory: Path) -> tuple[Path, Path]:
    """The key and the self-signed certificate of a receiver."""
    made = ec.generate_private_key(ec.SECP256R1())
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    key.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificate.write_bytes(tls_certificate(made, "receiver"))
    return key, certificate


def test_an_attempt_of_a_removed_webhook_leaves_nothing(
    context: Context, receiver: Receiver
) -> None:
    webhook_id, _ = made(context, receiver.url)
    (due,) = service.due(context, limit=10)
    service.remove(context, webhook_id)
    service.record(context, due, Attempt(500, "webhook_answer"))
    assert service.listing(context) == []
    assert service.due(context, limit=10) == []


def test_what_happened_on_the_chain_is_told_to_those_it_concerns(
    network: TestNetwork, agree: Callable[..., dict[str, Any]], receiver: Receiver
) -> None:
    bank, supervisor = network.of("bank"), network.of("supervisor")
    secret, _ = added(bank, receiver), added(supervisor, receiver)
    sold = agree("people-hooks")

    def received_kinds() -> list[str]:
        events = [receiver.event(secret, index) for index in range(len(receiver.got))]
        return [event.kind for event in events if event.subject == sold["agreement"]]

    eventually(lambda: supervisor.client("auditor").get(f"/v1/agreements/{sold['agreement']}"))
    assert eventually(received_kinds) == ["agreement.opened"]
    assert {row["event"]["kind"] for row in listed(bank)} >= {"grant.approved", "agreement.opened"}
    assert listed(supervisor) == []
    with pytest.raises(QiaolianError, match="administrator"):
        bank.client("clerk").get("/v1/webhooks")
    for organisation in (bank, supervisor):
        client = organisation.client("administrator")
        (webhook,) = client.get("/v1/webhooks")["webhooks"]
        client.request("DELETE", f"/v1/webhooks/{webhook['id']}")


def listed(organisation: Organisation) -> list[dict[str, Any]]:
    """The deliveries of a node's one webhook."""
    client = organisation.client("administrator")
    (webhook,) = client.get("/v1/webhooks")["webhooks"]
    rows: list[dict[str, Any]] = client.get(f"/v1/webhooks/{webhook['id']}/deliveries")[
        "deliveries"
    ]
    return rows


def added(organisation: Organisation, receiver: Receiver) -> str:
    """A webhook of a running node; its secret."""
    answer = organisation.client("administrator").post("/v1/webhooks", {"url": receiver.url})
    secret: str = answer["secret"]
    return secret
