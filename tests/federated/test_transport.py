"""TLS between two parties: only the pinned key is accepted; a peer that dies, one that stops sending
and one that states a wrong length are reported by different codes.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from federated.channel import FRAME_LIMIT
from federated.errors import BadInput, NotFound, PeerFault
from federated.transport import (
    TlsWire,
    connect,
    fingerprint_of,
    listen,
    make_identity,
    shown_fingerprint,
    tls_context,
)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def homes(tmp_path: Path) -> dict[str, Path]:
    for name in ("bank", "tax", "stranger"):
        make_identity(tmp_path / name, name)
    return {name: tmp_path / name for name in ("bank", "tax", "stranger")}


def certificate(home: Path) -> bytes:
    return (home / "certificate.pem").read_bytes()


async def connected(
    homes: dict[str, Path], client: str = "tax", trusted: str = "bank"
) -> tuple[asyncio.Server, Streams, Streams]:
    """The bank's server, its accepted streams, and the client's."""
    accepted: asyncio.Future[Streams] = asyncio.get_running_loop().create_future()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set_result((reader, writer))

    server = await listen(
        "127.0.0.1", 0, tls_context(homes["bank"], [certificate(homes["tax"])], server=True), accept
    )
    port = server.sockets[0].getsockname()[1]
    theirs = await connect(
        "127.0.0.1", port, tls_context(homes[client], [certificate(homes[trusted])], server=False)
    )
    return server, await asyncio.wait_for(accepted, 5), theirs


def pair(homes: dict[str, Path], scene: Callable[[Streams, Streams], Awaitable[None]]) -> None:
    async def run() -> None:
        server, ours, theirs = await connected(homes)
        try:
            await scene(ours, theirs)
        finally:
            server.close()
            for _, writer in (ours, theirs):
                writer.close()

    asyncio.run(run())


def test_pinned_parties_exchange_frames_over_tls_1_3(homes: dict[str, Path]) -> None:
    async def scene(ours: Streams, theirs: Streams) -> None:
        assert shown_fingerprint(ours[1]) == fingerprint_of(certificate(homes["tax"]), name="tax")
        assert theirs[1].get_extra_info("ssl_object").version() == "TLSv1.3"
        bank, tax = TlsWire("tax", *ours), TlsWire("bank", *theirs)
        await tax.send([b"a" * 100_000, memoryview(b"b")])
        assert bytes(await bank.receive()) == b"a" * 100_000 + b"b"
        await bank.close()
        with pytest.raises(PeerFault) as caught:
            await tax.receive()
        assert caught.value.code == "peer_gone"
        await tax.close()

    pair(homes, scene)


def test_a_certificate_that_is_not_the_pinned_one_gets_nowhere(homes: dict[str, Path]) -> None:
    async def server_is_another() -> None:
        with pytest.raises(ssl.SSLError):
            await connected(homes, trusted="stranger")

    async def client_is_another() -> None:
        # In TLS 1.3 a client's handshake ends before the server has judged its certificate; what
        # the server then says is an alert.
        accepted: list[object] = []

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.append(writer)

        server = await listen(
            "127.0.0.1",
            0,
            tls_context(homes["bank"], [certificate(homes["tax"])], server=True),
            accept,
        )
        context = tls_context(homes["stranger"], [certificate(homes["bank"])], server=False)
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            reader, _ = await connect("127.0.0.1", server.sockets[0].getsockname()[1], context)
            await reader.readexactly(1)
        assert not accepted
        server.close()

    asyncio.run(server_is_another())
    asyncio.run(client_is_another())


def test_nothing_older_than_tls_1_3_is_spoken(homes: dict[str, Path]) -> None:
    async def run() -> None:
        server = await listen(
            "127.0.0.1",
            0,
            tls_context(homes["bank"], [certificate(homes["tax"])], server=True),
            lambda _reader, _writer: None,
        )
        context = tls_context(homes["tax"], [certificate(homes["bank"])], server=False)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connect("127.0.0.1", server.sockets[0].getsockname()[1], context)
        server.close()

    asyncio.run(run())


def test_a_frame_that_claims_too_much_is_refused_before_it_is_read(homes: dict[str, Path]) -> None:
    async def scene(ours: Streams, theirs: Streams) -> None:
        bank = TlsWire("tax", *ours)
        theirs[1].write((FRAME_LIMIT + 1).to_bytes(4, "big"))
        with pytest.raises(PeerFault) as caught:
            await bank.receive()
        assert caught.value.code == "frame_too_long"
        await bank.close()

    pair(homes, scene)


def test_a_peer_that_dies_within_a_frame_is_gone(homes: dict[str, Path]) -> None:
    async def scene(ours: Streams, theirs: Streams) -> None:
        bank = TlsWire("tax", *ours)
        theirs[1].write((100).to_bytes(4, "big") + b"half")
        await theirs[1].drain()
        theirs[1].transport.abort()
        with pytest.raises(PeerFault) as caught:
            await bank.receive()
        assert caught.value.code == "peer_gone"
        await bank.close()

    pair(homes, scene)


def test_silence_computing_and_stalling_are_distinguished(homes: dict[str, Path]) -> None:
    async def scene(ours: Streams, theirs: Streams) -> None:
        bank = TlsWire("tax", *ours, silent_after=0.2, stalled_after=0.6)
        with pytest.raises(PeerFault) as silent:  # no wire at the other end: nobody's heart beats
            await bank.receive()
        tax = TlsWire("bank", *theirs, silent_after=0.2)
        with pytest.raises(PeerFault) as stalled:  # it lives, and sends no frame
            await bank.receive()
        assert (silent.value.code, stalled.value.code) == ("peer_silent", "peer_stalled")
        await bank.close()
        await tax.close()

    pair(homes, scene)


def test_a_sender_waits_for_a_peer_that_takes_nothing(homes: dict[str, Path]) -> None:
    async def scene(ours: Streams, theirs: Streams) -> None:
        tax = TlsWire("bank", *theirs, stalled_after=0.5)
        with pytest.raises(PeerFault) as caught:
            for _ in range(4):  # more than sockets and read-ahead hold
                await tax.send([bytes(32 << 20)])
        assert caught.value.code == "peer_stalled"

    pair(homes, scene)


@pytest.mark.parametrize(
    "pem", [b"", b"-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n", b"\x30\x00"]
)
def test_certificates_that_are_none(pem: bytes) -> None:
    with pytest.raises(BadInput) as caught:
        fingerprint_of(pem, name="tax")
    assert caught.value.code == "certificate_malformed"


def test_keys_are_private_files(homes: dict[str, Path]) -> None:
    assert (homes["bank"] / "key.pem").stat().st_mode & 0o777 == 0o600
    (homes["bank"] / "key.pem").write_bytes(b"broken")
    with pytest.raises(NotFound) as caught:
        tls_context(homes["bank"], [], server=True)
    assert caught.value.code == "key_missing"
