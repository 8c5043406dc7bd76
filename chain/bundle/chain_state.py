"""Check the headers of a bundle, the storage values proved under them, and the keys' records."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chain.bundle.claims import Evidence, StorageValue, proved_at_older_block, storage_slot
from chain.bundle.form import read_bytes, read_list, read_reference, require_fields
from chain.bundle.trust import Trust
from chain.core.crypto import is_address
from chain.core.errors import Inconsistent, Malformed, NotAnchored, WrongTrust
from chain.ethereum import headers
from chain.ethereum.records import KeyRecord
from chain.ethereum.storage_proofs import StorageProof


@dataclass(frozen=True)
class ProvedSlot:
    """A storage value with the contract and slot it was proved for."""

    address: str
    slot: bytes
    value: StorageValue

    @property
    def position(self) -> tuple[str, bytes, int]:
        """Address, slot and height."""
        return self.address, self.slot, self.value.height


def check_headers(values: Sequence[Any], trust: Trust) -> list[headers.Header]:
    """The headers, each sealed by the validators that the trust file names for its height."""
    return [_header(value, trust) for value in values]


def _header(value: Any, trust: Trust) -> headers.Header:
    header = headers.parse(read_bytes(value))
    headers.require_final(header, trust.validators_at(header.number))
    return header


def headers_by_height(checked: Sequence[headers.Header]) -> dict[int, headers.Header]:
    """The headers by height; ``chain_forked`` for two blocks of one height.

    Nodes may store one block with different seals, so the block hashes are compared.
    """
    found: dict[int, headers.Header] = {}
    for header in checked:
        if found.setdefault(header.number, header).hash != header.hash:
            raise Inconsistent(
                "chain_forked",
                f"The bundle carries two final blocks {header.number} that differ: "
                "the chain forked.",
            )
    return found


def check_storage(
    values: Sequence[Any], checked: Sequence[headers.Header], evidence: Evidence
) -> list[ProvedSlot]:
    """The storage values, each proved under its header; every header must prove one."""
    proved = [_storage_value(value, checked, evidence) for value in values]
    if len({value["header"] for value in values}) != len(checked):
        raise Inconsistent(
            "element_unused", "The bundle carries a block header nothing is proved under."
        )
    return proved


def _storage_value(value: Any, checked: Sequence[headers.Header], evidence: Evidence) -> ProvedSlot:
    require_fields(value, "header", "address", "slot", "value", "accountProof", "storageProof")
    header = read_reference(value["header"], checked)
    proof = _proof(value, evidence.trust)
    proved = ProvedSlot(
        proof.address, proof.slot, StorageValue(proof.verify(header.state_root), header.number)
    )
    if proved.position in evidence.storage_values:
        raise Inconsistent("element_twice", "The bundle proves one storage slot twice.")
    evidence.storage_values[proved.position] = proved.value
    evidence.proved_slots.add((proved.address, proved.slot))
    return proved


def _proof(value: Any, trust: Trust) -> StorageProof:
    if not isinstance(value["address"], str) or not is_address(value["address"]):
        raise Malformed("bundle_malformed", "An address in the bundle is malformed.")
    if value["address"] not in trust.contracts.values():
        raise WrongTrust(
            "other_contract",
            "The bundle proves the state of a contract the trust file does not name.",
        )
    text = value["value"]
    if not isinstance(text, str) or not re.fullmatch(r"0x(?:0|[1-9a-f][0-9a-f]{0,63})", text):
        raise Malformed("bundle_malformed", "A storage value in the bundle is malformed.")
    return StorageProof(
        address=value["address"],
        slot=read_bytes(value["slot"], length=32),
        value=int(text, 16),
        account_proof=tuple(map(read_bytes, read_list(value["accountProof"]))),
        storage_proof=tuple(map(read_bytes, read_list(value["storageProof"]))),
    )


def check_keys(
    values: Sequence[Any], proved_slots: Sequence[ProvedSlot], evidence: Evidence
) -> dict[bytes, KeyRecord]:
    """Key records by fingerprint, each proved from MemberDirectory at the bundle's newest height.

    An older record would hide the key's end.
    """
    address = evidence.trust.contract("MemberDirectory")
    base = evidence.trust.slot("MemberDirectory", "keys")
    found: dict[bytes, KeyRecord] = {}
    for value in values:
        require_fields(value, "fingerprint", "storage")
        fingerprint = read_bytes(value["fingerprint"], length=32)
        proved = read_reference(value["storage"], proved_slots)
        expected = (address, storage_slot(base, fingerprint))
        if (proved.address, proved.slot) != expected or proved.value.value == 0:
            raise NotAnchored(
                "key_not_proved", "The directory does not show a key that the bundle claims."
            )
        if proved.value.height != evidence.latest_height:
            raise proved_at_older_block("a key's record")
        evidence.used.add(proved.position)
        found[fingerprint] = KeyRecord.decode(proved.value.value)
    return found
