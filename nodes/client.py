"""A small client of a node's own API, for the organisation's systems, the demo and the tests.

The node's certificate is trusted as a file. A later certificate of the same key, as after a
renewal, is trusted too. Refusals come back as ``QiaolianError`` with the
node's code and say who refused, which may be a proxy in front of it (``nodes.answers``). One client
per thread.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from chain.core.errors import QiaolianError, RefusedBy, Refuser, Unavailable
from chain.core.printable import printable
from chain.core.zone import local_time
from nodes.answers import HttpAnswer, foreign, node_refusal
from registry.list_limits import MAX_ROWS


class NodeClient:
    """Calls one node with one bearer token (none: as a stranger)."""

    def __init__(
        self,
        url: str,
        *,
        certificate: Path,
        token: str | None = None,
        timeout: float | None = 30.0,
        command: str = "",
    ) -> None:
        """``command``: what asks on whose behalf, for the node's record of acts."""
        self.url = url
        self._command = command.encode("ascii", "replace").decode()[:100]
        self._trust = _Trust(certificate.read_bytes())
        self._token = token
        self._timeout = timeout
        self._http = self._opened(self._trust.verifying)
        self._pins_key = False
        self.blocks_behind = 0
        """How many blocks the node had not read yet when it answered last."""

    def get(self, path: str) -> Any:
        """GET; the decoded JSON answer."""
        return self.request("GET", path)

    def pages(self, path: str, *, limit: int = MAX_ROWS) -> Iterator[Any]:
        """GET a list page after page; the decoded JSON answers. ``path`` may have a query, without
        limit and cursor.
        """
        separator, cursor = "&" if "?" in path else "?", ""
        while True:
            answer = self.get(f"{path}{separator}limit={limit}{cursor}")
            yield answer
            if answer["next"] is None:
                return
            cursor = "&" + urlencode({"cursor": answer["next"]})

    def rows(self, path: str, name: str) -> Iterator[Any]:
        """Every row of a list, which the answers have under ``name``; later pages are asked for
        when their turn comes.
        """
        for answer in self.pages(path):
            yield from answer[name]

    def download(self, path: str) -> bytes:
        """GET; the answer's bytes as they came, for bundles."""
        answer = self.raw("GET", path, b"", self.headers())
        if answer.refused:
            raise self.refusal(answer)
        return bytes(answer.body)

    def headers(self) -> dict[str, str]:
        """What a request for JSON carries, with the access token if there is one."""
        headers = {"accept": "application/json"}
        if self._token is not None:
            headers["authorization"] = f"Bearer {self._token}"
        if self._command:
            headers["qiaolian-command"] = self._command
        return headers

    def post(self, path: str, body: Any, *, idempotency_key: str | None = None) -> Any:
        """POST a JSON body; the decoded JSON answer."""
        return self.request("POST", path, body, idempotency_key=idempotency_key)

    def request(
        self, method: str, path: str, body: Any = None, *, idempotency_key: str | None = None
    ) -> Any:
        """One request.

        Raises:
            QiaolianError: what the node refused, by its code; ``node_unreachable`` when it does not
                answer; ``not_a_node`` and the ``proxy_…`` codes when something else answers.
        """
        headers = self.headers()
        if idempotency_key is not None:
            headers["idempotency-key"] = idempotency_key
        raw = b""
        if body is not None:
            raw = json.dumps(body, ensure_ascii=False).encode()
            headers["content-type"] = "application/json"
        return self._decoded(self.raw(method, path, raw, headers))

    def upload(self, path: str, content: bytes) -> Any:
        """POST a file; the decoded JSON answer. Raises as ``request``."""
        headers = {**self.headers(), "content-type": "application/octet-stream"}
        return self._decoded(self.raw("POST", path, content, headers))

    def _decoded(self, answer: HttpAnswer) -> Any:
        """The content of an answer; raises what the node refused."""
        if answer.refused:
            raise self.refusal(answer)
        if answer.status == 204:
            return None
        try:
            return json.loads(answer.body) if "json" in answer.content_type else _text(answer)
        except (ValueError, RecursionError) as error:
            raise foreign(answer, RefusedBy(Refuser.PROXY, address=self.address)) from error

    @property
    def address(self) -> str:
        """The node's ``host:port``."""
        return urlsplit(self.url).netloc

    def refusal(self, answer: HttpAnswer) -> QiaolianError:
        """An answer of status 300 or more as the error it reports."""
        return node_refusal(self.address, answer)

    def raw(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> HttpAnswer:
        """One exchange as it is. It is repeated once where the node had closed the idle connection
        it went over, and with the node's key pinned where its certificate does not verify.
        """
        try:
            return self._exchange(method, path, body, headers)
        except (httpx.RemoteProtocolError, httpx.WriteError):
            self.close()
        except httpx.TransportError as error:
            if self._pins_key or not _does_not_verify(error):
                raise self._unreachable(error) from error
            self.close()
            self._pins_key = True
        try:
            return self._exchange(method, path, body, headers)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def close(self) -> None:
        """Drop the connections."""
        self._http.close()

    def _exchange(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> HttpAnswer:
        if self._http.is_closed:
            self._http = self._opened(
                self._trust.pinning if self._pins_key else self._trust.verifying
            )
        request = self._http.build_request(
            method,
            httpx.URL(self.url).copy_with(raw_path=path.encode("ascii")),
            content=body or None,
            headers=headers,
            extensions={"trace": self._trust.check_handshake} if self._pins_key else {},
        )
        answer = self._http.send(request)
        behind = answer.headers.get("qiaolian-blocks-behind", "")
        self.blocks_behind = int(behind) if behind.isascii() and behind.isdigit() else 0
        return HttpAnswer(
            answer.status_code, answer.headers.get("content-type", ""), answer.content
        )

    def _opened(self, context: ssl.SSLContext) -> httpx.Client:
        """An HTTP client under these rules of trust. Proxies of the environment are not used."""
        return httpx.Client(
            verify=context,
            timeout=self._timeout,
            trust_env=False,
            headers={"accept-encoding": "identity"},
        )

    def _unreachable(self, error: Exception) -> Unavailable:
        if isinstance(error, _CertificateRefused):
            return error.to_unavailable(self.url)
        return Unavailable(
            "node_unreachable",
            f"The node at {self.url} does not answer.",
            hint="Check that it runs; see its log.",
        )


def _text(answer: HttpAnswer) -> str:
    """A text of the node's, such as its metrics.

    Raises:
        ValueError: it is a page for people, which no request of this client asks for, or no text.
    """
    if answer.content_type.startswith("text/html"):
        raise ValueError("a page")
    return answer.body.decode()


class _CertificateRefused(httpx.ConnectError):
    """The node shows a certificate that is not trusted, or that has ended. ``ended_at``: in Unix
    seconds.
    """

    def __init__(self, holder: str = "", ended_at: float | None = None) -> None:
        super().__init__("The certificate is not trusted.")
        self._holder = holder
        self._ended_at = ended_at

    def to_unavailable(self, url: str) -> Unavailable:
        if self._ended_at is None:
            return Unavailable(
                "node_wrong_certificate",
                f"What answers at {url} does not show the certificate it is trusted by.",
                hint="Get the node's certificate again from whoever runs it.",
            )
        return Unavailable(
            "node_certificate_expired",
            f"The certificate of the node at {url} ({printable(self._holder)}) ended at "
            f"{local_time(self._ended_at)}.",
            hint="Whoever runs the node renews it with `qiaolian node certificate renew`. "
            "If the date is still to come, correct this machine's clock.",
        )


class _Trust:
    """The certificates in a PEM file, trusted as authorities and by their keys; ``ValueError``."""

    def __init__(self, pem: bytes) -> None:
        trusted = x509.load_pem_x509_certificates(pem)
        self.verifying = ssl.create_default_context(cadata=pem.decode("ascii"))
        self.verifying.check_hostname = False
        self.pinning = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.pinning.minimum_version = ssl.TLSVersion.TLSv1_3
        self.pinning.check_hostname = False
        self.pinning.verify_mode = ssl.CERT_NONE
        self._keys = {_key(certificate) for certificate in trusted}

    def check_handshake(self, event: str, info: dict[str, Any]) -> None:
        """Check what a server shows before anything is sent to it; httpcore's ``trace`` hook."""
        if event != "connection.start_tls.complete":
            return
        connection = info["return_value"]
        try:
            self._check(connection.get_extra_info("ssl_object").getpeercert(True) or b"")
        except _CertificateRefused:
            connection.close()
            raise

    def _check(self, der: bytes) -> None:
        """Whether the certificate shown is of a trusted key and has not ended."""
        shown = x509.load_der_x509_certificate(der)
        if _key(shown) not in self._keys:
            raise _CertificateRefused
        end = shown.not_valid_after_utc.timestamp()
        if end <= time.time():
            names = shown.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            raise _CertificateRefused(str(names[0].value) if names else "", end)


def _key(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _does_not_verify(error: BaseException | None) -> bool:
    """Whether a connection failed because the certificate shown does not verify."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None
