"""The client for programs and notebooks without an event loop."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from qiaolian_client.errors import NodeUnreachable
from qiaolian_client.exchange import Exchange
from qiaolian_client.operation import Answer, Operation, Plan, Result
from qiaolian_client.retry import RetryPolicy


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
