"""The node's own log, its checkpoints and anchors, and what the node witnessed of others' logs.
Heights are in blocks, times in Unix seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from chain.ethereum.records import LogRecord
from chain.ethereum.storage_proofs import StorageProof


@dataclass(frozen=True, slots=True)
class AnchorProof:
    """The log's size and root as ``EvidenceLog`` has them in one block."""

    height: int
    header: bytes
    """RLP, with the seals."""
    size: StorageProof
    """Of ``EvidenceLog.logs[logId]``, a ``LogRecord``."""
    root: StorageProof
    """Of ``EvidenceLog.roots[logId]``."""

    @property
    def anchored_at(self) -> int:
        """The block that anchored it."""
        return LogRecord.decode(self.size.value).anchored_at

    def shows(self, size: int, root: bytes) -> bool:
        """Whether this is the head that was anchored."""
        anchored = LogRecord.decode(self.size.value).size
        return (anchored, self.root.value) == (size, int.from_bytes(root, "big"))

    def to_json(self) -> str:
        """Both storage proofs as JSON text, as they are stored: size, then root."""
        return json.dumps([_proof_json(self.size), _proof_json(self.root)])

    @classmethod
    def from_json(cls, height: int, header: bytes, proofs: str) -> Self:
        """A stored proof."""
        size, root = (_proof_from(proof) for proof in json.loads(proofs))
        return cls(height, header, size, root)


@dataclass(frozen=True, slots=True)
class PendingLeaf:
    """A leaf that waits for the tree."""

    id: int
    digest: bytes
    leaf: bytes


@dataclass(frozen=True, slots=True)
class IndexedLeaf:
    """A leaf of the tree at its index."""

    index: int
    digest: bytes
    leaf: bytes


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A checkpoint that this log published, with the witnesses' lines that came back."""

    size: int
    root: bytes
    note: str
    """The signed note."""
    cosignatures: str = ""
    """One line for each witness."""
    made_at: int = 0


@dataclass(frozen=True, slots=True)
class HeadsToCosign:
    """The newest checkpoint, and the notes of anchored ones that a witness has not cosigned."""

    newest: SignedHead | None
    anchored: Sequence[str]


@dataclass(frozen=True, slots=True)
class Anchor:
    """An anchor of the log on the chain."""

    size: int
    root: bytes
    operation: str
    """The contract call."""
    asked_at: int
    height: int | None = None
    """Its block; None until the anchor is complete."""
    proof: AnchorProof | None = None
    """None until it is complete, and where a later anchor's proof covers it."""


@dataclass(frozen=True, slots=True)
class LogSummary:
    """State of this node's own log."""

    origin: str
    size: int
    newest: SignedHead | None


@dataclass(frozen=True, slots=True)
class WitnessedCheckpoint:
    """The last head of another member's log that this node cosigned."""

    origin: str
    size: int
    root: bytes
    note: str
    cosignature: str
    seen_at: int


@dataclass(frozen=True, slots=True)
class Fork:
    """Two signed heads of one log that contradict each other: evidence for anyone."""

    origin: str
    first: str
    """A signed note."""
    second: str
    found_at: int


@dataclass(frozen=True, slots=True)
class ShownHeads:
    """The notes that another member shows of its log; ``newest`` is None while the log is empty."""

    newest: str | None
    anchored: Sequence[str]


@dataclass(frozen=True, slots=True)
class CopiedLeaves:
    """The size of a copy of another member's log, and some of its leaves."""

    size: int
    leaves: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class CopiedLeaf:
    """A leaf of another member's log at its index."""

    origin: str
    index: int
    leaf: bytes

    @property
    def member(self) -> str:
        """Whose log it is."""
        return self.origin.split("/")[1]


@dataclass(frozen=True, slots=True)
class CopiedHourCount:
    """What the copied logs got in an hour."""

    hour: int
    """Unix seconds of its start."""
    entries: int
    receipts: int


@dataclass(frozen=True, slots=True)
class LeafContent:
    """The content of a leaf: when, what kind, and the digest; None of another length."""

    at: int
    kind: str
    digest: bytes | None


def read_leaf(leaf: bytes) -> LeafContent:
    """The content of any member's leaf. A leaf of another form has no digest and no time."""
    try:
        value = json.loads(leaf)
        at, kind = value["at"], value["kind"]
        digest = bytes.fromhex(value["digest"].removeprefix("0x"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return LeafContent(0, "", None)
    if type(at) is not int or not 0 <= at < 2**53 or not isinstance(kind, str):
        return LeafContent(0, "", None)
    return LeafContent(at, kind, digest if len(digest) == 32 else None)


def _proof_json(proof: StorageProof) -> dict[str, Any]:
    return {
        "address": proof.address,
        "slot": proof.slot.hex(),
        "value": str(proof.value),
        "account": [value.hex() for value in proof.account_proof],
        "storage": [value.hex() for value in proof.storage_proof],
    }


def _proof_from(value: Mapping[str, Any]) -> StorageProof:
    return StorageProof(
        address=value["address"],
        slot=bytes.fromhex(value["slot"]),
        value=int(value["value"]),
        account_proof=tuple(bytes.fromhex(item) for item in value["account"]),
        storage_proof=tuple(bytes.fromhex(item) for item in value["storage"]),
    )
