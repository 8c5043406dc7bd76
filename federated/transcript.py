"""The transcript of a run: hash chains over both directions of every channel, and a recording for
replay.

Each direction between two parties has one chain: h0 = SHA-256 of the direction's names, h(i+1) =
SHA-256(h(i) ‖ SHA-256(frame i)). Sender and receiver see the same frames in the same order, so
their heads are equal however the directions interleave. Heads are exchanged at the end, before
results are published.

A party records received frames in full and sent frames as digests. A replay (``ReplayWire``) serves
the former and compares the latter.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from chain.keys.files import write_private
from federated.channel import FRAME_LIMIT, Buffer, decode
from federated.errors import BadInput, Conflict

NONDETERMINISTIC = "he/"
"""Prefix of message kinds that carry ciphertexts of a library that draws its own randomness."""


@dataclass
class Direction:
    """The hash chain over one direction: its head, and the number and size of frames."""

    head: bytes
    frames: int = 0
    size: int = 0

    @classmethod
    def between(cls, sender: str, receiver: str) -> Direction:
        """Return the empty chain from sender to receiver."""
        return cls(hashlib.sha256(json.dumps([sender, receiver]).encode()).digest())

    def add(self, digest: bytes, size: int) -> None:
        """Add one frame."""
        self.head = hashlib.sha256(self.head + digest).digest()
        self.frames += 1
        self.size += size

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"head": "0x" + self.head.hex(), "frames": self.frames, "bytes": self.size}


@dataclass
class Transcript:
    """An ``Observer`` of all channels of a party; it records into a folder if one is given."""

    party: str
    folder: Path | None = None
    directions: dict[tuple[str, str], Direction] = field(default_factory=dict)
    _received: BinaryIO | None = None
    _sent: BinaryIO | None = None
    _records: BinaryIO | None = None

    def __post_init__(self) -> None:
        if self.folder is not None:
            self._received, self._sent, self._records = (
                _private(self.folder / name) for name in ("received", "sent", "records")
            )

    def sent(self, peer: str, kind: str, frame: Sequence[Buffer]) -> None:
        """Add a frame that is about to be sent."""
        digest = digest_of(frame)
        self._direction(self.party, peer).add(digest, sum(len(piece) for piece in frame))
        if self._sent is not None:
            self._sent.write(json.dumps([peer, kind, digest.hex()]).encode() + b"\n")

    def received(self, peer: str, kind: str, frame: memoryview) -> None:
        """Add a received frame."""
        digest, name = digest_of([frame]), peer.encode()
        self._direction(peer, self.party).add(digest, len(frame))
        if self._received is not None:
            self._received.write(
                len(name).to_bytes(2, "big") + len(frame).to_bytes(4, "big") + digest + name
            )
            self._received.write(frame)

    def record(self, name: str, value: bytes) -> None:
        """Record the digest of a value that must repeat."""
        if self._records is not None:
            self._records.write(
                json.dumps([name, hashlib.sha256(value).hexdigest()]).encode() + b"\n"
            )

    def persist(self, name: str, produce: Callable[[], bytes]) -> bytes:
        """Produce a value that the seed does not determine, and store it in the attempt's private
        state.
        """
        value = produce()
        if self.folder is not None:
            write_private(self.folder / "persisted" / name, value)
        return value

    def heads(self, peer: str) -> dict[str, str]:
        """Return the heads of both directions with a peer, by sender."""
        return {
            self.party: self._direction(self.party, peer).head.hex(),
            peer: self._direction(peer, self.party).head.hex(),
        }

    def to_json(self) -> dict[str, Any]:
        """Return all directions, for the receipt."""
        return {
            f"{sender} > {receiver}": direction.to_json()
            for (sender, receiver), direction in sorted(self.directions.items())
        }

    def close(self) -> None:
        """Close the recording."""
        for file in (self._received, self._sent, self._records):
            if file is not None:
                file.flush()
                os.fsync(file.fileno())
                file.close()
        self._received = self._sent = self._records = None

    def _direction(self, sender: str, receiver: str) -> Direction:
        known = self.directions.get((sender, receiver))
        if known is None:
            known = self.directions[(sender, receiver)] = Direction.between(sender, receiver)
        return known


def digest_of(frame: Sequence[Buffer]) -> bytes:
    """Return SHA-256 of a frame in pieces."""
    digest = hashlib.sha256()
    for piece in frame:
        digest.update(piece)
    return digest.digest()


def _private(path: Path) -> BinaryIO:
    return os.fdopen(
        os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb", buffering=1 << 20
    )


# --- Replay ---------------------------------------------------------------------------------------


class Recording:
    """A recorded run, checked against the heads of the receipt before any of it is used."""

    def __init__(self, folder: Path, party: str, directions: Mapping[str, Any]) -> None:
        self._folder, self._party = folder, party
        self._frames: dict[str, list[memoryview]] = {}
        try:
            self._data = (folder / "received").read_bytes()
            self._sent = _lines(folder / "sent", 3)
            self._records = iter(_lines(folder / "records", 2))
        except OSError as error:
            raise BadInput(
                "recording_missing", "The attempt has no recording that can be read."
            ) from error
        for peer, frame in self._split():
            self._frames.setdefault(peer, []).append(frame)
        for name, expected in directions.items():
            self._check(name, expected)

    def wire(self, peer: str) -> ReplayWire:
        """Return the recorded end of a channel."""
        return ReplayWire(
            peer, self._frames.get(peer, []), [entry for entry in self._sent if entry[0] == peer]
        )

    def record(self, name: str, value: bytes) -> None:
        """Compare a value that must repeat."""
        recorded, digest = next(self._records, None), hashlib.sha256(value).hexdigest()
        if recorded != [name, digest]:
            raise Conflict("replay_mismatch", f"The value {name} differs from the run.")

    def persist(self, name: str, _produce: Callable[[], bytes]) -> bytes:
        """Load the value that the run stored."""
        try:
            return (self._folder / "persisted" / name).read_bytes()
        except OSError as error:
            raise BadInput(
                "recording_missing", f"The attempt's private state lacks {name}."
            ) from error

    def _split(self) -> Iterator[tuple[str, memoryview]]:
        view, offset, index = memoryview(self._data), 0, 0
        while offset < len(view):
            name, size = (
                int.from_bytes(view[offset : offset + 2], "big"),
                int.from_bytes(view[offset + 2 : offset + 6], "big"),
            )
            start = offset + 38 + name
            frame = view[start : start + size]
            if (
                size > FRAME_LIMIT
                or len(frame) != size
                or digest_of([frame]) != view[offset + 6 : offset + 38]
            ):
                raise Conflict(
                    "recording_altered",
                    f"Received frame {index} differs from the run.",
                    frame=index,
                )
            yield bytes(view[offset + 38 : start]).decode("utf-8", "replace"), frame
            offset, index = start + size, index + 1

    def _check(self, name: str, expected: Mapping[str, Any]) -> None:
        """Recompute a direction's chain from the recording."""
        sender, receiver = name.split(" > ")
        chain = Direction.between(sender, receiver)
        if receiver == self._party:
            for frame in self._frames.get(sender, []):
                chain.add(digest_of([frame]), len(frame))
            what = f"what {sender} sent"
        else:
            for entry in self._sent:
                if entry[0] == receiver:
                    chain.add(bytes.fromhex(entry[2]), 0)
            what = f"what was sent to {receiver}"
        if "0x" + chain.head.hex() != expected["head"] or chain.frames != expected["frames"]:
            raise Conflict(
                "recording_altered",
                f"The recording of {what} does not match the head in the receipt.",
            )


