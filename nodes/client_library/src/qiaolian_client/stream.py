"""Metered calls as a stream: lines are sent while results come back, over one connection.

HTTP clients send the whole request before they read the answer; here both happen at once, so this
speaks HTTP/1.1 itself, with ``h11`` for its rules.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import h11
import httpx

from qiaolian_client.errors import NodeUnreachable, refusal
from qiaolian_client.models import BatchCall, CallAnswer, FailedCall, StreamEnd

MEDIA_TYPE: Final = "application/x-ndjson"
PATH: Final = "/v1/calls/stream"
_READ_BYTES = 65_536
_MAX_LINE = 8 << 20
"""A result has one record; a node delivers at most some megabytes."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the node is, and how it is reached."""

    url: httpx.URL
    tls: ssl.SSLContext | None
    token: str
    timeout: float
    """Seconds to connect, and to wait for a result while any is outstanding."""


@dataclass(frozen=True, slots=True)
class StreamedResult:
    """The outcome of a line; lines count from 1."""

    line: int
    result: CallAnswer | FailedCall


async def results(
    connection: Connection, calls: Iterable[BatchCall]
) -> AsyncGenerator[StreamedResult]:
    """The results of the calls, in the order of completion.

    Raises:
        NodeRefused: the node refused the stream; NodeUnreachable: it broke off. What was answered
            before counts.
    """
    lines = _Lines(calls)
    try:
        async for line in _exchange(connection, lines):
            value = json.loads(line)
            if "end" in value:
                _require_whole(StreamEnd.model_validate(value), lines.count)
                return
            kind = FailedCall if value.get("outcome") == "failed" else CallAnswer
            yield StreamedResult(value["line"], kind.model_validate(value))
    except (OSError, ValueError, KeyError, h11.RemoteProtocolError) as error:
        raise NodeUnreachable(f"The stream broke off: {error}") from error
    raise NodeUnreachable("The stream broke off before its end.")


class _Lines:
    """The lines to send, and how many were sent."""

    def __init__(self, calls: Iterable[BatchCall]) -> None:
        self._calls = calls
        self.count = 0

    def __iter__(self) -> Iterator[bytes]:
        for call in self._calls:
            self.count += 1
            yield call.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"


async def _exchange(connection: Connection, lines: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Send the lines, and give those of the answer."""
    host, tls = connection.url.host, connection.tls
    port = connection.url.port or (443 if tls else 80)
    async with asyncio.timeout(connection.timeout):
        reader, writer = await asyncio.open_connection(
            host, port, ssl=tls, server_hostname=host if tls else None
        )
    protocol = h11.Connection(h11.CLIENT)
    sending = asyncio.create_task(_send(protocol, writer, _request(connection), lines))
    try:
        async for line in _received(protocol, reader, connection.timeout):
            yield line
        if sending.done():
            sending.result()
    finally:
        sending.cancel()
        with suppress(asyncio.CancelledError, OSError, h11.LocalProtocolError):
            await sending
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def _request(connection: Connection) -> h11.Request:
    headers = [
        ("host", connection.url.netloc.decode()),
        ("authorization", f"Bearer {connection.token}"),
        ("content-type", MEDIA_TYPE),
        ("accept", MEDIA_TYPE),
        ("transfer-encoding", "chunked"),
    ]
    path = connection.url.raw_path.decode().rstrip("/") + PATH
    return h11.Request(method="POST", target=path, headers=headers)


async def _send(
    protocol: h11.Connection,
    writer: asyncio.StreamWriter,
    request: h11.Request,
    lines: Iterable[bytes],
) -> None:
    """Send the request; it waits while the node does not read."""
    writer.write(_bytes(protocol, request))
    for line in lines:
        writer.write(_bytes(protocol, h11.Data(data=line)))
        await writer.drain()
    writer.write(_bytes(protocol, h11.EndOfMessage()))
    await writer.drain()


def _bytes(protocol: h11.Connection, event: Any) -> bytes:
    return protocol.send(event) or b""


async def _received(
    protocol: h11.Connection, reader: asyncio.StreamReader, timeout: float
) -> AsyncIterator[bytes]:
    """The lines of the answer; ``NodeRefused`` where it is none."""
    status, kind, rest = 0, "", b""
    while True:
        event = protocol.next_event()
        if event is h11.NEED_DATA:
            async with asyncio.timeout(timeout):
                protocol.receive_data(await reader.read(_READ_BYTES))
        elif isinstance(event, h11.Response):
            status = event.status_code
            kind = dict(event.headers).get(b"content-type", b"").decode("latin-1")
        elif isinstance(event, h11.Data):
            rest += bytes(event.data)
            if len(rest) > _MAX_LINE:
                raise ValueError("a line of the answer is too long")
            if status < 300:
                *complete, rest = rest.split(b"\n")
                for line in complete:
                    yield line
        elif isinstance(event, h11.EndOfMessage):
            if status >= 300:
                raise refusal(status, kind, rest)
            return
        elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
            raise ConnectionError("the node closed the connection")


def _require_whole(end: StreamEnd, sent: int) -> None:
    if not end.end:
        raise NodeUnreachable(f"{end.detail} [{end.reason}] {end.hint}".rstrip())
    if end.lines != sent:
        raise NodeUnreachable(f"The node read {end.lines} of {sent} lines.")
