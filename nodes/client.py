"""A small client of a node's own API, for the organisation's systems, the demo and the tests.

The node's certificate is self-signed and trusted as a file. Refusals come back as ``QiaolianError`` with the node's
code and say who refused, which may be a proxy in front of it (``nodes.answers``). One connection, kept alive; one client a thread.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chain.errors import QiaolianError, RefusedBy, Refuser, Unavailable
from nodes.answers import Answer, foreign, node_refusal


class NodeClient:
    """Calls one node with one bearer token (none: as a stranger)."""

    def __init__(self, url: str, *, certificate: Path, token: str | None = None, timeout: float | None = 30.0) -> None:
        self.url = url
        self._tls = ssl.create_default_context(cafile=str(certificate))
        self._tls.check_hostname = False
        self._token = token
        self._timeout = timeout
        self._connection: http.client.HTTPSConnection | None = None
        self.blocks_behind = 0
        """How many blocks the node had not read yet when it answered last."""

    def get(self, path: str) -> Any:
        """GET; the decoded JSON answer."""
        return self.request("GET", path)

    def download(self, path: str) -> bytes:
        """GET; the answer's bytes as they came, for bundles."""
        answer = self.raw("GET", path, b"", self.headers())
        if answer.refused:
            raise self.refusal(answer)
        return bytes(answer.body)

    def headers(self) -> dict[str, str]:
        """What a request for JSON carries, with the access token if there is one."""
        token = {} if self._token is None else {"authorization": f"Bearer {self._token}"}
        return {"accept": "application/json", **token}

    def post(self, path: str, body: Any, *, idempotency_key: str | None = None) -> Any:
        """POST a JSON body; the decoded JSON answer."""
        return self.request("POST", path, body, idempotency_key=idempotency_key)

    def request(self, method: str, path: str, body: Any = None, *, idempotency_key: str | None = None) -> Any:
        """One request.

        Raises:
            QiaolianError: what the node refused, by its code; ``node_unreachable`` when it does not answer; ``not_a_node`` and the
                ``proxy_…`` codes when something else answers.
        """
        headers = {"accept": "application/json"}
        if self._token is not None:
            headers["authorization"] = f"Bearer {self._token}"
        if idempotency_key is not None:
            headers["idempotency-key"] = idempotency_key
        raw = b""
        if body is not None:
            raw = json.dumps(body, ensure_ascii=False).encode()
            headers["content-type"] = "application/json"
        answer = self.raw(method, path, raw, headers)
        if answer.refused:
            raise self.refusal(answer)
        try:
            return json.loads(answer.body) if "json" in answer.content_type else _text(answer)
        except (ValueError, RecursionError) as error:
            raise foreign(answer, RefusedBy(Refuser.PROXY, address=self.address)) from error

    @property
    def address(self) -> str:
        """The node's ``host:port``."""
        return urlsplit(self.url).netloc

    def refusal(self, answer: Answer) -> QiaolianError:
        """An answer of status 300 or more as the error it reports."""
        return node_refusal(self.address, answer)

    def raw(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        """One exchange as it is; a kept connection that the node had closed is opened once more before anything is sent
        on it.
        """
        try:
            return self._exchange(method, path, body, headers)
        except (http.client.RemoteDisconnected, ssl.SSLEOFError, BrokenPipeError):
            self.close()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unreachable(error) from error
        try:
            return self._exchange(method, path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unreachable(error) from error

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
            self._connection = None

    def _exchange(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        if self._connection is None:
            parts = urlsplit(self.url)
            self._connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, context=self._tls, timeout=self._timeout)
        self._connection.request(method, path, body=body or None, headers=headers)
        response = self._connection.getresponse()
        content = response.read()
        behind = response.headers.get("qiaolian-blocks-behind", "")
        self.blocks_behind = int(behind) if behind.isascii() and behind.isdigit() else 0
        return Answer(response.status, response.headers.get("content-type", ""), content)

    def _unreachable(self, error: Exception) -> Unavailable:
        if isinstance(error, ssl.SSLCertVerificationError):
            sentence = f"What answers at {self.url} does not show the certificate it is trusted by."
            return Unavailable("node_wrong_certificate", sentence, hint="Get the node's certificate again from whoever runs it.")
        return Unavailable("node_unreachable", f"The node at {self.url} does not answer.", hint="Check that it runs; see its log.")


def _text(answer: Answer) -> str:
    """A text of the node's, such as its metrics.

    Raises:
        ValueError: it is a page for people, which no request of this client asks for, or no text.
    """
    if answer.content_type.startswith("text/html"):
        raise ValueError("a page")
    return answer.body.decode()
