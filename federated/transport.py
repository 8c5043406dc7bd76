"""Frames between two parties over TLS 1.3 with pinned certificates on both sides.

Certificates are self-signed, P-256, and exchanged beforehand; public authorities are not trusted. A
context trusts only the certificates of the peers, and after the handshake the proved key must be
the one pinned for the expected peer.

On the stream a frame is four bytes of length, big-endian, and its bytes; length 0 is a heartbeat. A
party sends one after ``HEARTBEAT`` seconds without a frame, so that a busy peer can be
distinguished from a dead one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from chain.keys.files import tls_certificate, tls_fingerprint, tls_private_pem, write_private
from federated.channel import FRAME_LIMIT, Buffer
from federated.errors import BadInput, NotFound, PeerFault

HEARTBEAT = 2.0
SILENT_AFTER = 15.0
STALLED_AFTER = 1800.0
_READ_AHEAD = 8 << 20
_ROOM = 4 << 20


class TlsWire:
    """One TLS connection as a ``Wire``."""

    def __init__(
        self,
        peer: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        silent_after: float = SILENT_AFTER,
        stalled_after: float = STALLED_AFTER,
    ) -> None:
        self.peer = peer
        self._reader, self._writer = reader, writer
        self._silent_after, self._stalled_after = silent_after, stalled_after
        self._beats = min(HEARTBEAT, silent_after / 4)
        self._last = asyncio.get_running_loop().time()
        self._heart = asyncio.create_task(self._beat())
        writer.transport.set_write_buffer_limits(high=_ROOM)

    @property
    def gone(self) -> bool:
        """Whether the connection is known to have ended."""
        return self._reader.at_eof() or self._writer.is_closing()

    async def send(self, frame: Sequence[Buffer]) -> None:
        """Send a frame; wait while the peer has not read earlier ones."""
        self._last = asyncio.get_running_loop().time()
        try:
            self._writer.write(sum(len(piece) for piece in frame).to_bytes(4, "big"))
            for piece in frame:
                self._writer.write(piece)
            await asyncio.wait_for(self._writer.drain(), self._stalled_after)
        except TimeoutError as error:
            raise PeerFault(
                "peer_stalled",
                f"{self.peer} has read nothing for {self._stalled_after:g} s.",
                peer=self.peer,
            ) from error
        except (OSError, RuntimeError) as error:
            raise self._gone() from error

    async def receive(self) -> memoryview:
        """Return the next frame that is not a heartbeat."""
        deadline = asyncio.get_running_loop().time() + self._stalled_after
        while True:
            frame = await self._read_frame()
            if frame:
                return memoryview(frame)
            if asyncio.get_running_loop().time() > deadline:
                raise PeerFault(
                    "peer_stalled",
                    f"{self.peer} is alive but has sent no message for {self._stalled_after:g} s.",
                    peer=self.peer,
                )

    async def close(self) -> None:
        """Close the connection after flushing sent frames."""
        self._heart.cancel()
        with suppress(OSError, RuntimeError, TimeoutError, asyncio.CancelledError):
            self._writer.close()
            await asyncio.wait_for(self._writer.wait_closed(), 5)

    async def _read_frame(self) -> bytes:
        try:
            length = int.from_bytes(
                await asyncio.wait_for(self._reader.readexactly(4), self._silent_after), "big"
            )
            if length > FRAME_LIMIT:
                raise PeerFault(
                    "frame_too_long",
                    f"{self.peer} announced a frame of {length} bytes.",
                    peer=self.peer,
                )
            return (
                await asyncio.wait_for(self._reader.readexactly(length), self._stalled_after)
                if length
                else b""
            )
        except TimeoutError as error:
            raise PeerFault(
                "peer_silent",
                f"{self.peer} has been silent for {self._silent_after:g} s.",
                peer=self.peer,
            ) from error
        except (asyncio.IncompleteReadError, OSError) as error:
            raise self._gone() from error

    def _gone(self) -> PeerFault:
        return PeerFault("peer_gone", f"{self.peer} has closed the connection.", peer=self.peer)

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._beats)
            if loop.time() - self._last >= self._beats and not self._writer.is_closing():
                self._writer.write(bytes(4))


# --- Identities -----------------------------------------------------------------------------------


def make_identity(directory: Path, name: str) -> str:
    """Write ``key.pem`` (0600) and ``certificate.pem`` for a party; return the fingerprint of the
    key.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    write_private(directory / "key.pem", tls_private_pem(key))
    write_private(directory / "certificate.pem", tls_certificate(key, name))
    return "0x" + tls_fingerprint(key.public_key()).hex()


def fingerprint_of(certificate: bytes, *, name: str) -> str:
    """Return the fingerprint of a certificate's key (PEM or DER): SHA-256 of its
    SubjectPublicKeyInfo; ``certificate_malformed``.
    """
    try:
        loaded = (
            x509.load_pem_x509_certificate(certificate)
            if certificate.startswith(b"-----")
            else x509.load_der_x509_certificate(certificate)
        )
        key = loaded.public_key()
    except ValueError as error:
        raise BadInput(
            "certificate_malformed", f"The certificate of {name} cannot be read."
        ) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadInput(
            "certificate_malformed", f"The certificate of {name} has a key that is not P-256."
        )
    return "0x" + tls_fingerprint(key).hex()


def tls_context(directory: Path, trusted: Iterable[bytes], *, server: bool) -> ssl.SSLContext:
    """Return a TLS 1.3 context with this party's certificate that trusts only these certificates
    (PEM); ``key_missing``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", ssl.VerifyFlags(0))
    try:
        context.load_cert_chain(directory / "certificate.pem", directory / "key.pem")
    except (OSError, ssl.SSLError) as error:
        raise NotFound(
            "key_missing",
            "The party's own key or certificate cannot be read.",
            hint="Make them: qiaolian federated init.",
        ) from error
    for certificate in trusted:
        context.load_verify_locations(cadata=certificate.decode("ascii"))
    return context


def shown_fingerprint(writer: asyncio.StreamWriter) -> str:
    """Return the fingerprint of the key that the peer proved in the handshake."""
    channel: ssl.SSLObject = writer.get_extra_info("ssl_object")
    certificate = channel.getpeercert(binary_form=True)
    return fingerprint_of(certificate or b"", name="the peer")


async def connect(
    host: str, port: int, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection; ``OSError`` if nobody listens, ``ssl.SSLError`` if a certificate is not
    trusted.
    """
    return await asyncio.open_connection(
        host, port, ssl=context, server_hostname="", limit=_READ_AHEAD
    )


async def listen(host: str, port: int, context: ssl.SSLContext, accepted: object) -> asyncio.Server:
    """Listen for peers."""
    return await asyncio.start_server(accepted, host, port, ssl=context, limit=_READ_AHEAD)  # type: ignore[arg-type]
