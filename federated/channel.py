"""Messages between two parties of a job.

A message has a kind and named fields: byte strings, integers, texts, JSON values or numpy arrays.
On the wire it is one frame:

    8 bytes  sequence number of this direction, big-endian, from 0
    4 bytes  length H of the header, big-endian
    H bytes  canonical JSON {"kind": text, "fields": [[name, type, ...]]}
    rest     the fields' bytes, in the order of the header

Received data is never executed, unpickled or trusted to have a size: the receiver names the kind,
type and shape it expects, and anything else is a ``PeerFault``. Frames are numbered in each
direction, so that repeated, missing or reordered frames are detected.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from federated.errors import PeerFault

Field = bytes | int | str | NDArray[Any] | Mapping[str, Any] | Sequence[Any]
Buffer = bytes | memoryview

FRAME_LIMIT = 64 << 20  # bytes; longer arrays are sent in pieces
_HEADER_LIMIT = 1 << 16
_DTYPES = {
    name: np.dtype(name)
    for name in ("uint8", "uint16", "uint32", "uint64", "int32", "int64", "float64")
}


class Wire(Protocol):
    """A port that carries whole frames, in order, in both directions."""

    async def send(self, frame: Sequence[Buffer]) -> None:
        """Send the concatenation of these pieces as one frame; return when there is room for the
        next one (back-pressure).
        """

    async def receive(self) -> memoryview:
        """Return the next frame; ``PeerFault`` ``peer_gone`` or ``peer_silent`` if none arrives."""


class Observer(Protocol):
    """Sees every frame of a channel, as the transcript does."""

    def sent(self, peer: str, kind: str, frame: Sequence[Buffer]) -> None:
        """Called before a frame is sent."""

    def received(self, peer: str, kind: str, frame: memoryview) -> None:
        """Called after a frame was received."""


@dataclass(frozen=True)
class Message:
    """One received message. Every accessor names what it expects, and raises ``PeerFault``
    ``message_malformed`` for anything else.
    """

    peer: str
    kind: str
    fields: Mapping[str, tuple[str, Any, memoryview]]

    def array(self, name: str, dtype: str, shape: Sequence[int | None]) -> NDArray[Any]:
        """Return an array of this dtype and shape (``None``: any length), read-only and backed by
        the frame.
        """
        kind, given, data = self._field(name)
        if (
            kind != dtype
            or len(given) != len(shape)
            or any(
                want is not None and want != have for want, have in zip(shape, given, strict=True)
            )
        ):
            raise self._malformed(f"{name} is not {dtype} {list(shape)}")
        return np.frombuffer(data, _DTYPES[dtype]).reshape(given)

    def blob(self, name: str, size: int | None = None) -> bytes:
        """Return a byte string, of exactly ``size`` bytes if given."""
        kind, _, data = self._field(name)
        if kind != "bytes" or (size is not None and len(data) != size):
            raise self._malformed(f"{name} is not a byte string of {size} bytes")
        return bytes(data)

    def integer(self, name: str, *, minimum: int = 0, maximum: int = 2**63 - 1) -> int:
        """Return an integer from ``minimum`` to ``maximum``."""
        value = self._json(name)
        if type(value) is not int or not minimum <= value <= maximum:
            raise self._malformed(f"{name} is not an integer from {minimum} to {maximum}")
        return value

    def text(self, name: str, *, max_length: int = 4096) -> str:
        """Return a text of at most ``max_length`` characters."""
        value = self._json(name)
        if not isinstance(value, str) or len(value) > max_length:
            raise self._malformed(f"{name} is not a text of at most {max_length} characters")
        return value

    def value(self, name: str) -> Any:
        """Return a JSON value; the caller validates it."""
        return self._json(name)

    def _json(self, name: str) -> Any:
        kind, _, data = self._field(name)
        if kind != "json":
            raise self._malformed(f"{name} is not a value")
        try:
            return json.loads(bytes(data))
        except (ValueError, RecursionError) as error:
            raise self._malformed(f"{name} is not JSON") from error

    def _field(self, name: str) -> tuple[str, Any, memoryview]:
        if name not in self.fields:
            raise self._malformed(f"{name} is missing")
        return self.fields[name]

    def _malformed(self, what: str) -> PeerFault:
        return PeerFault(
            "message_malformed", f"{self.peer}'s message {self.kind}: {what}.", peer=self.peer
        )


class Channel:
    """One party's end of the connection to one peer."""

    def __init__(self, peer: str, wire: Wire, observer: Observer | None = None) -> None:
        self.peer = peer
        self.sent_bytes = self.received_bytes = 0
        self._wire, self._observer = wire, observer
        self._next_sent = self._next_received = 0

    async def send(self, kind: str, **fields: Field) -> None:
        """Send one message."""
        frame = encode(self._next_sent, kind, fields)
        size = sum(len(piece) for piece in frame)
        if size > FRAME_LIMIT:
            raise ValueError(
                f"a message of {size} bytes is above the limit of {FRAME_LIMIT}: send it in pieces"
            )
        self._next_sent += 1
        self.sent_bytes += size
        if self._observer is not None:
            self._observer.sent(self.peer, kind, frame)
        await self._wire.send(frame)

    async def receive(self, kind: str) -> Message:
        """Return the next message, which must be of this kind.

        Raises:
            PeerFault: ``message_out_of_order``, ``message_unexpected``, ``message_malformed``,
                ``peer_gone``, ``peer_silent``; ``peer_failed`` with the peer's code if it has
                stopped.
        """
        frame = await self._wire.receive()
        sequence, message = decode(self.peer, frame)
        if sequence != self._next_received:
            raise PeerFault(
                "message_out_of_order",
                f"{self.peer} sent message {sequence} where {self._next_received} was due.",
                peer=self.peer,
            )
        self._next_received += 1
        self.received_bytes += len(frame)
        if self._observer is not None:
            self._observer.received(self.peer, message.kind, frame)
        if message.kind == "stopped":
            code = message.text("code", max_length=64)
            raise PeerFault(
                "peer_failed", f"{self.peer} has stopped: {code}.", peer=self.peer, peer_code=code
            )
        if message.kind != kind:
            raise PeerFault(
                "message_unexpected",
                f"{self.peer} sent {message.kind} where {kind} was due.",
                peer=self.peer,
            )
        return message


