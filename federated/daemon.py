"""The party daemon: a long-lived process that listens for peers and runs jobs.

Peers open one TLS connection for each job and pair of parties: the party named later in the
specification connects, the earlier one accepts. The first frame names the job, and the key proved
in the handshake names the peer.

Local users reach the daemon through a Unix socket in the party's folder (mode 0600): one JSON line
is the request; lines with progress and one with the outcome are the response.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from federated.attempt import Attempt, Progress
from federated.channel import Channel
from federated.errors import (
    BadInput,
    Conflict,
    NotFound,
    PeerFault,
    QiaolianError,
    Unavailable,
    system_failure,
)
from federated.gate import ApprovalGate, FolderGate
from federated.job import Job
from federated.party import PartyConfig
from federated.pending_connections import PendingConnections
from federated.protocols import protocol_of
from federated.transport import TlsWire, connect, listen, shown_fingerprint, tls_context

CONTROL = "control.sock"


def attempt_name() -> str:
    """Return a new attempt's folder name: the time in nanoseconds, so that names sort by age, and
    a random part, because one machine's clock may be set back.
    """
    return f"{time.time_ns()}-{secrets.token_hex(4)}"


class Daemon:
    """One party's daemon. Use ``async with Daemon.started(config)``."""

    def __init__(self, config: PartyConfig, gate: ApprovalGate | None = None) -> None:
        self.config = config
        self.gate = gate or FolderGate(config.home / "approvals")
        self._names = {peer.fingerprint: name for name, peer in config.peers.items()}
        self._trusted = [config.certificate_of(name) for name in config.peers]
        self._pending = PendingConnections(config.limits.join)
        self._running: dict[str, dict[str, Any]] = {}

    @classmethod
    @asynccontextmanager
    async def started(
        cls, config: PartyConfig, gate: ApprovalGate | None = None
    ) -> AsyncIterator[Daemon]:
        """Listen for peers until the block ends."""
        daemon = cls(config, gate)
        server = await daemon._listen()
        try:
            yield daemon
        finally:
            server.close()
            await daemon._pending.close()

    async def _listen(self) -> asyncio.Server:
        context = tls_context(self.config.home, self._trusted, server=True)
        try:
            return await listen(
                self.config.listen.host, self.config.listen.port, context, self._accept
            )
        except OSError as error:
            where = f"{self.config.listen.host}:{self.config.listen.port}"
            hint = "End what uses it, or change the port."
            raise Conflict(
                "port_in_use", f"Nothing can listen on {where}: {error.strerror}.", hint=hint
            ) from error

    # --- Jobs -------------------------------------------------------------------------------------

    async def run(self, job: Job, progress: Progress) -> dict[str, Any]:
        """Run one attempt at a job and return the receipt.

        Raises:
            BadInput: ``not_a_party``, ``peer_unknown``, ``source_unknown`` and the protocol's own
            codes.
            Conflict: ``job_running``.
            Unavailable: ``peer_absent``; and whatever ends the attempt.
        """
        self._require(job)
        if job.name in self._running:
            raise Conflict("job_running", f"The job {job.name} is already running.")
        folder = self.config.home / "jobs" / job.name / attempt_name()
        status = self._running[job.name] = {"stage": "joining", "share": 0.0, "folder": str(folder)}

        def watch(stage: str, share: float) -> None:
            status.update(stage=stage, share=share)
            progress(stage, share)

        wires: dict[str, TlsWire] = {}
        try:
            watch("joining", 0.0)
            await self._join_all(job, wires)
            return await Attempt(self.config, job, self.gate, wires, folder, watch).run()
        finally:
            del self._running[job.name]
            for wire in wires.values():
                await wire.close()

    def _require(self, job: Job) -> None:
        if self.config.name not in job.parties:
            raise BadInput("not_a_party", f"{self.config.name} is not a party of this job.")
        for peer in job.parties:
            if peer != self.config.name and peer not in self.config.peers:
                raise NotFound(
                    "peer_unknown",
                    f"The party {peer} is not among the peers.",
                    hint="Add it to the configuration.",
                )
        source = job.parties[self.config.name].source
        if source is not None:
            self.config.source(source)
        protocol_of(job)

    # --- Connections ------------------------------------------------------------------------------

    async def _join_all(self, job: Job, wires: dict[str, TlsWire]) -> None:
        """Connect to every other party. ``wires`` holds the open connections even if this fails."""

        async def join(peer: str) -> None:
            wires[peer] = await self._join(job, peer)

        joining = [
            asyncio.ensure_future(join(peer)) for peer in job.parties if peer != self.config.name
        ]
        try:
            async with asyncio.timeout(self.config.limits.join):
                await asyncio.gather(*joining)
        except TimeoutError as error:
            absent = ", ".join(
                peer for peer in job.parties if peer != self.config.name and peer not in wires
            )
            raise Unavailable(
                "peer_absent",
                f"These parties have not joined: {absent}.",
                hint="Start the job at each of them.",
            ) from error
        finally:
            for task in joining:
                task.cancel()
            await asyncio.gather(*joining, return_exceptions=True)

    async def _join(self, job: Job, peer: str) -> TlsWire:
        names = list(job.parties)
        if names.index(self.config.name) < names.index(peer):
            return await self._pending.wait_for(peer, job.name)
        entry = self.config.peers[peer]
        context = tls_context(self.config.home, [self.config.certificate_of(peer)], server=False)
        while True:
            try:
                reader, writer = await connect(entry.host, entry.port, context)
            except ssl.SSLError as error:
                raise Conflict(
                    "certificate_not_pinned",
                    f"{peer} presented a certificate that is not the pinned one.",
                    peer=peer,
                ) from error
            except OSError:
                await asyncio.sleep(0.1)
                continue
            wire = self._wire(peer, reader, writer)
            channel = Channel(peer, wire)
            try:
                await channel.send("open", job=job.name)
                await channel.receive("welcome")
            except PeerFault as fault:
                # In TLS 1.3 the accepting side judges a certificate after the handshake has ended
                # here.
                hint = (
                    f"Does {peer} hold this party's certificate, and can it "
                    "hold one more job that it has not started?"
                )
                raise Conflict(
                    "peer_refused",
                    f"{peer} has closed the connection before the job started.",
                    hint=hint,
                    peer=peer,
                ) from fault
            return wire

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Accept a peer's connection and hold it until the job it names is started here."""
        with suppress(QiaolianError):
            name = self._names.get(shown_fingerprint(writer))
            if name is not None:
                await self._welcome(name, self._wire(name, reader, writer))
                return
        writer.close()

    async def _welcome(self, peer: str, wire: TlsWire) -> None:
        dropped = [wire]
        with suppress(QiaolianError, OSError, TimeoutError):
            channel = Channel(peer, wire)
            job = (await asyncio.wait_for(channel.receive("open"), 10)).text("job", max_length=64)
            dropped = self._pending.add(peer, job, wire)
            if wire not in dropped:
                # Nothing is awaited in between: a job that has waited for the connection speaks
                # after the welcome.
                await channel.send("welcome")
        await asyncio.gather(*(dropped.close() for dropped in dropped))

    def _wire(
        self, peer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> TlsWire:
        limits = self.config.limits
        return TlsWire(
            peer, reader, writer, silent_after=limits.silent, stalled_after=limits.stalled
        )

    # --- The party's own people -------------------------------------------------------------------

    async def serve(self, ready: Callable[[], None]) -> None:
        """Answer on the control socket until cancelled; ``daemon_running`` if another
        daemon does.
        """
        if await reachable(self.config.home):
            raise Conflict("daemon_running", f"A daemon of {self.config.name} is already running.")
        with _socket_path(self.config.home) as path:
            Path(path).unlink(missing_ok=True)
            before = os.umask(0o177)
            try:
                server = await asyncio.start_unix_server(self._control, path)
            finally:
                os.umask(before)
            ready()
            try:
                await server.serve_forever()
            finally:
                Path(path).unlink(missing_ok=True)

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def respond(**value: Any) -> None:
            if not writer.is_closing():
                writer.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")

        try:
            request = json.loads(await reader.readline())
            if "run" in request:
                job = Job.from_json(request["run"])
                respond(
                    done=await self.run(job, lambda stage, share: respond(progress=[stage, share]))
                )
            else:
                respond(done={"party": self.config.name, "running": self._running})
        except QiaolianError as error:
            respond(error={"code": error.code, "sentence": error.sentence, "hint": error.hint})
        except (ValueError, TypeError):
            respond(
                error={
                    "code": "request_malformed",
                    "sentence": "The request is malformed.",
                    "hint": "",
                }
            )
        except OSError as error:
            failure = system_failure(error)
            respond(
                error={"code": failure.code, "sentence": failure.sentence, "hint": failure.hint}
            )
        finally:
            with suppress(OSError):
                await writer.drain()
                writer.close()


# --- The other end of the control socket ----------------------------------------------------------


@contextmanager
def _socket_path(home: Path) -> Iterator[str]:
    """Yield the socket's path through its folder's descriptor: a Unix socket path is limited to 107
    bytes.
    """
    descriptor = os.open(home, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{CONTROL}"
    finally:
        os.close(descriptor)


async def reachable(home: Path) -> bool:
    """Return whether a daemon answers in this folder."""
    try:
        await ask(home, {"status": True}, lambda _stage, _share: None)
    except (OSError, QiaolianError):
        return False
    return True


async def ask(home: Path, question: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Send a request to the daemon of this folder and return its response, or raise its error.
    ``OSError`` if no daemon runs.
    """
    with _socket_path(home) as path:
        reader, writer = await asyncio.open_unix_connection(path, limit=1 << 24)
    writer.write(json.dumps(question, ensure_ascii=False).encode() + b"\n")
    try:
        while line := await reader.readline():
            answer = json.loads(line)
            if "progress" in answer:
                progress(*answer["progress"])
            elif "error" in answer:
                raise Conflict(
                    answer["error"]["code"],
                    answer["error"]["sentence"],
                    hint=answer["error"]["hint"],
                )
            else:
                done: dict[str, Any] = answer["done"]
                return done
    finally:
        writer.close()
    raise Unavailable(
        "daemon_gone",
        "The daemon ended before the job was finished.",
        hint="See its log, and start it again.",
    )
