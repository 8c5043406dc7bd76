"""Build a bundle from the elements of a proof."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from chain.bundle.form import FORMAT, MAX_BYTES, MAX_ELEMENTS, SECTIONS
from chain.core.canonical import dumps
from chain.core.errors import Conflict
from chain.ethereum.eip712 import Statement, Struct
from chain.ethereum.storage_proofs import StorageProof


class BundleBuilder:
    """Collects the elements of a proof, each once, and encodes the bundle.

    The builder checks nothing; ``chain.bundle.verifier.verify`` does.
    """

    def __init__(
        self, *, profile: str, chain_id: int, genesis_hash: str, subject: Mapping[str, Any]
    ) -> None:
        self._value: dict[str, Any] = {
            "format": FORMAT,
            "story": profile,
            "subject": dict(subject),
            "chain": {"chainId": chain_id, "genesisHash": genesis_hash},
            **{name: [] for name in SECTIONS},
        }
        self._storage: dict[tuple[str, bytes, bytes], int] = {}
        self._logs: dict[tuple[str, int, str], int] = {}
        self._indices: dict[tuple[str, bytes], int] = {}
        """Index of each element by section and hash: a lane has tens of thousands of elements."""

    def add_storage_value(self, proof: StorageProof, header: bytes) -> int:
        """Add a slot proved under a sealed header; returns its index."""
        position = (proof.address, proof.slot, header)
        if position in self._storage:
            return self._storage[position]
        value = {
            "header": self._add_once("headers", _hex(header)),
            "address": proof.address,
            "slot": _hex(proof.slot),
            "value": hex(proof.value),
            "accountProof": [_hex(node) for node in proof.account_proof],
            "storageProof": [_hex(node) for node in proof.storage_proof],
        }
        self._value["storage"].append(value)
        self._storage[position] = len(self._value["storage"]) - 1
        return self._storage[position]

    def add_key(self, fingerprint: bytes, proof: StorageProof, header: bytes) -> None:
        """Add a key's record in the directory."""
        self._add_once(
            "keys",
            {"fingerprint": _hex(fingerprint), "storage": self.add_storage_value(proof, header)},
        )

    def add_statement(self, statement: Statement, signature: bytes) -> None:
        """Add a signed statement."""
        value = {
            "type": type(statement).__name__,
            "message": statement.to_json(),
            "signature": _hex(signature),
        }
        self._add_once("statements", value)

    def add_struct(self, struct: Struct) -> None:
        """Add an unsigned struct."""
        self._add_once("structs", {"type": type(struct).__name__, "message": struct.to_json()})

    def add_log_entry(
        self,
        *,
        member: str,
        log_epoch: int,
        key: bytes,
        note: str,
        size: tuple[StorageProof, bytes],
        root: tuple[StorageProof, bytes],
        index: int,
        leaf: bytes,
        path: Sequence[bytes],
    ) -> None:
        """Add a log entry with its checkpoint and anchor, which entries of one checkpoint share."""
        logs = self._value["logs"]
        log_index = self._logs.setdefault((member, log_epoch, note), len(logs))
        if log_index == len(logs):
            logs.append(
                {
                    "member": member,
                    "incarnation": log_epoch,
                    "key": _hex(key),
                    "note": note,
                    "size": self.add_storage_value(*size),
                    "root": self.add_storage_value(*root),
                    "entries": [],
                }
            )
        entry = {"index": index, "leaf": json.loads(leaf), "path": [_hex(node) for node in path]}
        self._index_in(f"log {log_index}", logs[log_index]["entries"], entry)

    def add_disclosure(self, commitment: bytes, *, salt: bytes, domain: str, record: Any) -> None:
        """Open a commitment."""
        value = {
            "commitment": _hex(commitment),
            "salt": _hex(salt),
            "domain": domain,
            "record": record,
        }
        self._add_once("disclosures", value)

    def build(self) -> bytes:
        """The bundle's bytes; ``bundle_too_large`` above what verifiers read."""
        data = dumps(self._value)
        if len(data) > MAX_BYTES or sum(len(self._value[name]) for name in SECTIONS) > MAX_ELEMENTS:
            raise Conflict(
                "bundle_too_large",
                f"The bundle takes {len(data):,} bytes; verifiers read {MAX_BYTES:,}.",
                hint="Export its calls one by one, and use more lanes or shorter agreements "
                "from now on.",
            )
        return data

    def _add_once(self, section: str, value: Any) -> int:
        return self._index_in(section, self._value[section], value)

    def _index_in(self, section: str, items: list[Any], value: Any) -> int:
        """The value's index in its section; appends the value if it is new."""
        index = self._indices.setdefault(
            (section, hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()),
            len(items),
        )
        if index == len(items):
            items.append(value)
        return index


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