class ReplayWire:
    """A ``Wire`` that serves recorded frames and compares sent frames with the recorded digests."""

    def __init__(self, peer: str, received: Sequence[memoryview], sent: Sequence[Any]) -> None:
        self._peer, self._received, self._sent = peer, iter(received), iter(enumerate(sent))

    async def send(self, frame: Sequence[Buffer]) -> None:
        """Compare a frame with the recorded digest."""
        await asyncio.sleep(0)
        index, recorded = next(self._sent, (None, None))
        _, message = decode(self._peer, memoryview(b"".join(frame)))
        if recorded is None:
            raise Conflict(
                "replay_mismatch",
                f"The replay sends {message.kind} to {self._peer}; the run sent nothing more.",
            )
        same = message.kind == recorded[1] and (
            message.kind.startswith(NONDETERMINISTIC) or digest_of(frame).hex() == recorded[2]
        )
        if not same:
            raise Conflict(
                "replay_mismatch",
                f"Message {index} to {self._peer} ({message.kind}) differs from the run.",
                message=index,
            )

    async def receive(self) -> memoryview:
        """Return the next recorded frame."""
        await asyncio.sleep(0)
        frame = next(self._received, None)
        if frame is None:
            raise Conflict(
                "replay_mismatch",
                f"The replay waits for a message of {self._peer} that the run did not receive.",
            )
        return frame

    def finish(self) -> None:
        """Raise unless every recorded frame was used."""
        if next(self._sent, None) is not None or next(self._received, None) is not None:
            raise Conflict(
                "replay_mismatch",
                f"The run exchanged more messages with {self._peer} than the replay.",
            )


def _lines(path: Path, parts: int) -> list[list[str]]:
    """Read lines of texts whose last element is a digest."""
    lines: list[list[str]] = []
    for index, text in enumerate(path.read_bytes().splitlines()):
        try:
            line = json.loads(text)
            sound = (
                isinstance(line, list)
                and len(line) == parts
                and all(isinstance(part, str) for part in line)
                and len(bytes.fromhex(line[-1])) == 32
            )
        except ValueError:
            sound = False
        if not sound:
            raise Conflict(
                "recording_altered",
                f"Line {index} of {path.name} differs from the run.",
                line=index,
            )
        lines.append(line)
    return lines
