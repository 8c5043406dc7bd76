"""Secure sums between processes over TLS: five members, one of which ends when its vector is due, beside a sum that hides nothing."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chain.loopback import free_ports
from federated.channel import Buffer, Channel
from federated.horizontal.rounds import aggregate, contribute
from federated.horizontal.secagg import Terms
from federated.randomness import Randomness
from federated.session import Session
from federated.transport import TlsWire, connect, fingerprint_of, listen, make_identity, shown_fingerprint, tls_context
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
        root, (port,) = Path(directory), free_ports(1)
        for name in (CENTRE, *MEMBERS):
            make_identity(root / name, name)
        ends = {name: context.Pipe() for name in (CENTRE, *MEMBERS)}
        processes = [context.Process(target=_process, args=(name, root, port, secure, ends[name][1])) for name in ends]
        for each in processes:
            each.start()
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
            for each in processes:
                each.join(10)
                each.kill()
    return spent


def _process(name: str, root: Path, port: int, secure: bool, pipe: Connection) -> None:
    asyncio.run((_centre if name == CENTRE else _member)(name, root, port, secure, pipe))


def _vector(name: str) -> NDArray[np.int64]:
    return np.random.default_rng(MEMBERS.index(name)).integers(-BOUND, BOUND + 1, LENGTH)


def _terms() -> Terms:
    return Terms("bench/0", MEMBERS, LENGTH, BOUND)


async def _centre(name: str, root: Path, port: int, secure: bool, pipe: Connection) -> None:
    certificates = {each: (root / each / "certificate.pem").read_bytes() for each in MEMBERS}
    names = {fingerprint_of(certificate, name=each): each for each, certificate in certificates.items()}
    wires: dict[str, TlsWire] = {}
    joined = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        member = names[shown_fingerprint(writer)]
        wires[member] = TlsWire(member, reader, writer)
        if len(wires) == len(MEMBERS):
            joined.set()

    server = await listen("127.0.0.1", port, tls_context(root / name, certificates.values(), server=True), accept)
    await joined.wait()
    expected = sum(_vector(each) for each in MEMBERS if each != DROPPED)
    session = Session(name, {each: Channel(each, wires[each]) for each in MEMBERS}, Randomness(secrets.token_bytes(32)))
    await _ready(pipe)
    started = time.perf_counter()
    total = (await aggregate(session, _terms())).total if secure else await _open_sum(session)
    spent = time.perf_counter() - started
    assert (total == expected).all()
    pipe.send(spent)
    server.close()


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


async def _member(name: str, root: Path, port: int, secure: bool, pipe: Connection) -> None:
    context = tls_context(root / name, [(root / CENTRE / "certificate.pem").read_bytes()], server=False)
    streams = await _connected(port, context)
    wire = (_Mortal if name == DROPPED else TlsWire)(CENTRE, *streams)
    vector = _vector(name)
    session = Session(name, {CENTRE: Channel(CENTRE, wire)}, Randomness(secrets.token_bytes(32)))
    await _ready(pipe)
    if secure:
        await contribute(session, CENTRE, _terms(), vector)
    elif name != DROPPED:
        await session.to(CENTRE).send("open", vector=vector)
    await wire.close()


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
    """Say so, and wait for the start."""
    pipe.send("ready")
    await asyncio.to_thread(pipe.recv)
