"""The listener: limits on connections and their duration.

uvicorn bounds none of this, so a stranger could keep sockets and memory for nothing. Here

* a TLS handshake, a request's head, its body and a response nobody reads each have a deadline;
* a request's head has a size limit;
* connections that have not shown an accepted token are counted, by address and in all. An address
  at its limit gets no further connection; when there are too many in all, the oldest one is closed,
  so that newcomers are always heard. A connection that has shown an accepted token counts for its
  caller alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from chain.core.errors import Unavailable

log = logging.getLogger("qiaolian.connections")

_ACCEPT_PAUSE = 0.2
"""After the system refused another connection, for example for want of file descriptors."""
_TLS_SHUTDOWN_SECONDS = 2.0
_LINGER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Deadlines in seconds, and limits on unauthenticated connections."""

    handshake_seconds: float
    head_seconds: float
    body_seconds: float
    write_seconds: float
    head_bytes: int
    per_address: int
    per_caller: int
    strangers: int


class ConnectionTable:
    """Open connections: unauthenticated ones, oldest first, and a count per accepted caller."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._by_address: Counter[str] = Counter()
        self._by_caller: Counter[str] = Counter()
        self._strangers: dict[ClientConnection, None] = {}

    def admit(self, visitor: ClientConnection) -> bool:
        """Count a new connection, unless its address has too many; the oldest gives way to it."""
        if self._by_address[visitor.address] >= self._limits.per_address:
            return False
        self._by_address[visitor.address] += 1
        self._strangers[visitor] = None
        if len(self._strangers) > self._limits.strangers:
            next(iter(self._strangers)).close()
        return True

    def accept(self, visitor: ClientConnection, caller: str) -> None:
        """Count the connection as this caller's, whose token was accepted, and no longer as a
        stranger's.

        Raises:
            Unavailable: ``too_many_connections``; the connection stays a stranger's.
        """
        if self._by_caller[caller] >= self._limits.per_caller:
            raise Unavailable(
                "too_many_connections",
                "This caller holds too many connections.",
                hint="Use the connections that are open, or close some.",
            )
        self._by_caller[caller] += 1
        self._forget(visitor)

    def release(self, visitor: ClientConnection) -> None:
        """The connection ended."""
        if visitor.caller:
            self._by_caller = self._by_caller - Counter([visitor.caller])
            visitor.caller = ""
        self._forget(visitor)

    def _forget(self, visitor: ClientConnection) -> None:
        if visitor in self._strangers:
            del self._strangers[visitor]
            self._by_address = self._by_address - Counter([visitor.address])


class ClientConnection:
    """One connection: during the handshake a bare socket, then a protocol."""

    def __init__(self, address: str, connections: ConnectionTable) -> None:
        self.address = address
        self._connections = connections
        self.caller = ""
        """Whose token was accepted on it; empty for a stranger."""
        self.handshake: asyncio.Task[None] | None = None
        self.protocol: DeadlineProtocol | None = None

    @property
    def trusted(self) -> bool:
        """Whether an accepted token was shown."""
        return bool(self.caller)

    def release(self) -> None:
        """No longer count it."""
        self._connections.release(self)

    def trust(self, caller: str) -> None:
        """An accepted token of this caller was shown: no stranger's connection any more."""
        self._connections.accept(self, caller)
        self.caller = caller

    def read_without_deadline(self) -> None:
        """The endpoint reads this request's body itself, and bounds the time between its parts."""
        if self.protocol is not None:
            self.protocol.end_body_deadline()

    def close(self) -> None:
        """Cut the connection, whatever it is doing."""
        self.release()
        if self.protocol is not None:
            self.protocol.abort()
        elif self.handshake is not None:
            self.handshake.cancel()


class DeadlineProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with deadlines for a request's head and body and for reading
    responses.
    """

    def __init__(
        self, *arguments: Any, limits: ConnectionLimits, visitor: ClientConnection, **named: Any
    ) -> None:
        super().__init__(*arguments, **named)
        self._limits = limits
        self._visitor = visitor
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._in_head = True
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin the first head's deadline."""
        super().connection_made(transport)
        self._visitor.protocol = self
        self._read_within(self._limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """End what was counted and timed."""
        self._cancel()
        self._visitor.release()
        self._visitor.protocol = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; a head that grows over its limit ends the connection."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > self._limits.head_bytes:
            self.abort()
        elif self._reading is None and (self.cycle is None or self.cycle.response_complete):
            # Line ends between requests begin none, but they keep the connection open.
            self._read_within(self._limits.head_seconds)

    def on_message_begin(self) -> None:
        """A request begins: its head has a deadline, and it can find its connection."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0
        self.scope["state"]["visitor"] = self._visitor
        self._read_within(self._limits.head_seconds)

    def on_headers_complete(self) -> None:
        """The head is there: the body's deadline begins."""
        self._in_head = False
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self._limits.head_bytes:
            self.abort()
            return
        self._read_within(self._limits.body_seconds)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on, unless the head was refused."""
        if self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole: nothing more is waited for."""
        self._stop_reading_deadline()
        if self.cycle is not None:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """A body that nobody wants is passed over for a moment, so that the client sees the
        response.
        """
        super().on_response_complete()
        if self._reading is not None and self.cycle.response_complete:
            self._read_within(min(_LINGER_SECONDS, self._limits.body_seconds))

    def pause_writing(self) -> None:
        """The client does not read; it has a while to do so."""
        super().pause_writing()
        if self._writing is None:
            self._writing = self.loop.call_later(self._limits.write_seconds, self.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        super().resume_writing()

    def abort(self) -> None:
        """Cut the connection at once."""
        self._cancel()
        if self.transport is not None:
            self.transport.abort()

    def end_body_deadline(self) -> None:
        """No longer bound the time of the body that is being read."""
        self._stop_reading_deadline()

    def _read_within(self, seconds: float) -> None:
        self._stop_reading_deadline()
        self._reading = self.loop.call_later(seconds, self.abort)

    def _stop_reading_deadline(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _cancel(self) -> None:
        self._stop_reading_deadline()
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None


class Listener:
    """Accepts connections on one socket; is passed where uvicorn expects an asyncio server."""

    def __init__(
        self,
        listening: socket.socket,
        *,
        tls: Callable[[], ssl.SSLContext | None],
        limits: ConnectionLimits,
        protocol: Callable[[ClientConnection], DeadlineProtocol],
    ) -> None:
        self._socket = listening
        self._tls = tls
        self._limits = limits
        self._protocol = protocol
        self._connections = ConnectionTable(limits)
        self._handshakes: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.ensure_future(self._accept())

    def close(self) -> None:
        """Accept nothing more and end the handshakes under way."""
        self._accepting.cancel()
        for task in self._handshakes:
            task.cancel()
        self._socket.close()

    async def wait_closed(self) -> None:
        """Wait until nothing is accepted any more."""
        await asyncio.gather(self._accepting, *self._handshakes, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(self._socket)
            except OSError as error:
                log.warning("a connection could not be accepted", extra={"code": error.errno})
                await asyncio.sleep(_ACCEPT_PAUSE)
                continue
            connection.setblocking(False)
            visitor = ClientConnection(str(address[0]), self._connections)
            if not self._connections.admit(visitor):
                connection.close()
                continue
            task = asyncio.ensure_future(self._begin(connection, visitor))
            visitor.handshake = task
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _begin(self, connection: socket.socket, visitor: ClientConnection) -> None:
        """The TLS handshake, within its deadline; from then on the protocol owns the connection."""
        tls = self._tls()
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                cast(Any, lambda: self._protocol(visitor)),
                connection,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else self._limits.handshake_seconds,
                ssl_shutdown_timeout=None if tls is None else _TLS_SHUTDOWN_SECONDS,
            )
        except (OSError, ssl.SSLError, TimeoutError):
            visitor.release()
            with contextlib.suppress(OSError):
                connection.close()
        except asyncio.CancelledError:
            visitor.release()
            connection.close()
            raise
