"""The client for programs with an event loop; it does what ``synchronous`` does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from qiaolian_client import stream
from qiaolian_client.calls import CallResults, StreamOfCalls
from qiaolian_client.errors import NodeUnreachable
from qiaolian_client.exchange import Exchange
from qiaolian_client.models import BatchCall, CallAnswer, FailedCall
from qiaolian_client.operation import Answer, Operation, Plan, Result
from qiaolian_client.progress import Progress, reporter
from qiaolian_client.retry import RetryPolicy
from qiaolian_client.stream import StreamedResult


class AsyncClient:
    """Carries out operations at one node with one access token. Shared by the tasks of one loop.

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
        self._http = httpx.AsyncClient(**self._exchange.options)

    async def send(self, operation: Operation[Answer]) -> Answer:
        """Carry out one operation.

        Raises:
            NodeRefused: the node refused; ``code`` says why and ``hint`` what to do next.
            NodeUnreachable: no answer came.
        """
        attempt = 1
        while True:
            response, failure = None, None
            try:
                response = await self._http.request(**self._exchange.request(operation))
            except httpx.TransportError as error:
                failure = error
            seconds = None
            if response is None or response.status_code >= 300:
                seconds = self._exchange.wait(operation, attempt, response)
            if seconds is None:
                if response is None:
                    raise NodeUnreachable(f"The node does not answer: {failure}") from failure
                return self._exchange.answer(operation, response)
            await asyncio.sleep(seconds)
            attempt += 1

    async def run(self, plan: Plan[Result]) -> Result:
        """Carry out a plan: its operations one after the other."""
        try:
            operation = next(plan)
            while True:
                operation = plan.send(await self.send(operation))
        except StopIteration as ended:
            result: Result = ended.value
            return result
        finally:
            plan.close()

    def stream(self, calls: Iterable[BatchCall]) -> AsyncGenerator[StreamedResult]:
        """Send a line for each call and give each result as it comes, with the number of its line.

        The next lines are made and sent as results are taken: memory does not grow with the file.

        Raises:
            NodeRefused: the node refused the stream; NodeUnreachable: it broke off. Send the same
                calls again then: a key counts once.
        """
        return stream.results(self._exchange.connection, calls)

    async def collect(self, calls: StreamOfCalls, *, progress: Progress = False) -> CallResults:
        """The results of a stream in the order of its subjects. A stream that breaks off is sent
        again, without the lines that have a result, as long as results come.
        """
        asked = tuple(calls.subjects)
        lines = list(replace(calls, subjects=asked))
        found: dict[int, CallAnswer | FailedCall] = {}
        with reporter(progress, len(lines)) as report:
            while len(found) < len(lines):
                before = len(found)
                left = [position for position in range(len(lines)) if position not in found]
                try:
                    async with aclosing(self.stream(lines[i] for i in left)) as results:
                        async for streamed in results:
                            found[left[streamed.line - 1]] = streamed.result
                            report(len(found))
                except NodeUnreachable:
                    if len(found) == before:
                        raise
        return CallResults(asked, tuple(found[position] for position in range(len(lines))))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
