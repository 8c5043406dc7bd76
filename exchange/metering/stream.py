"""Metered calls as a stream: a line of JSON for each call in, a line for each result out.

At most ``MAX_CONCURRENT`` calls are under way. The next line is read once there is room, and a
call's room is free once its result was handed to the connection: a client that does not read its
results is not read from either, so memory is bounded whatever the file's length. Results come in
the order in which they are complete and carry the number of their line.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from chain.context import Context
from chain.core.canonical import loads
from chain.core.errors import BadInput, QiaolianError, Unavailable
from exchange.metering import service
from exchange.metering.schemas import StreamCall, StreamEnd, failed_call
from registry.access import hex_bytes

MEDIA_TYPE = "application/x-ndjson"
MAX_CONCURRENT = 64
MAX_LINE_BYTES = 65_536
MAX_STREAMS = 16
"""Streams of one node at a time."""
IDLE_SECONDS = 60.0
"""A client that sends nothing for so long, with nothing of its own under way, is ended."""

Read = Callable[[], Awaitable[bytes | None]]
"""The next part of the body; None once it ended, ``ClientGone`` once the client hung up."""


class ClientGone(Exception):
    """The client hung up."""


@dataclass
class OpenStreams:
    """The current settings of a node's stream."""

    count: int = 0
    calls: set[asyncio.Task[None]] = field(default_factory=set)
    """Calls under way, also those of clients that hung up."""


def open_stream(context: Context, read: Read) -> CallStream:
    """A new stream; ``too_many_streams``."""
    streams = context.services.get(OpenStreams, OpenStreams)
    if streams.count >= MAX_STREAMS:
        raise Unavailable(
            "too_many_streams",
            f"The node serves {MAX_STREAMS} streams of calls already.",
            hint="Wait until one has ended, then send the file again.",
        )
    return CallStream(context, read, streams)


class CallStream:
    """One stream. ``results`` is read once, and always to its end or closed."""

    def __init__(
        self,
        context: Context,
        read: Read,
        streams: OpenStreams,
        *,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._context = context
        self._read = read
        self._streams = streams
        self._idle_seconds = idle_seconds
        self._room = asyncio.Semaphore(MAX_CONCURRENT)
        self._done: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._under_way: set[asyncio.Task[None]] = set()
        self._lines = 0
        self._failure: QiaolianError | None = None
        self._gone = False

    async def results(self) -> AsyncGenerator[bytes]:
        """The lines of the answer; the last one is a ``StreamEnd``. Nothing more comes once the
        client has hung up; calls under way are completed and stored all the same.
        """
        self._streams.count += 1
        reader = asyncio.create_task(self._read_lines())
        try:
            while (result := await self._done.get()) is not None:
                yield _line_json(result)
                self._room.release()
            if not self._gone:
                yield _line_json(self._end().model_dump())
        finally:
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader
            self._streams.count -= 1

    def _end(self) -> StreamEnd:
        failure = self._failure
        if failure is None:
            return StreamEnd(end=True, lines=self._lines)
        return StreamEnd(
            end=False,
            lines=self._lines,
            reason=failure.code,
            detail=failure.sentence,
            hint=failure.hint,
        )

    async def _read_lines(self) -> None:
        """Start a call for each line as there is room; at the end wait for those under way."""
        try:
            async for line in self._split():
                self._lines += 1
                await self._room.acquire()
                task = asyncio.create_task(self._call(self._lines, line))
                for tasks in (self._under_way, self._streams.calls):
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
        except ClientGone:
            self._gone = True
        except QiaolianError as error:
            self._failure = error
        if not self._gone:
            await asyncio.gather(*self._under_way)
        self._done.put_nowait(None)

    async def _call(self, number: int, line: bytes) -> None:
        call: StreamCall | None = None
        try:
            call = _parse(line)
            result = await service.call(
                self._context, hex_bytes(call.agreementId), call.query(), idempotency_key=call.key
            )
            answer = result.to_json()
        except QiaolianError as error:
            answer = failed_call(call, error)
        self._done.put_nowait({"line": number, **answer})

    async def _split(self) -> AsyncIterator[bytes]:
        """The body's lines, without empty ones."""
        rest = b""
        while (part := await self._next_part()) is not None:
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                if len(line) > MAX_LINE_BYTES:
                    raise _too_long(self._lines + 1)
                if line.strip():
                    yield line
            if len(rest) > MAX_LINE_BYTES:
                raise _too_long(self._lines + 1)
        if rest.strip():
            yield rest

    async def _next_part(self) -> bytes | None:
        """The next part of the body. Silence counts only while the client waits for nothing."""
        waiting = asyncio.ensure_future(self._read())
        try:
            while True:
                done, _ = await asyncio.wait({waiting}, timeout=self._idle_seconds)
                if done:
                    return waiting.result()
                if not self._under_way and self._done.empty():
                    raise Unavailable(
                        "stream_idle",
                        "The client sent nothing for a minute.",
                        hint="Send the remaining lines in a new stream.",
                    )
        finally:
            waiting.cancel()


def _parse(line: bytes) -> StreamCall:
    """``stream_line_malformed``, and what strict JSON raises."""
    try:
        value = loads(line, max_bytes=MAX_LINE_BYTES)
    except QiaolianError as error:
        raise BadInput(error.code, error.sentence, hint=error.hint) from error
    except RecursionError as error:
        raise BadInput("json_too_deep", "The JSON nests too deeply.") from error
    try:
        return StreamCall.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BadInput(
            "stream_line_malformed",
            f"The line is no call: {field or 'object'}: {first['msg']}.",
            hint="Compare it with the example in /openapi.json.",
        ) from error


def _too_long(number: int) -> BadInput:
    return BadInput(
        "stream_line_too_long",
        f"Line {number} has more than {MAX_LINE_BYTES} bytes; it and what follows were not read.",
        hint="Send one call a line.",
    )


def _line_json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
