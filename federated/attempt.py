"""One attempt at a job, from the first hello to the receipt.

The attempt runs in this order, and its guarantees depend on the order:

1. *agree*: each pair of parties compares version, code, specification and seed commitments; all
   parties compare what they saw;
2. *permit*: every owner's gate approves; no party opens a source before every owner has approved;
3. *open*: the source is read, and its rows are committed to;
4. *compute*: the role function of the protocol runs;
5. *compare*: results are written to a temporary folder and transcript heads are exchanged; results
   are published only if all heads match.

On any failure the peers receive the error code, the state file records it, and all results are
deleted.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from chain.core.canonical import dumps
from chain.keys.files import write_private
from federated import sources
from federated.channel import Channel, Wire
from federated.errors import Conflict, NotFound, PeerFault, QiaolianError, system_failure
from federated.gate import ApprovalGate
from federated.inputs import commit_rows
from federated.job import Job, JobResult, Table
from federated.party import PartyConfig
from federated.protocols import protocol_of
from federated.randomness import Randomness, derive
from federated.session import Session
from federated.transcript import Recording, Transcript

VERSION = 1

State = Literal["agreeing", "permitted", "running", "done", "failed"]
Progress = Callable[[str, float], None]


def code_digest() -> bytes:
    """Return SHA-256 over the sources and templates of this package. All parties must run the same
    code.
    """
    digest = hashlib.sha256()
    home = Path(__file__).parent
    for path in sorted([*home.rglob("*.py"), *home.rglob("*.html")]):
        digest.update(
            path.relative_to(home).as_posix().encode()
            + b"\0"
            + hashlib.sha256(path.read_bytes()).digest()
        )
    return digest.digest()


@dataclass
class Attempt:
    """One party's side of one attempt.

    ``wires``: open connections to all other parties of the job.
    """

    config: PartyConfig
    job: Job
    gate: ApprovalGate
    wires: Mapping[str, Wire]
    folder: Path
    progress: Progress
    _channels: dict[str, Channel] = field(default_factory=dict)

    async def run(self) -> dict[str, Any]:
        """Run the attempt and return the receipt.

        Errors are raised after the peers were notified.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=False)
        try:
            return await self._run()
        except OSError as error:
            failure = system_failure(error)
            await self._stop(failure)
            raise failure from error
        except BaseException as error:
            await self._stop(error)
            raise

    async def _run(self) -> dict[str, Any]:
        started_at = time.monotonic()
        protocol = protocol_of(self.job)
        self._state("agreeing")
        write_private(
            self.folder / "spec.json",
            json.dumps(self.job.to_json(), ensure_ascii=False, indent=1).encode(),
        )
        seed = secrets.token_bytes(32)
        write_private(self.folder / "seed", seed)
        hellos, agreement = await self._agree(seed)
        transcript = Transcript(self.config.name, self.folder if self.config.record else None)
        self._channels = {
            peer: Channel(peer, wire, transcript) for peer, wire in self.wires.items()
        }
        beacons = await permits(self.config.name, self.job, self._channels, self._permit)
        self._state("permitted")
        randomness = Randomness(derive(seed, (agreement + beacons).hex()))
        table, inputs = await open_inputs(self.config, self.job, self._channels, randomness)
        self._state("running")
        session = Session(
            self.config.name,
            self._channels,
            randomness,
            progress=self.progress,
            settings=self.config.settings(),
            persist=transcript.persist,
            record=transcript.record,
        )
        outcome = await protocol.roles[self.job.parties[self.config.name].role](
            session, table, self.job
        )
        receipt = {
            "version": VERSION,
            "job": self.job.name,
            "spec": "0x" + self.job.digest.hex(),
            "code": "0x" + code_digest().hex(),
            "attempt": "0x" + agreement.hex(),
            "party": self.config.name,
            "hellos": hellos,
            "inputs": inputs,
            "reading": None if table is None or table.report is None else table.report.to_json(),
            "metrics": dict(outcome.metrics),
            "files": file_digests(outcome),
        }
        await self._finish(outcome, receipt, transcript, started_at)
        return receipt

    async def _permit(self) -> bytes:
        await asyncio.to_thread(
            protocol_of(self.job).admit, self.job, self.config.name, self.config.settings()
        )
        beacon = await self.gate.permit(self.job, self.config.name, now=int(time.time()))
        write_private(self.folder / "beacon", beacon)
        return beacon

    # --- Agree ------------------------------------------------------------------------------------

    async def _agree(self, seed: bytes) -> tuple[dict[str, Any], bytes]:
        own = {
            "version": VERSION,
            "spec": self.job.digest.hex(),
            "code": code_digest().hex(),
            "seed": seed_commitment(seed),
            "nonce": secrets.token_hex(16),
        }
        self._channels = {peer: Channel(peer, wire) for peer, wire in self.wires.items()}
        await self._send_all("hello", hello=own)
        hellos: dict[str, Any] = {self.config.name: own}
        for peer, channel in self._channels.items():
            hello = (await channel.receive("hello")).value("hello")
            if (
                not isinstance(hello, dict)
                or set(hello) != set(own)
                or not all(isinstance(value, str | int) for value in hello.values())
            ):
                raise PeerFault("message_malformed", f"{peer}'s hello is malformed.", peer=peer)
            for part, code in (
                ("version", "version_differs"),
                ("spec", "spec_differs"),
                ("code", "code_differs"),
            ):
                if hello[part] != own[part]:
                    raise Conflict(
                        code,
                        f"{peer} has another {part} of this job.",
                        hint="All parties must use the same.",
                        peer=peer,
                    )
            hellos[peer] = hello
        agreement = hashlib.sha256(dumps(dict(sorted(hellos.items())))).digest()
        await self._send_all("agreed", agreement=agreement)
        for peer, channel in self._channels.items():
            if (await channel.receive("agreed")).blob("agreement", 32) != agreement:
                raise PeerFault(
                    "attempt_differs",
                    f"{peer} has agreed on something else with the other parties.",
                    peer=peer,
                )
        return hellos, agreement

    # --- Compare ----------------------------------------------------------------------------------

    async def _finish(
        self, outcome: JobResult, receipt: dict[str, Any], transcript: Transcript, started_at: float
    ) -> None:
        temporary = self.folder / "output.partial"
        temporary.mkdir(mode=0o700)
        for name, data in outcome.files.items():
            await asyncio.to_thread(write_private, temporary / name, data)
        salt = secrets.token_bytes(16)
        receipt["resultSalt"] = "0x" + salt.hex()
        heads = {peer: transcript.heads(peer) for peer in self._channels}
        receipt["directions"] = transcript.to_json()
        transcript.close()
        results = {self.config.name: result_commitment(receipt, salt)}
        for peer, channel in self._channels.items():
            await channel.send("heads", heads=heads[peer], result=results[self.config.name])
        for peer, channel in self._channels.items():
            message = await channel.receive("heads")
            if message.value("heads") != heads[peer]:
                raise PeerFault(
                    "transcript_differs",
                    f"{peer} has seen other messages than this party has exchanged.",
                    peer=peer,
                )
            results[peer] = message.blob("result", 32)
        receipt["results"] = {
            party: "0x" + commitment.hex() for party, commitment in sorted(results.items())
        }
        receipt["seconds"] = round(time.monotonic() - started_at, 3)
        receipt["sentBytes"] = sum(channel.sent_bytes for channel in self._channels.values())
        receipt["receivedBytes"] = sum(
            channel.received_bytes for channel in self._channels.values()
        )
        write_private(
            self.folder / "receipt.json", json.dumps(receipt, ensure_ascii=False, indent=1).encode()
        )
        temporary.rename(self.folder / "output")
        self._state("done")

    # --- Failure ----------------------------------------------------------------------------------

    async def _stop(self, error: BaseException) -> None:
        code = (
            error.code
            if isinstance(error, QiaolianError)
            else "stopped"
            if isinstance(error, asyncio.CancelledError)
            else "internal"
        )
        for name in ("output.partial", "persisted"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in ("received", "sent", "records", "seed", "beacon", "receipt.json"):
            with suppress(OSError):
                (self.folder / name).unlink()
        with suppress(OSError):
            self._state("failed", code=code, sentence=str(error) or code)
        for channel in self._channels.values():
            with suppress(QiaolianError, OSError, TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(channel.send("stopped", code=code), 2)

    async def _send_all(self, kind: str, **fields: Any) -> None:
        for channel in self._channels.values():
            await channel.send(kind, **fields)

    def _state(self, state: State, **more: Any) -> None:
        value = {"state": state, "at": int(time.time()), "pid": os.getpid(), **more}
        write_private(self.folder / "state.json", json.dumps(value, ensure_ascii=False).encode())


async def permits(
    party: str, job: Job, channels: Mapping[str, Channel], permit: Callable[[], Awaitable[bytes]]
) -> bytes:
    """Wait until every owner has approved; return the digest of their beacons."""
    owners = job.owners()
    beacons: dict[str, bytes] = {}
    if party in owners:
        beacons[party] = await permit()
        for channel in channels.values():
            await channel.send("permit", beacon=beacons[party])
    for owner in owners:
        if owner != party:
            beacons[owner] = (await channels[owner].receive("permit")).blob("beacon", 32)
    # A second round: no party opens a source before all parties have every approval.
    for channel in channels.values():
        await channel.send("permitted")
    for channel in channels.values():
        await channel.receive("permitted")
    return hashlib.sha256(b"".join(beacons[owner] for owner in owners)).digest()


async def open_inputs(
    config: PartyConfig,
    job: Job,
    channels: Mapping[str, Channel],
    randomness: Randomness,
    *,
    recorded: Mapping[str, Any] | None = None,
) -> tuple[Table | None, dict[str, Any]]:
    """Read this party's source, commit to its rows, and exchange the commitments.

    Raises:
        Conflict: ``inputs_differ`` if the rows are not the ``recorded`` ones.
    """
    part, table, inputs = job.parties[config.name], None, dict[str, Any]()
    if part.source is not None:
        entry = config.source(part.source)
        table = await asyncio.to_thread(
            sources.read,
            config.home / entry.path,
            key=entry.key,
            columns=part.columns,
            source_format=entry.source_format,
        )
        commitment = await asyncio.to_thread(commit_rows, table, randomness.child("inputs"))
        inputs[config.name] = commitment.to_json()
        if recorded is not None and recorded.get(config.name) != inputs[config.name]:
            raise Conflict("inputs_differ", "The source no longer holds the rows of the run.")
        for channel in channels.values():
            await channel.send("inputs", root=commitment.root)
    for owner in job.owners():
        if owner != config.name:
            inputs[owner] = {
                "root": "0x" + (await channels[owner].receive("inputs")).blob("root", 32).hex()
            }
    return table, inputs


def file_digests(outcome: JobResult) -> dict[str, str]:
    """Return SHA-256 of each result file, for the receipt."""
    return {
        name: "0x" + hashlib.sha256(data).hexdigest()
        for name, data in sorted(outcome.files.items())
    }


def result_commitment(receipt: Mapping[str, Any], salt: bytes) -> bytes:
    """Return the salted commitment to a party's metrics and files that the peers receive. It
    reveals neither until the party shows both and the salt.
    """
    return hashlib.sha256(
        salt + json.dumps([receipt["metrics"], receipt["files"]], sort_keys=True).encode()
    ).digest()


async def replay(config: PartyConfig, folder: Path, progress: Progress) -> dict[str, Any]:
    """Run this party's side again against the recorded messages, and return what was compared.

    Raises:
        BadInput: ``attempt_unknown``, ``recording_missing``.
        Conflict: ``code_differs``, ``seed_differs``, ``inputs_differ``, ``recording_altered``,
            ``replay_mismatch``.
    """
    try:
        receipt = json.loads((folder / "receipt.json").read_text(encoding="utf-8"))
        job = Job.from_json(json.loads((folder / "spec.json").read_text(encoding="utf-8")))
        seed = (folder / "seed").read_bytes()
    except (OSError, ValueError) as error:
        raise NotFound("attempt_unknown", f"{folder.name} is not a completed attempt.") from error
    if receipt["code"] != "0x" + code_digest().hex():
        raise Conflict(
            "code_differs",
            "The installed code is not the code of the run.",
            hint="Install the version with the digest in the receipt.",
        )
    if seed_commitment(seed) != receipt["hellos"][config.name]["seed"]:
        raise Conflict(
            "seed_differs", "The seed does not match the commitment made before the run."
        )
    recording = Recording(folder, config.name, receipt["directions"])
    wires = {peer: recording.wire(peer) for peer in job.parties if peer != config.name}
    channels = {peer: Channel(peer, wire) for peer, wire in wires.items()}

    async def permit() -> bytes:
        return (folder / "beacon").read_bytes()

    beacons = await permits(config.name, job, channels, permit)
    randomness = Randomness(derive(seed, receipt["attempt"][2:] + beacons.hex()))
    table, inputs = await open_inputs(config, job, channels, randomness, recorded=receipt["inputs"])
    if inputs != receipt["inputs"]:
        raise Conflict(
            "recording_altered", "The receipt's commitments differ from the exchanged ones."
        )
    session = Session(
        config.name,
        channels,
        randomness,
        progress=progress,
        settings=config.settings(),
        persist=recording.persist,
        record=recording.record,
    )
    outcome = await protocol_of(job).roles[job.parties[config.name].role](session, table, job)
    for wire in wires.values():
        wire.finish()
    if (
        file_digests(outcome) != receipt["files"]
        or json.loads(json.dumps(dict(outcome.metrics))) != receipt["metrics"]
    ):
        raise Conflict(
            "replay_mismatch", "The messages match, but the result differs from the receipt."
        )
    messages = sum(direction["frames"] for direction in receipt["directions"].values())
    return {
        "equal": True,
        "messages": messages,
        "files": len(outcome.files),
        "attempt": receipt["attempt"],
    }


def seed_commitment(seed: bytes) -> str:
    """Return the commitment to a seed that the peers receive before the run: SHA-256 with domain
    separation. 32 random bytes need no salt.
    """
    return hashlib.sha256(b"qiaolian.seed.v1" + seed).hexdigest()
