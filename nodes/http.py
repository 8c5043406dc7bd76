"""A small HTTP/1.1 client over pinned TLS, for the calls one node makes to another.

General clients cost about a millisecond a request, a sixth of what a whole metered call may take;
this one does only what nodes need: kept-alive connections, JSON bodies with a length, a limit on
the answer's size, deadlines, and the peer's certificate shown to a callback before each request is
sent, as key and certificate may end while their connection is open. It uses uvicorn's own parser. A
connection serves one request at a time; more requests open more connections, up to a limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

import httptools
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chain.core.errors import QiaolianError
from nodes.answers import HttpAnswer

MAX_RESPONSE_BYTES = 64 << 20
_IDLE_SECONDS = 65.0
"""Idle connections older than this are not used again; the servers keep theirs longer. It is two
rounds of ``workers.peer_seconds``, so that these rounds need no new handshakes.
"""


@dataclass(frozen=True, slots=True)
class ShownCertificate:
    """The certificate a peer's server showed."""

    fingerprint: bytes
    """SHA-256 of its SubjectPublicKeyInfo."""
    ends_at: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class DatedAnswer:
    """The ``Date`` of an answer, and when the request left and the answer came, in Unix seconds of
    this node's clock.
    """

    sent_at: float
    received_at: float
    date: bytes


CertificateCheck = Callable[[ShownCertificate], Awaitable[None]]
"""Is given the peer's certificate; raises a ``QiaolianError`` to refuse the connection."""


class ConnectionLost(Exception):
    """The connection ended before the whole answer came."""


def client_tls() -> ssl.SSLContext:
    """TLS 1.3 without certificate authorities: the key is pinned instead."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def shown_certificate(der: bytes) -> ShownCertificate:
    """Read a certificate."""
    certificate = x509.load_der_x509_certificate(der)
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return ShownCertificate(
        hashlib.sha256(key).digest(), certificate.not_valid_after_utc.timestamp()
    )


class _Connection(asyncio.Protocol):
    """One connection; ``httptools`` calls the ``on_`` methods."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.certificate = ShownCertificate(b"", 0.0)
        self.date = b""
        self.used_at = 0.0
        self.served = 0
        self._waiter: asyncio.Future[HttpAnswer] | None = None
        self._parser: Any = None
        self._parts: list[bytes] = []
        self._size = 0
        self._type = ""

    @property
    def usable(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's TLS transport does not derive from asyncio.Transport, so it cannot be asked.
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._fail(ConnectionLost("closed"))

    def data_received(self, data: bytes) -> None:
        if self._waiter is None:
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail(ConnectionLost("not HTTP"))
            self.close()

    def send(self, request: bytes) -> asyncio.Future[HttpAnswer]:
        """Write one request; the future is its answer."""
        if self.transport is None:
            raise ConnectionLost("closed")
        self._waiter = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._parts, self._size, self._type, self.date = [], 0, "", b""
        self.transport.write(request)
        return self._waiter

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self._type = value.decode("latin-1")
        elif name.lower() == b"date":
            self.date = value

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > MAX_RESPONSE_BYTES:
            self._fail(ConnectionLost("answer too large"))
            self.close()
            return
        self._parts.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return
        if not self._parser.should_keep_alive():
            self.close()
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(HttpAnswer(status, self._type, b"".join(self._parts)))

    def _fail(self, error: Exception) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)


class Endpoint:
    """All connections to one host and port."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        tls: ssl.SSLContext,
        check: CertificateCheck,
        limit: int = 32,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._check = check
        self._idle: deque[_Connection] = deque()
        self._room = asyncio.Semaphore(limit)
        self._name = f"{host}:{port}"
        self._clock = clock
        self.last: DatedAnswer | None = None
        """The latest answer that has a date."""

    async def request(
        self, method: str, target: str, headers: list[tuple[str, str]], body: bytes
    ) -> HttpAnswer:
        """One request and its answer.

        Raises:
            ConnectionLost: the connection broke; whether the peer acted is not known.
            OSError: no connection could be made.
        """
        lines = [f"{method} {target} HTTP/1.1", f"host: {self._name}"]
        lines.extend(f"{name}: {value}" for name, value in headers)
        lines.append(f"content-length: {len(body)}\r\n\r\n")
        request = "\r\n".join(lines).encode("latin-1") + body
        async with self._room:
            connection = await self._kept() or await self._connect()
            sent_at = self._clock()
            try:
                answer = await connection.send(request)
            except BaseException:
                connection.close()
                raise
            if connection.date:
                self.last = DatedAnswer(sent_at, self._clock(), connection.date)
            if connection.usable:
                connection.used_at = asyncio.get_running_loop().time()
                self._idle.append(connection)
            return answer

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().close()

    async def _kept(self) -> _Connection | None:
        """An idle connection whose key is still right; a new one is made where none is, and says
        what is wrong.
        """
        oldest = asyncio.get_running_loop().time() - _IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            with contextlib.suppress(QiaolianError):
                if connection.usable and connection.used_at >= oldest:
                    await self._check(connection.certificate)
                    return connection
            connection.close()
        return None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        transport, connection = await loop.create_connection(
            _Connection, self._host, self._port, ssl=self._tls
        )
        try:
            shown = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
            connection.certificate = shown_certificate(shown)
            await self._check(connection.certificate)
        except BaseException:
            transport.close()
            raise
        return connection
