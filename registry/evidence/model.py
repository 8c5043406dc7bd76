"""What proves an anchor: the header of its block, and the log's records under it."""

from __future__ import annotations

import json
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


def _proof_json(proof: StorageProof) -> dict[str, Any]:
    return {
        "address": proof.address,
        "slot": proof.slot.hex(),
        "value": str(proof.value),
        "account": [value.hex() for value in proof.account_proof],
        "storage": [value.hex() for value in proof.storage_proof],
    }


def _proof_from(value: dict[str, Any]) -> StorageProof:
    return StorageProof(
        address=value["address"],
        slot=bytes.fromhex(value["slot"]),
        value=int(value["value"]),
        account_proof=tuple(bytes.fromhex(item) for item in value["account"]),
        storage_proof=tuple(bytes.fromhex(item) for item in value["storage"]),
    )
