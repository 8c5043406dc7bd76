"""Turns operations into HTTP requests and HTTP answers into values; shared by both clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from qiaolian_client.errors import refusal
from qiaolian_client.operation import Answer, Operation
from qiaolian_client.retry import RetryPolicy
from qiaolian_client.stream import Connection
from qiaolian_client.tls import PinnedContext


class Exchange:
    """The settings of a client, and what it does without I/O."""

    def __init__(
        self,
        url: str,
        *,
        certificate: Path | str | None,
        token: str,
        timeout: float,
        retry: RetryPolicy,
    ) -> None:
        self.retry = retry
        self._token = token
        self.options: dict[str, Any] = {
            "base_url": url,
            "verify": True if certificate is None else PinnedContext.of(Path(certificate)),
            "timeout": timeout,
            "headers": {"authorization": f"Bearer {token}", "accept": "application/json"},
            "follow_redirects": False,
            "trust_env": False,
        }

    @property
    def connection(self) -> Connection:
        """Where and how a stream reaches the node."""
        url, verify = httpx.URL(self.options["base_url"]), self.options["verify"]
        tls = httpx.create_ssl_context(trust_env=False) if verify is True else verify
        tls = tls if url.scheme == "https" else None
        return Connection(url, tls, self._token, self.options["timeout"])

    @staticmethod
    def request(operation: Operation[Any]) -> dict[str, Any]:
        """The arguments of httpx for an operation."""
        headers = {}
        content = operation.content()
        if content is not None:
            headers["content-type"] = "application/json"
        if operation.idempotency_key is not None:
            headers["idempotency-key"] = operation.idempotency_key
        return {
            "method": operation.method,
            "url": operation.path,
            "params": dict(operation.query),
            "content": content,
            "headers": headers,
        }

    @staticmethod
    def answer(operation: Operation[Answer], response: httpx.Response) -> Answer:
        """The answer; ``NodeRefused``."""
        if response.status_code >= 300:
            raise refusal(
                response.status_code, response.headers.get("content-type", ""), response.content
            )
        return operation.parse(response.content)

    def wait(
        self, operation: Operation[Any], attempt: int, response: httpx.Response | None
    ) -> float | None:
        """Seconds until the next attempt; None if this one was the last."""
        status = None if response is None else response.status_code
        if not self.retry.repeats(attempt, status, repeatable=operation.repeatable):
            return None
        asked = None if response is None else response.headers.get("retry-after")
        return self.retry.delay(attempt, retry_after=asked)
