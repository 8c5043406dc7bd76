"""Secure sums between processes over TLS, every pair connected: five members, one of which ends
when its vector is due, beside an open sum.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chain.core.loopback import free_ports
from federated.channel import Buffer, Channel
from federated.errors import PeerFault
from federated.horizontal.rounds import aggregate, contribute
from federated.horizontal.secagg import SecureSumTerms
from federated.randomness import Randomness
from federated.session import Session
from federated.transport import (
    TlsWire,
    connect,
    fingerprint_of,
    listen,
    make_identity,
    shown_fingerprint,
    tls_context,
)
from scripts.benches.figure import Figure

LENGTH = 1_000_000
BOUND = 1 << 24
MEMBERS = ("m0", "m1", "m2", "m3", "m4")
DROPPED = "m2"
ROUNDS = 3
CENTRE = "centre"
_PATIENCE = 60


def run(say: Callable[[str], None]) -> list[Figure]:
    """The median of some sums, and whether every one was exact."""
    say(f"secure sums of {LENGTH:,} integers, five members, one drops")
    masked = sorted(_one(secure=True) for _ in range(ROUNDS))[ROUNDS // 2]
    plain = sorted(_one(secure=False) for _ in range(ROUNDS))[ROUNDS // 2]
    return [
        Figure(
            f"secure sum of {LENGTH:,} integers, 5 members, 1 drops, exact",
            masked,
            "s",
            plain,
            "the same vectors sent and added in the open",
            "≤ 2 s",
        )
    ]


def _one(*, secure: bool) -> float:
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as directory:
        root, ports = (
            Path(directory),
            dict(zip((CENTRE, *MEMBERS), free_ports(1 + len(MEMBERS)), strict=True)),
        )
        for name in (CENTRE, *MEMBERS):
            make_identity(root / name, name)
        ends = {name: context.Pipe() for name in (CENTRE, *MEMBERS)}
        processes = [
            context.Process(target=_process, args=(name, root, ports, secure, ends[name][1]))
            for name in ends
        ]
        for process in processes:
            process.start()
        try:
            for ours, _ in ends.values():
                if not ours.poll(_PATIENCE) or ours.recv() != "ready":
                    raise TimeoutError("a process of the measurement did not start")
            for ours, _ in ends.values():
                ours.send("go")
            centre = ends[CENTRE][0]
            if not centre.poll(_PATIENCE):
                raise TimeoutError("the sum did not end")
            spent = float(centre.recv())
        finally:
            for process in processes:
                process.join(10)
                process.kill()
    return spent


def _process(name: str, root: Path, ports: dict[str, int], secure: bool, pipe: Connection) -> None:
    asyncio.run((_centre if name == CENTRE else _member)(name, root, ports, secure, pipe))


def _vector(name: str) -> NDArray[np.int64]:
    return np.random.default_rng(MEMBERS.index(name)).integers(-BOUND, BOUND + 1, LENGTH)


def _terms() -> SecureSumTerms:
    return SecureSumTerms("bench/0", MEMBERS, LENGTH, BOUND)


@asynccontextmanager
async def _joined(
    name: str, root: Path, ports: dict[str, int], kind: type[TlsWire] = TlsWire
) -> AsyncIterator[dict[str, Channel]]:
    """Channels to all others; a party connects to those before it and is connected to by those
    behind.
    """
    parties = [CENTRE, *MEMBERS]
    certificates = {party: (root / party / "certificate.pem").read_bytes() for party in parties}
    names = {
        fingerprint_of(certificate, name=party): party
        for party, certificate in certificates.items()
    }
    wires: dict[str, TlsWire] = {}
    joined = asyncio.Event()

    def add(peer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wires[peer] = (kind if peer == CENTRE else TlsWire)(peer, reader, writer)
        if len(wires) == len(parties) - 1:
            joined.set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        add(names[shown_fingerprint(writer)], reader, writer)

    server = await listen(
        "127.0.0.1",
        ports[name],
        tls_context(root / name, certificates.values(), server=True),
        accept,
    )
    context = tls_context(root / name, certificates.values(), server=False)
    for peer in parties[: parties.index(name)]:
        add(peer, *await _connected(ports[peer], context))
    await joined.wait()
    try:
        yield {peer: Channel(peer, wire) for peer, wire in wires.items()}
    finally:
        server.close()
        await asyncio.gather(*(wire.close() for wire in wires.values()))


async def _centre(
    name: str, root: Path, ports: dict[str, int], secure: bool, pipe: Connection
) -> None:
    async with _joined(name, root, ports) as channels:
        expected = sum(_vector(member) for member in MEMBERS if member != DROPPED)
        session = Session(name, channels, Randomness(secrets.token_bytes(32)))
        await _ready(pipe)
        started = time.perf_counter()
        total = (await aggregate(session, _terms())).total if secure else await _open_sum(session)
        spent = time.perf_counter() - started
        assert (total == expected).all()
        pipe.send(spent)


async def _open_sum(session: Session) -> NDArray[np.int64]:
    total = np.zeros(LENGTH, np.int64)
    for name in MEMBERS:
        if name != DROPPED:
            total += (await session.to(name).receive("open")).array("vector", "int64", [LENGTH])
    return total


class _Mortal(TlsWire):
    """A wire whose process ends when the third message is due: the masked vector."""

    count = 0

    async def send(self, frame: Sequence[Buffer]) -> None:
        """Send, or end."""
        self.count += 1
        if self.count == 3:
            os._exit(0)
        await super().send(frame)


async def _member(
    name: str, root: Path, ports: dict[str, int], secure: bool, pipe: Connection
) -> None:
    async with _joined(name, root, ports, _Mortal if name == DROPPED else TlsWire) as channels:
        vector = _vector(name)
        session = Session(name, channels, Randomness(secrets.token_bytes(32)))
        await _ready(pipe)
        if secure:
            await contribute(session, CENTRE, _terms(), vector)
        elif name != DROPPED:
            await channels[CENTRE].send("open", vector=vector)
        with suppress(PeerFault):
            # Once the centre has closed, what was sent has been read.
            await channels[CENTRE].receive("end")


async def _connected(port: int, context: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return await connect("127.0.0.1", port, context)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)


async def _ready(pipe: Connection) -> None:
    """Report that this process is ready, and wait for the start."""
    pipe.send("ready")
    await asyncio.to_thread(pipe.recv)
