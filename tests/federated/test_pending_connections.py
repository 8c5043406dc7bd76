"""Connections that arrive before their job is started do not keep other peers out."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from chain.core.loopback import free_ports
from federated.channel import Channel
from federated.daemon import Daemon
from federated.errors import PeerFault
from federated.party import ListenAddress, PartyConfig, PartyPeer, PartyTimeouts
from federated.pending_connections import MAX_PENDING, PendingConnections
from federated.transport import TlsWire, connect, make_identity, tls_context

PEERS = ("tax", "health")


class Street:
    """The bank's daemon, and its peers as whoever connects with their keys."""

    def __init__(self, root: Path, *, join: float = 60.0) -> None:
        (port,) = free_ports(1)
        shown = {name: make_identity(root / name, name) for name in ("bank", *PEERS)}
        peers = {
            name: PartyPeer(
                address="127.0.0.1:9",
                certificate=Path(f"../{name}/certificate.pem"),
                fingerprint=shown[name],
            )
            for name in PEERS
        }
        trusted = [(root / "bank" / "certificate.pem").read_bytes()]
        self._contexts = {name: tls_context(root / name, trusted, server=False) for name in PEERS}
        self.bank = PartyConfig(
            name="bank",
            listen=ListenAddress(port=port),
            peers=peers,
            limits=PartyTimeouts(join=join),
            home=root / "bank",
        )
        self._wires: list[TlsWire] = []

    async def knock(self, name: str, job: str) -> TlsWire | None:
        """A peer's connection for a job; ``None`` if the bank does not take it."""
        streams = await connect("127.0.0.1", self.bank.listen.port, self._contexts[name])
        wire = TlsWire("bank", *streams)
        self._wires.append(wire)
        channel = Channel("bank", wire)
        try:
            await channel.send("open", job=job)
            await channel.receive("welcome")
        except PeerFault:
            return None
        return wire

    async def knock_until_taken(self, name: str, job: str) -> TlsWire:
        deadline = time.monotonic() + 20
        while (wire := await self.knock(name, job)) is None:
            assert time.monotonic() < deadline, "never taken"
        return wire

    async def fill(self, name: str) -> list[TlsWire]:
        """All connections that a peer may have, open."""
        wires = [await self.knock(name, f"job-{index}") for index in range(MAX_PENDING)]
        return [wire for wire in wires if wire is not None]

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Daemon]:
        async with Daemon.started(self.bank) as daemon:
            try:
                yield daemon
            finally:
                await asyncio.gather(*(wire.close() for wire in self._wires))


def on(street: Street, scene: Callable[[Daemon], Awaitable[None]]) -> None:
    async def run() -> None:
        async with street.open() as daemon:
            await asyncio.wait_for(scene(daemon), 60)

    asyncio.run(run())


def test_connections_that_a_peer_has_given_up_do_not_keep_it_out(tmp_path: Path) -> None:
    street = Street(tmp_path)

    async def scene(_daemon: Daemon) -> None:
        await asyncio.gather(*(wire.close() for wire in await street.fill("tax")))
        await street.knock_until_taken("tax", "wanted")

    on(street, scene)


def test_one_peers_connections_do_not_keep_another_out(tmp_path: Path) -> None:
    street = Street(tmp_path)

    async def scene(_daemon: Daemon) -> None:
        assert len(await street.fill("tax")) == MAX_PENDING
        assert await street.knock("tax", "one-more") is None
        assert await street.knock("tax", "job-0") is not None
        assert await street.knock("health", "job-0") is not None

    on(street, scene)


def test_connections_older_than_peers_are_waited_for_make_room(tmp_path: Path) -> None:
    """A peer whose machine has died ends no connection: its places come back with time."""
    street = Street(tmp_path, join=1.0)

    async def scene(_daemon: Daemon) -> None:
        first, *_ = await street.fill("tax")
        await street.knock_until_taken("tax", "wanted")
        with pytest.raises(PeerFault, check=lambda error: error.code == "peer_gone"):
            await first.receive()

    on(street, scene)


def test_a_job_that_is_started_gets_its_connection_early_or_late_even_when_all_places_are_taken(
    tmp_path: Path,
) -> None:
    street = Street(tmp_path)

    async def scene(daemon: Daemon) -> None:
        early = (await street.fill("tax"))[7]
        waited = asyncio.ensure_future(daemon._pending.wait_for("tax", "one-more"))
        await asyncio.sleep(0)
        late = await street.knock("tax", "one-more")
        for theirs, ours in (
            (late, await waited),
            (early, await daemon._pending.wait_for("tax", "job-7")),
        ):
            assert theirs is not None
            await ours.send([b"hello"])
            assert bytes(await theirs.receive()) == b"hello"
            await ours.close()

    on(street, scene)


def test_of_two_connections_for_one_job_the_newer_counts_however_close_they_come(
    tmp_path: Path,
) -> None:
    """The second comes before the job that waits has seen the first."""
    street = Street(tmp_path)

    async def scene(daemon: Daemon) -> None:
        await asyncio.gather(street.knock("tax", "a"), street.knock("tax", "b"))
        older, newer = [await daemon._pending.wait_for("tax", job) for job in "ab"]
        arrivals = PendingConnections(60.0)
        waited = asyncio.ensure_future(arrivals.wait_for("tax", "job"))
        await asyncio.sleep(0)
        assert arrivals.add("tax", "job", older) == []
        assert arrivals.add("tax", "job", newer) == [older]
        assert await waited is newer
        await asyncio.gather(older.close(), newer.close())

    on(street, scene)
