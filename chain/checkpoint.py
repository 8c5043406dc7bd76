"""Checkpoints: a log's size and root as a signed note that witnesses cosign (C2SP signed-note, tlog-checkpoint, tlog-cosignature).

A note is text, a blank line, then signature lines ``— name base64(key id ‖ signature)``. The log signs the text (type 0x01); a witness signs a
line with its time, then the text (type 0x04, ``cosignature/v1``). The key id is the first four bytes of SHA-256(name ‖ 0x0A ‖ type ‖ key).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from chain.errors import BadSignature, Malformed, WrongTrust

_LOG, _COSIGNATURE = 0x01, 0x04
_NAME = re.compile(r"[A-Za-z0-9._/-]{1,128}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")
_MARK = "— "


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
    """A checkpoint whose log signature holds, with the witnesses that cosigned it and when (Unix seconds)."""

    checkpoint: Checkpoint
    witnesses: Mapping[str, int]


def log_origin(member: str, incarnation: int) -> str:
    """The name of a member's log."""
    return f"qiaolian/{member}/{incarnation}"


def sign(checkpoint: Checkpoint, signer: MessageSigner) -> str:
    """The note as the log publishes it."""
    body = checkpoint.text()
    return body + "\n" + _line(checkpoint.origin, _LOG, signer.public_key, signer.sign(body.encode()))


def cosign(note: str, name: str, signer: MessageSigner, *, timestamp: int) -> str:
    """A witness' signature line for a note it has checked to extend the last it saw."""
    body = note.split("\n\n", 1)[0] + "\n"
    signature = signer.sign(_cosigned(body, timestamp))
    return _line(name, _COSIGNATURE, signer.public_key, timestamp.to_bytes(8, "big") + signature)


def verify(note: str, *, log_key: bytes, witnesses: Mapping[str, bytes]) -> SignedCheckpoint:
    """Read a note and check every signature on it.

    ``witnesses`` are the keys the verifier knows, by name. A line of an unknown name, a second line of one name and a wrong signature each
    refuse the note: a note carries only what can be checked.

    Raises:
        Malformed: ``checkpoint_malformed``.
        BadSignature: ``checkpoint_signature``.
        WrongTrust: ``witness_unknown``.
    """
    body, _, tail = note.partition("\n\n")
    body += "\n"
    checkpoint = _parse(body)
    if not tail.endswith("\n"):
        raise _malformed()
    signed_by_log, seen = False, {}
    for line in tail[:-1].split("\n"):
        name, blob = _read_line(line)
        if name == checkpoint.origin:
            if signed_by_log:
                raise _malformed()
            _check(name, _LOG, log_key, blob, body.encode(), blob[4:])
            signed_by_log = True
            continue
        if name in seen or len(blob) != 76:
            raise _malformed()
        if name not in witnesses:
            raise WrongTrust(
                "witness_unknown",
                f"A checkpoint is cosigned by {name}, a witness the trust file does not name.",
                hint="Ask for a bundle with the witnesses you know, or decide to trust this one.",
            )
        timestamp = int.from_bytes(blob[4:12], "big")
        _check(name, _COSIGNATURE, witnesses[name], blob, _cosigned(body, timestamp), blob[12:])
        seen[name] = timestamp
    if not signed_by_log:
        raise BadSignature("checkpoint_signature", "A checkpoint is not signed by its log.")
    return SignedCheckpoint(checkpoint, seen)


def signed_by(note: str, log_key: bytes) -> bool:
    """Whether the log's signature under a note of its own, without cosignatures, is by this key."""
    try:
        verify(note, log_key=log_key, witnesses={})
    except BadSignature:
        return False
    return True


def _parse(body: str) -> Checkpoint:
    lines = body.split("\n")
    if len(lines) != 4 or not _NAME.fullmatch(lines[0]) or not _SIZE.fullmatch(lines[1]):
        raise _malformed()
    root = _base64(lines[2])
    if len(root) != 32:
        raise _malformed()
    return Checkpoint(lines[0], int(lines[1]), root)


def _read_line(line: str) -> tuple[str, bytes]:
    if not line.startswith(_MARK):
        raise _malformed()
    name, _, blob = line.removeprefix(_MARK).partition(" ")
    if not _NAME.fullmatch(name):
        raise _malformed()
    return name, _base64(blob)


def _base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed() from error
    if base64.b64encode(data).decode() != text:
        raise _malformed()
    return data


def _check(name: str, kind: int, key: bytes, blob: bytes, message: bytes, signature: bytes) -> None:
    if blob[:4] != _key_id(name, kind, key):
        raise BadSignature("checkpoint_signature", "A checkpoint is signed with another key than the one known.")
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise BadSignature("checkpoint_signature", "A checkpoint's signature does not hold.") from error


def _cosigned(body: str, timestamp: int) -> bytes:
    return f"cosignature/v1\ntime {timestamp}\n{body}".encode()


def _line(name: str, kind: int, key: bytes, signature: bytes) -> str:
    return f"{_MARK}{name} {base64.b64encode(_key_id(name, kind, key) + signature).decode()}\n"


def _key_id(name: str, kind: int, key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + key).digest()[:4]


def _malformed() -> Malformed:
    return Malformed("checkpoint_malformed", "A checkpoint is not a signed note of the expected form.")
