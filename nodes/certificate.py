"""The node's TLS certificate: how long it is valid, its renewal, and its replacement in the running
server.

Other nodes pin the certificate's key (SHA-256 of its SubjectPublicKeyInfo, as in the directory) and
look at the end date. A renewed certificate keeps the key, so nobody else has to do anything, and
open connections are not touched: a new handshake gets the new certificate. A certificate that
somebody else issued is never replaced here.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import ssl
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from chain.core.errors import BadInput, Conflict, QiaolianError
from chain.core.zone import DAY_SECONDS
from chain.keys.files import KeyStore, renewed_certificate, tls_fingerprint, write_private
from chain.statements.members import KeyPurpose
from nodes.config import NodeConfig
from nodes.initialise import CERTIFICATE_FILE, NODE_KEYS

RENEW_DAYS = 60
"""So many days before its end a certificate is renewed."""


@dataclass(frozen=True)
class NodeCertificate:
    """A node's certificate. ``ends_at`` is in Unix seconds."""

    holder: str
    fingerprint: bytes
    """SHA-256 of the SubjectPublicKeyInfo."""
    ends_at: int
    self_signed: bool

    @classmethod
    def read(cls, pem: bytes) -> Self:
        """From PEM; ``certificate_wrong`` for what holds no certificate of a P-256 key."""
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            key = certificate.public_key()
            if not isinstance(key, ec.EllipticCurvePublicKey):
                raise ValueError("algorithm")
        except ValueError as error:
            raise _wrong("holds no certificate of a P-256 key") from error
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return cls(
            holder=str(names[0].value) if names else "",
            fingerprint=tls_fingerprint(key),
            ends_at=int(certificate.not_valid_after_utc.timestamp()),
            self_signed=certificate.issuer == certificate.subject,
        )

    def days_left(self, now: float) -> float:
        """Days until the certificate expires; negative afterwards."""
        return (self.ends_at - now) / DAY_SECONDS

    def due(self, now: float) -> bool:
        """Whether the certificate is due for renewal."""
        return self.days_left(now) < RENEW_DAYS


def certificate_path(config: NodeConfig) -> Path:
    """Return the path of the node's certificate."""
    return config.path(config.keys.dir) / CERTIFICATE_FILE


def current(config: NodeConfig) -> NodeCertificate:
    """The certificate in the node's directory; ``certificate_wrong``."""
    return NodeCertificate.read(_read_file(certificate_path(config)))


def renew(config: NodeConfig) -> NodeCertificate:
    """Replace the certificate by one for the same names and the key in the key store, valid from
    now.

    Raises:
        Conflict: ``certificate_issued_elsewhere``; BadInput: ``certificate_wrong``, and what
            opening the key raises.
    """
    return _renew(config, _stored_key(config))


class ServerCertificate:
    """The certificate a running server shows.

    Thread-safe: the TLS context is replaced as a whole.
    """

    def __init__(self, config: NodeConfig, *, clock: Callable[[], float] = time.time) -> None:
        """Open the key and the certificate, renewing it if that is due.

        Raises:
            BadInput: ``certificate_wrong``, and what opening the key raises.
        """
        self._config = config
        self._clock = clock
        self._renews = config.workers.certificate
        self._key = _stored_key(config)
        self._pem = b""
        self._take_up()
        # A start does not depend on it: the worker tries again and reports what prevents it.
        with contextlib.suppress(OSError, QiaolianError):
            self.keep()

    @property
    def days_left(self) -> float:
        """Days until the certificate in use expires."""
        return self.info.days_left(self._clock())

    def keep(self) -> None:
        """Load a replaced certificate file, and renew the certificate if that is due.

        Raises:
            As ``renew``; OSError when the file cannot be written. The server continues with the
            certificate it has.
        """
        self._take_up()
        if self._renews and self.info.due(self._clock()):
            _renew(self._config, self._key)
            self._take_up()

    def _take_up(self) -> None:
        path = certificate_path(self._config)
        pem = _read_file(path)
        if pem == self._pem:
            return
        info = NodeCertificate.read(pem)
        if info.fingerprint != tls_fingerprint(self._key.public_key()):
            self._key = _stored_key(self._config)
        context = _context(path, self._key)
        self.context, self.info, self._pem = context, info, pem


def _renew(config: NodeConfig, key: ec.EllipticCurvePrivateKey) -> NodeCertificate:
    path = certificate_path(config)
    former = _read_file(path)
    if not NodeCertificate.read(former).self_signed:
        raise Conflict(
            "certificate_issued_elsewhere",
            "The node's certificate was issued by somebody else and is not renewed by the node.",
            hint="Have it renewed there for the same key and put it at "
            f"{path}; the running node takes it up.",
        )
    renewed = renewed_certificate(former, key)
    write_private(path, renewed)
    return NodeCertificate.read(renewed)


def _stored_key(config: NodeConfig) -> ec.EllipticCurvePrivateKey:
    store = KeyStore(config.path(config.keys.dir), config.passphrase())
    return store.p256(NODE_KEYS[KeyPurpose.TLS][0])


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _wrong("is missing") from error


def _context(certificate: Path, key: ec.EllipticCurvePrivateKey) -> ssl.SSLContext:
    """TLS 1.3 with the certificate.

    The key passes through a file only under a one-time password.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    password = secrets.token_hex(16).encode()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))
    descriptor, name = tempfile.mkstemp(prefix="qiaolian-tls-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
        context.load_cert_chain(certificate, name, password=password)
    except (OSError, ssl.SSLError) as error:
        raise _wrong("is not of its TLS key") from error
    finally:
        Path(name).unlink(missing_ok=True)
    return context


def _wrong(what: str) -> BadInput:
    return BadInput(
        "certificate_wrong",
        f"The node's certificate {what}.",
        hint=f"Look at {CERTIFICATE_FILE} in the directory of its "
        "keys, and restore it from a backup.",
    )
