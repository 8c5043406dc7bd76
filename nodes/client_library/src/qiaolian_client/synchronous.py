"""The client for programs and notebooks without an event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from qiaolian_client.asynchronous import AsyncClient
from qiaolian_client.calls import CallResults, StreamOfCalls
from qiaolian_client.errors import NodeUnreachable
from qiaolian_client.exchange import Exchange
from qiaolian_client.models import BatchCall
from qiaolian_client.operation import Answer, Operation, Plan, Result
from qiaolian_client.progress import Progress
from qiaolian_client.retry import RetryPolicy
from qiaolian_client.stream import StreamedResult

Waited = TypeVar("Waited")


class Client:
    """Carries out operations at one node with one access token. Safe to share between threads.

    Args:
        url: the node's address, such as ``https://127.0.0.1:8443``.
        certificate: the node's certificate (PEM), whose key is pinned; without it the node needs a
            certificate that the machine trusts, as behind a company's proxy.
        token: an access token for systems.
        timeout: seconds to wait for a connection, and for each part of an answer.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str,
        certificate: Path | str | None = None,
        timeout: float = 60.0,
        retry: RetryPolicy = RetryPolicy(),
    ) -> None:
        self._exchange = Exchange(
            url, certificate=certificate, token=token, timeout=timeout, retry=retry
        )
        self._http = httpx.Client(**self._exchange.options)
        self._streams: Callable[[], AsyncClient] = partial(
            AsyncClient, url, token=token, certificate=certificate, timeout=timeout, retry=retry
        )

    def send(self, operation: Operation[Answer]) -> Answer:
        """Carry out one operation.

        Raises:
            NodeRefused: the node refused; ``code`` says why and ``hint`` what to do next.
            NodeUnreachable: no answer came.
        """
        attempt = 1
        while True:
            response, failure = None, None
            try:
                response = self._http.request(**self._exchange.request(operation))
            except httpx.TransportError as error:
                failure = error
            seconds = None
            if response is None or response.status_code >= 300:
                seconds = self._exchange.wait(operation, attempt, response)
            if seconds is None:
                if response is None:
                    raise NodeUnreachable(f"The node does not answer: {failure}") from failure
                return self._exchange.answer(operation, response)
            time.sleep(seconds)
            attempt += 1

    def run(self, plan: Plan[Result]) -> Result:
        """Carry out a plan: its operations one after the other."""
        try:
            operation = next(plan)
            while True:
                operation = plan.send(self.send(operation))
        except StopIteration as ended:
            result: Result = ended.value
            return result
        finally:
            plan.close()

    def stream(self, calls: Iterable[BatchCall]) -> Generator[StreamedResult]:
        """As ``AsyncClient.stream``; close the iterator if you end early."""
        with _event_loop() as loop:
            opened = _Stream(self._streams, calls)
            _wait(loop, opened.begin())
            try:
                while (result := _wait(loop, opened.next())) is not None:
                    yield result
            finally:
                _wait(loop, opened.end())

    def collect(self, calls: StreamOfCalls, *, progress: Progress = False) -> CallResults:
        """As ``AsyncClient.collect``."""
        with _event_loop() as loop:
            return _wait(loop, _collect(self._streams, calls, progress))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@contextmanager
def _event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own: a notebook's thread runs one already."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="qiaolian-stream", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _wait(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Waited]) -> Waited:
    return asyncio.run_coroutine_threadsafe(work, loop).result()


async def _collect(
    connect: Callable[[], AsyncClient], calls: StreamOfCalls, progress: Progress
) -> CallResults:
    client = connect()
    try:
        return await client.collect(calls, progress=progress)
    finally:
        await client.close()


class _Stream:
    """A stream in the event loop of another thread."""

    def __init__(self, connect: Callable[[], AsyncClient], calls: Iterable[BatchCall]) -> None:
        self._connect = connect
        self._calls = calls

    async def begin(self) -> None:
        self._client = self._connect()
        self._results = self._client.stream(self._calls)

    async def next(self) -> StreamedResult | None:
        """The next result; None after the last."""
        try:
            return await self._results.__anext__()
        except StopAsyncIteration:
            return None

    async def end(self) -> None:
        await self._results.aclose()
        await self._client.close()
