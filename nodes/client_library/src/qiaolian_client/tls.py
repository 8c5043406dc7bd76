"""TLS to a node, whose certificate is known as a file.

A node's certificate is made by the organisation itself, so its key is what is trusted: a renewed
certificate of the same key is accepted, any other is refused.
"""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


class PinnedContext(ssl.SSLContext):
    """Accepts the keys of the certificates in a PEM file and no other.

    Raises:
        ValueError: the file holds no certificate.
    """

    _pinned: frozenset[bytes]

    @classmethod
    def of(cls, certificate: Path) -> PinnedContext:
        """The context for the certificates in this file."""
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the handshake below checks the key instead
        trusted = x509.load_pem_x509_certificates(certificate.read_bytes())
        context._pinned = frozenset(_key(one) for one in trusted)
        context.sslsocket_class = _PinnedSocket
        context.sslobject_class = _PinnedObject
        return context

    def check(self, shown: bytes | None) -> None:
        """Refuse a certificate of another key, or one that has ended."""
        if shown is None:
            raise ssl.SSLError("the node showed no certificate")
        certificate = x509.load_der_x509_certificate(shown)
        if _key(certificate) not in self._pinned:
            raise ssl.SSLError("the node shows a certificate of another key than the pinned one")
        if certificate.not_valid_after_utc.timestamp() <= time.time():
            raise ssl.SSLError("the node's certificate has ended")


class _PinnedSocket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        _check(self)


class _PinnedObject(ssl.SSLObject):
    def do_handshake(self) -> None:
        super().do_handshake()
        _check(self)


def _check(connection: Any) -> None:
    context = connection.context
    if not isinstance(context, PinnedContext):
        raise ssl.SSLError("the connection is not pinned")
    context.check(connection.getpeercert(binary_form=True))


def _key(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
