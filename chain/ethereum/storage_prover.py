"""Storage values from the chain nodes, each proved under a checked header (``eth_getProof``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import contracts
from chain.core.errors import BadInput, ChainUnavailable, Unavailable, VerificationError
from chain.ethereum import storage_proofs
from chain.ethereum.deployment import Deployment
from chain.ethereum.eip712 import encode_member
from chain.ethereum.finality import CheckedHeader
from chain.ethereum.header_chain import require_answers
from chain.ethereum.proved_records import Key, StorageKey
from chain.ethereum.rpc import Call, Rpc
from chain.ethereum.storage_proofs import StorageProof

MAX_SLOTS_PER_CALL = 100
MAX_CACHED_SLOTS = 16_384


class StorageProver:
    """Asks for storage proofs and checks them. A proof that does not hold is
    ``chain_proof_refused``.
    """

    def __init__(self, rpc: Rpc, deployment: Deployment) -> None:
        self._rpc = rpc
        self._deployment = deployment
        self._slots: dict[StorageKey, bytes] = {}

    def storage_roots(self, header: CheckedHeader, names: Sequence[str]) -> dict[str, bytes]:
        """The contracts' storage roots under a header."""
        answers = self._batch([self._proof_call(header, name, []) for name in names])
        return {
            name: self._storage_root(header, name, answer)
            for name, answer in zip(names, answers, strict=True)
        }

    def prove(
        self, header: CheckedHeader, storage_keys: Iterable[StorageKey]
    ) -> Iterator[tuple[str, bytes, Mapping[StorageKey, StorageProof]]]:
        """Prove values under a header, in one exchange; yields for each answer the contract, its
        storage root and the values' proofs.
        """
        parts = list(_parts(storage_keys))
        calls = [
            self._proof_call(header, contract, list(map(self._slot, part)))
            for contract, part in parts
        ]
        for (contract, part), answer in zip(parts, self._batch(calls), strict=True):
            slots = list(map(self._slot, part))
            root, proofs = self._read_proof(header, contract, slots, answer)
            yield contract, root, dict(zip(part, proofs, strict=True))

    def _proof_call(self, header: CheckedHeader, contract: str, slots: Sequence[bytes]) -> Call:
        address = self._deployment.address(contract)
        return "eth_getProof", (address, ["0x" + slot.hex() for slot in slots], hex(header.height))

    def _batch(self, calls: Sequence[Call]) -> list[Any]:
        return require_answers(self._rpc.batch(calls))

    def _storage_root(self, header: CheckedHeader, contract: str, answer: Any) -> bytes:
        try:
            nodes = [bytes.fromhex(item[2:]) for item in answer["accountProof"]]
            return storage_proofs.account_storage_root(
                header.state_root, self._deployment.address(contract), nodes
            )
        except (VerificationError, KeyError, TypeError, ValueError, IndexError) as error:
            raise proof_refused(f"The chain node's proof of {contract} does not hold.") from error

    def _read_proof(
        self, header: CheckedHeader, contract: str, slots: Sequence[bytes], answer: Any
    ) -> tuple[bytes, list[StorageProof]]:
        """Check every slot of an answer under the header: the account once, then each slot under
        its storage root.
        """
        root = self._storage_root(header, contract, answer)
        address = self._deployment.address(contract)
        try:
            found = [StorageProof.from_rpc(answer, index) for index in range(len(slots))]
            for slot, proof in zip(slots, found, strict=True):
                if proof.slot != slot or proof.address != address:
                    raise proof_refused(
                        f"The chain node proved another word of {contract} than the one asked for."
                    )
                if storage_proofs.storage_value(root, slot, proof.storage_proof) != proof.value:
                    raise proof_refused(
                        f"The chain node's proof of {contract} shows another value."
                    )
        except (VerificationError, IndexError) as error:
            raise proof_refused(f"The chain node's proof of {contract} does not hold.") from error
        return root, found

    def _slot(self, storage_key: StorageKey) -> bytes:
        known = self._slots.get(storage_key)
        if known is None:
            if len(self._slots) > MAX_CACHED_SLOTS:
                self._slots.clear()
            known = self._slots[storage_key] = storage_slot(storage_key)
        return known


def by_contract(storage_keys: Iterable[StorageKey]) -> dict[str, list[StorageKey]]:
    """The keys grouped by their contract."""
    groups: dict[str, list[StorageKey]] = {}
    for storage_key in storage_keys:
        groups.setdefault(storage_key.contract, []).append(storage_key)
    return groups


def _parts(storage_keys: Iterable[StorageKey]) -> Iterator[tuple[str, list[StorageKey]]]:
    """Groups of one contract's keys, each small enough for one call."""
    for contract, group in by_contract(storage_keys).items():
        for start in range(0, len(group), MAX_SLOTS_PER_CALL):
            yield contract, group[start : start + MAX_SLOTS_PER_CALL]


def storage_slot(storage_key: StorageKey) -> bytes:
    """The storage slot of a value, by the compiler's layout (Solidity: mappings and structs in
    storage).
    """
    try:
        base: int | bytes = contracts.artifact(storage_key.contract).storage[storage_key.variable]
    except KeyError:
        raise BadInput(
            "variable_unknown",
            f"{storage_key.contract} keeps no variable named {storage_key.variable}.",
        ) from None
    for key in storage_key.keys:
        base = storage_proofs.mapping_slot(_key_bytes(key), base)
    number = base if isinstance(base, int) else int.from_bytes(base, "big")
    return ((number + storage_key.offset) % (1 << 256)).to_bytes(32, "big")


def _key_bytes(key: Key) -> bytes:
    if isinstance(key, int):
        return key.to_bytes(32, "big")
    return encode_member(key) if isinstance(key, str) else key


def proof_refused(sentence: str) -> Unavailable:
    """The refusal of a proof: ``chain_proof_refused``."""
    return ChainUnavailable(
        "chain_proof_refused",
        sentence,
        hint="The chain node is faulty or lies: use another one and inform its operator.",
    )
