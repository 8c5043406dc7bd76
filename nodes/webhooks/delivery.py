"""Sends a delivery: to an allowed address only, over TLS, without following redirects.

The host's name is resolved here and every address is checked before a connection is made to one of
them, so that neither a name that resolves to an inner address nor one that changes between check
and use leads the node to a service that was not meant.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpcore

from chain.core.canonical import dumps
from nodes.version import VERSION
from nodes.webhooks import rules
from nodes.webhooks.model import Attempt, DueDelivery
from nodes.webhooks.rules import Network

TIMEOUT_SECONDS = 10.0
"""For the whole of an attempt."""
SIGNATURE, EVENT_ID = "Qiaolian-Signature", "Qiaolian-Event"


class AddressRefused(Exception):
    """The host resolves to an address that deliveries may not go to."""


@dataclass(frozen=True)
class DeliverySettings:
    """Where deliveries may go besides public addresses, and whose certificates count."""

    allowed: tuple[Network, ...] = ()
    authorities: Path | None = None
    """Certificates of the organisation's own authority (PEM), besides the machine's."""


class Sender:
    """Makes deliveries. Belongs to one event loop."""

    def __init__(self, settings: DeliverySettings) -> None:
        self._backend = _CheckedBackend(settings.allowed)
        self._tls = ssl.create_default_context()
        if settings.authorities is not None:
            self._tls.load_verify_locations(settings.authorities)

    async def send(self, due: DueDelivery, *, member: str, at: int) -> Attempt:
        """One attempt; ``at`` is the time that is signed, in Unix seconds."""
        body = dumps(due.delivery.event.to_json(member))
        headers = [
            ("Content-Type", "application/json"),
            ("User-Agent", f"Qiaolian/{VERSION}"),
            (EVENT_ID, due.delivery.event.id),
            (SIGNATURE, rules.signature(due.secrets, at=at, body=body)),
        ]
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status = await self._post(due.url, headers, body)
        except AddressRefused:
            return Attempt(None, "webhook_address_refused")
        except (ssl.SSLError, httpcore.ConnectError) as error:
            return Attempt(None, _connect_failure(error))
        except (TimeoutError, httpcore.TimeoutException):
            return Attempt(None, "webhook_timeout")
        except (OSError, httpcore.NetworkError, httpcore.ProtocolError):
            return Attempt(None, "webhook_unreachable")
        if 200 <= status < 300:
            return Attempt(status, "")
        return Attempt(status, "webhook_redirect" if 300 <= status < 400 else "webhook_answer")

    async def _post(self, url: str, headers: list[tuple[str, str]], body: bytes) -> int:
        """The answer's status; nothing more of it is read."""
        async with (
            httpcore.AsyncConnectionPool(
                ssl_context=self._tls, network_backend=self._backend
            ) as pool,
            pool.stream("POST", url, headers=headers, content=body) as answer,
        ):
            status: int = answer.status
            return status


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        address = await self._address(host, port)
        return await self._backend.connect_tcp(
            address, port, timeout=timeout, socket_options=socket_options
        )

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise AddressRefused(path)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _address(self, host: str, port: int) -> str:
        """One of the host's addresses; none where any of them is not allowed."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        addresses = [str(entry[4][0]) for entry in found]
        if not addresses or not all(
            rules.is_allowed(address, self._allowed) for address in addresses
        ):
            raise AddressRefused(host)
        return next((a for a in addresses if ipaddress.ip_address(a).version == 4), addresses[0])


def _connect_failure(error: BaseException) -> str:
    """Whether a connection failed for its certificate."""
    reason: BaseException | None = error
    while reason is not None:
        if isinstance(reason, ssl.SSLError):
            return "webhook_certificate"
        reason = reason.__cause__ or reason.__context__
    return "webhook_unreachable"