def encode(sequence: int, kind: str, fields: Mapping[str, Field]) -> list[Buffer]:
    """Encode a message as one frame, in pieces that copy no array."""
    listed: list[list[Any]] = []
    pieces: list[Buffer] = []
    for name, value in fields.items():
        if isinstance(value, np.ndarray):
            if value.dtype.name not in _DTYPES:
                raise TypeError(f"{name}: arrays of {value.dtype} are not sent")
            contiguous = np.ascontiguousarray(value)
            listed.append([name, value.dtype.name, list(value.shape)])
            pieces.append(contiguous.reshape(-1).view(np.uint8).data)
        elif isinstance(value, bytes | bytearray | memoryview):
            listed.append([name, "bytes", len(value)])
            pieces.append(value if isinstance(value, bytes) else bytes(value))
        else:
            data = json.dumps(
                value, ensure_ascii=False, separators=(",", ":"), allow_nan=False
            ).encode()
            listed.append([name, "json", len(data)])
            pieces.append(data)
    header = json.dumps({"kind": kind, "fields": listed}, separators=(",", ":")).encode()
    if len(header) > _HEADER_LIMIT:
        raise ValueError("a message has too many fields")
    return [sequence.to_bytes(8, "big") + len(header).to_bytes(4, "big") + header, *pieces]


def decode(peer: str, frame: memoryview) -> tuple[int, Message]:
    """Decode a frame to its sequence number and message; ``PeerFault`` ``message_malformed``."""
    try:
        sequence, length = int.from_bytes(frame[:8], "big"), int.from_bytes(frame[8:12], "big")
        if len(frame) < 12 or length > min(_HEADER_LIMIT, len(frame) - 12):
            raise ValueError("the header is cut off")
        header = json.loads(bytes(frame[12 : 12 + length]))
        kind, offset = header["kind"], 12 + length
        if not isinstance(kind, str) or len(kind) > 64:
            raise ValueError("the kind is not a short text")
        fields: dict[str, tuple[str, Any, memoryview]] = {}
        for name, form, given in header["fields"]:
            size = _size(form, given)
            if not isinstance(name, str) or name in fields or offset + size > len(frame):
                raise ValueError("a field is doubled or cut off")
            fields[name] = (form, given, frame[offset : offset + size])
            offset += size
        if offset != len(frame):
            raise ValueError("bytes are left over")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PeerFault(
            "message_malformed", f"{peer} sent a malformed message: {error}.", peer=peer
        ) from error
    return sequence, Message(peer, kind, fields)


def _size(form: str, given: Any) -> int:
    numbers = [given] if form in ("bytes", "json") else given
    if (
        not isinstance(numbers, list)
        or not all(type(size) is int and 0 <= size <= FRAME_LIMIT for size in numbers)
        or len(numbers) > 4
    ):
        raise ValueError("a field's size is malformed")
    size = _DTYPES[form].itemsize if form in _DTYPES else 1
    if form not in _DTYPES and form not in ("bytes", "json"):
        raise ValueError("a field's type is unknown")
    for length in numbers:
        size *= length
    return size
