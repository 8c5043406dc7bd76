"""Checkpoints: a log's size and root as a signed note that witnesses cosign (C2SP signed-note,
tlog-checkpoint, tlog-cosignature).

A note is text, a blank line, then signature lines ``— name base64(key id ‖ signature)``. The log
signs the text (type 0x01); a witness signs a line with its time, then the text (type 0x04,
``cosignature/v1``). The key id is the first four bytes of SHA-256(name ‖ 0x0A ‖ type ‖ key).

As the specifications say: name and key id together name a key. Signatures of unknown keys are
ignored, whatever they hold; one of a known key that does not hold refuses the note; signature lines
come in any order. Extension lines after the root are signed with the rest and otherwise opaque.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from chain.core.errors import BadSignature, Malformed

_LOG, _COSIGNATURE = 0x01, 0x04
_NAME = re.compile(r"[^\s+]+")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")
_MARK = "— "
_MAX_TIME = 2**63 - 1
MAX_NOTE = 65_536
"""Characters of a note, signatures and extension lines included."""
MAX_SIGNATURES = 64
"""Signature lines of a note; the specification asks for at least 16."""


class MessageSigner(Protocol):
    """An Ed25519 key."""

    public_key: bytes

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""


@dataclass(frozen=True)
class Checkpoint:
    """A log's head: its origin, how many entries it has and their root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note's text: three lines."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True)
class SignedCheckpoint:
    """A checkpoint whose log signature holds, with the witnesses that cosigned it and when (Unix
    seconds).

    A witness that cosigned several times is dated by its earliest cosignature. ``ignored`` counts
    the signatures of unknown keys.
    """

    checkpoint: Checkpoint
    witnesses: Mapping[str, int]
    ignored: int = 0


class _Line(NamedTuple):
    """A signature line."""

    name: str
    key_id: bytes
    signature: bytes


def log_origin(member: str, log_epoch: int) -> str:
    """The name of a member's log."""
    return f"qiaolian/{member}/{log_epoch}"


def sign(checkpoint: Checkpoint, signer: MessageSigner) -> str:
    """The note as the log publishes it."""
    body = checkpoint.text()
    return (
        body + "\n" + _line(checkpoint.origin, _LOG, signer.public_key, signer.sign(body.encode()))
    )


def cosign(note: str, name: str, signer: MessageSigner, *, timestamp: int) -> str:
    """A witness' signature line for a note it has checked to extend the last it saw."""
    body, _ = _split(note)
    signature = signer.sign(_cosignature_message(body, timestamp))
    return _line(name, _COSIGNATURE, signer.public_key, timestamp.to_bytes(8, "big") + signature)


def verify(note: str, *, log_key: bytes, witnesses: Mapping[str, bytes]) -> SignedCheckpoint:
    """Read a note and check the log's signature and every cosignature of a known witness.

    Args:
        witnesses: the keys the verifier knows, by name.

    Raises:
        Malformed: ``checkpoint_malformed``.
        BadSignature: ``checkpoint_signature`` when the log's signature is missing or that of a
            known key does not hold.
    """
    body, tail = _split(note)
    checkpoint, lines = _parse(body), _signature_lines(tail)
    log_id = _key_id(checkpoint.origin, _LOG, log_key)
    witness_ids = {(name, _key_id(name, _COSIGNATURE, key)): key for name, key in witnesses.items()}
    signed_by_log, times, ignored = False, dict[str, int](), 0
    for line in lines:
        witness_key = witness_ids.get((line.name, line.key_id))
        if (line.name, line.key_id) == (checkpoint.origin, log_id):
            _check(log_key, line.signature, body.encode())
            signed_by_log = True
        elif witness_key is not None:
            timestamp = _timestamp(line.signature)
            _check(witness_key, line.signature[8:], _cosignature_message(body, timestamp))
            times[line.name] = min(timestamp, times.get(line.name, timestamp))
        else:
            ignored += 1
    if not signed_by_log:
        raise BadSignature("checkpoint_signature", "A checkpoint is not signed by its log.")
    return SignedCheckpoint(checkpoint, times, ignored)


def cosigned_at(lines: str) -> int:
    """The latest time, in Unix seconds, in cosignature lines that were checked when they were
    taken.
    """
    return max(_timestamp(line.signature) for line in _signature_lines(lines))


def signed_by(note: str, log_key: bytes) -> bool:
    """Whether the log's signature under a note of its own is by this key."""
    try:
        verify(note, log_key=log_key, witnesses={})
    except BadSignature:
        return False
    return True


def _split(note: str) -> tuple[str, str]:
    """The note's text and its signature lines, apart at the last blank line."""
    body, blank, tail = note.rpartition("\n\n")
    if not blank or len(note) > MAX_NOTE or _CONTROL.search(note):
        raise _malformed()
    try:
        note.encode()
    except UnicodeEncodeError as error:  # half a surrogate pair
        raise _malformed() from error
    return body + "\n", tail


def _parse(body: str) -> Checkpoint:
    lines = body[:-1].split("\n")
    if len(lines) < 3 or not all(lines) or not _SIZE.fullmatch(lines[1]):
        raise _malformed()
    root = _base64(lines[2])
    if len(root) != 32:
        raise _malformed()
    return Checkpoint(lines[0], int(lines[1]), root)


def _signature_lines(tail: str) -> list[_Line]:
    if not tail.endswith("\n") or tail.count("\n") > MAX_SIGNATURES:
        raise _malformed()
    return [_read_line(line) for line in tail[:-1].split("\n")]


def _read_line(line: str) -> _Line:
    if not line.startswith(_MARK):
        raise _malformed()
    name, _, encoded = line.removeprefix(_MARK).partition(" ")
    blob = _base64(encoded)
    if not _NAME.fullmatch(name) or len(blob) < 5:
        raise _malformed()
    return _Line(name, blob[:4], blob[4:])


def _timestamp(signature: bytes) -> int:
    timestamp = int.from_bytes(signature[:8], "big")
    if len(signature) != 72 or timestamp > _MAX_TIME:
        raise BadSignature(
            "checkpoint_signature", "A known witness' cosignature is not of its form."
        )
    return timestamp


def _base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed() from error
    if base64.b64encode(data).decode() != text:
        raise _malformed()
    return data


def _check(key: bytes, signature: bytes, message: bytes) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise BadSignature(
            "checkpoint_signature", "A checkpoint's signature does not hold."
        ) from error


def _cosignature_message(body: str, timestamp: int) -> bytes:
    return f"cosignature/v1\ntime {timestamp}\n{body}".encode()


def _line(name: str, kind: int, key: bytes, signature: bytes) -> str:
    return f"{_MARK}{name} {base64.b64encode(_key_id(name, kind, key) + signature).decode()}\n"


def _key_id(name: str, kind: int, key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + key).digest()[:4]


def _malformed() -> Malformed:
    return Malformed(
        "checkpoint_malformed", "A checkpoint is not a signed note of the expected form."
    )
