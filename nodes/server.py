"""Runs the application under uvicorn with the node's own certificate."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from types import FrameType
from typing import Any, cast

import uvicorn
from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE
from uvicorn.server import ServerState

from chain.core.errors import Conflict
from chain.core.signals import TERMINATION_SIGNALS, ignore
from nodes.app import create_app
from nodes.certificate import ServerCertificate
from nodes.config import NodeConfig, NodeLimits
from nodes.connections import ClientConnection, ConnectionLimits, DeadlineProtocol, Listener
from nodes.exclusive import exclusive_process

GRACE_SECONDS = 8
_KEEP_ALIVE_SECONDS = 75
_BACKLOG = 2048
_SWITCH_SECONDS = 0.0005
"""How long one thread may keep the interpreter while another waits; the default of 5 ms is a whole
metered call's budget.
"""


@dataclass(frozen=True)
class _Site:
    """An application and where it is served; without TLS on loopback only."""

    config: uvicorn.Config
    tls: Callable[[], ssl.SSLContext | None]


class _DatedState(ServerState):
    """uvicorn's state, whose answers carry the ``Date`` by the node's clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._second = -1
        self._headers: list[tuple[bytes, bytes]] = []
        super().__init__()

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of an answer that is made now."""
        now = self._clock()
        if int(now) != self._second:
            self._second = int(now)
            self._headers = [(b"date", formatdate(now, usegmt=True).encode())]
        return self._headers

    @default_headers.setter
    def default_headers(self, value: list[tuple[bytes, bytes]]) -> None:
        """Set by uvicorn with nothing in it."""


class _Server(uvicorn.Server):
    """Serves the API and, where there is one, the console. Ends with exit code 0 on SIGTERM or
    SIGINT instead of dying of the signal again.
    """

    def __init__(
        self,
        limits: NodeLimits,
        api: _Site,
        console: _Site | None,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(api.config)
        self.sites = (api,) if console is None else (api, console)
        self.server_state = _DatedState(clock)
        self._ended = asyncio.Event()
        self._end: Callable[[], object] = lambda: None
        self._limits = ConnectionLimits(
            handshake_seconds=limits.handshake_seconds,
            head_seconds=limits.head_seconds,
            body_seconds=limits.request_seconds,
            write_seconds=limits.write_seconds,
            head_bytes=limits.head_bytes,
            per_address=limits.connections_per_address,
            per_caller=limits.connections_per_caller,
            strangers=limits.stranger_connections,
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's own, with a listener that counts connections and bounds their time."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        self.servers = [cast(Any, self._listener(site)) for site in self.sites]
        self.started = True

    def _listener(self, site: _Site) -> Listener:
        return Listener(
            _listening(site.config.host, site.config.port),
            tls=site.tls,
            limits=self._limits,
            protocol=lambda visitor: self._protocol(site.config, visitor),
        )

    async def main_loop(self) -> None:
        """Wait for the end; uvicorn's own loop looks ten times a second."""
        loop = asyncio.get_running_loop()
        self._end = lambda: loop.call_soon_threadsafe(self._ended.set)
        if not self.should_exit:
            await self._ended.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """As uvicorn's own; ends the wait."""
        super().handle_exit(sig, frame)
        self._end()

    def _protocol(self, config: uvicorn.Config, visitor: ClientConnection) -> DeadlineProtocol:
        return DeadlineProtocol(
            config=config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            limits=self._limits,
            visitor=visitor,
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        for number in TERMINATION_SIGNALS:
            signal.signal(number, self.handle_exit)
        try:
            yield
        finally:
            # Between here and the process's end a further signal would end it as if it had failed.
            ignore()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Idle connections are cut: a polite TLS farewell waits for clients that are not reading.
        for connection in list(self.server_state.connections):
            cycle = getattr(connection, "cycle", None)
            transport = getattr(connection, "transport", None)
            idle = cycle is None or cycle.response_complete
            if idle and transport is not None and transport.get_write_buffer_size() == 0:
                transport.abort()
        await super().shutdown(sockets)


def run(config: NodeConfig, *, clock: Callable[[], float] = time.time) -> int:
    """Serve the node's API and console until SIGTERM; the process's exit code. ``clock`` gives Unix
    seconds.
    """
    certificate = ServerCertificate(config, clock=clock)
    console = _console(config)
    app = create_app(config, certificate, console=console, clock=clock)
    api = _Site(
        uvicorn.Config(
            _StartupErrorFilter(app),
            host=config.listen.host,
            port=config.listen.port,
            lifespan="on",
            ssl_keyfile="set by ssl_context_factory",
            ssl_certfile="set by ssl_context_factory",
            ssl_context_factory=lambda _config, _default: certificate.context,
            **_SETTINGS,
        ),
        lambda: certificate.context,
    )
    server = _Server(config.limits, api, _console_site(config, console, certificate), clock)
    for site in server.sites:
        _bound(site.config.host, site.config.port).close()
    with exclusive_process("node", config.database_url):
        return _serve(server, app)


_SETTINGS: dict[str, Any] = {
    "loop": "uvloop",
    "http": DeadlineProtocol,
    "ws": "none",
    "access_log": False,
    "log_config": None,
    "server_header": False,
    "date_header": False,
    "proxy_headers": False,
    "timeout_keep_alive": _KEEP_ALIVE_SECONDS,
    "timeout_graceful_shutdown": GRACE_SECONDS,
}


def _console(config: NodeConfig) -> FastAPI | None:
    """The console's application; its packages are imported only where it is configured."""
    if config.console is None:
        return None
    from nodes.console.app import create_console

    return create_console(config, config.console)


def _console_site(
    config: NodeConfig, console: FastAPI | None, certificate: ServerCertificate
) -> _Site | None:
    settings = config.console
    if console is None or settings is None:
        return None
    site = uvicorn.Config(
        console, host=settings.host, port=settings.port, lifespan="off", **_SETTINGS
    )
    site.load()
    plain = settings.plain_http
    return _Site(site, lambda: None if plain else certificate.context)


def _serve(server: _Server, app: FastAPI) -> int:
    sys.setswitchinterval(_SWITCH_SECONDS)
    # What the program itself consists of never becomes garbage: collections need not look at it
    # again.
    gc.freeze()
    try:
        server.run()
    except SystemExit:
        if app.state.failure is None:
            raise
        raise app.state.failure from None
    return 0


class _StartupErrorFilter:
    """Keeps uvicorn's text of a failed start out of the log: ``nodes.cli.node``
    reports its cause.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return

        async def quiet(message: Any) -> None:
            if message["type"] == "lifespan.startup.failed":
                message = {**message, "message": "The node cannot start."}
            await send(message)

        await self._app(scope, receive, quiet)


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens there."""
    made = _bound(host, port)
    made.listen(_BACKLOG)
    made.setblocking(False)
    return made


def _bound(host: str, port: int) -> socket.socket:
    """A socket bound to the address; ``port_in_use``."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise Conflict(
            "port_in_use",
            f"{host}:{port} cannot be listened on.",
            hint="End what uses it, or configure another port.",
        ) from error
    return made
