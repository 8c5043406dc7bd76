"""A checked head of the chain and the storage values proved under it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from chain.ethereum.finality import CheckedHeader
from chain.ethereum.proved_records import ProvedRecords, StorageKey
from chain.ethereum.storage_proofs import StorageProof


@dataclass(frozen=True)
class ChainHead:
    """The latest header that was checked."""

    height: int
    block_hash: bytes
    timestamp: int
    seen_at: float
    """Unix seconds when this node first saw it (when it was last confirmed, on a test chain that
    makes no empty blocks).
    """


@dataclass(frozen=True)
class RecordProofs:
    """Storage proofs of several records under one header."""

    header: CheckedHeader
    proofs: Mapping[StorageKey, StorageProof]


@dataclass(frozen=True)
class ProvedStorage:
    """A storage proof for a bundle, and the header it is proved under."""

    proof: StorageProof
    header: CheckedHeader


@dataclass
class Snapshot:
    """A head and the values proved under it."""

    header: CheckedHeader
    head: ChainHead
    roots: dict[str, bytes] = field(default_factory=dict)
    """Storage root by contract name."""
    values: dict[StorageKey, int] = field(default_factory=dict)

    def records(self, wanted: Iterable[StorageKey]) -> ProvedRecords:
        """Some of the values, with the block they were proved under."""
        return ProvedRecords(
            self.head.height,
            self.head.block_hash,
            self.head.timestamp,
            {record: self.values[record] for record in wanted},
        )
