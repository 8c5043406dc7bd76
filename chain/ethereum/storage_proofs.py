"""Storage proofs: a contract's storage value at a height, proved from a header's state root.

Merkle Patricia trie proofs as given by ``eth_getProof`` (Ethereum yellow paper, appendix D). Kaia
encodes a contract's account leaf as a type byte 0x02 followed by RLP; plain Ethereum's RLP leaf is
read too. An absent slot is proved zero. A proof with an unused node is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chain.core.crypto import keccak256
from chain.core.errors import Malformed, NotAnchored
from chain.ethereum import rlp

_KAIA_CONTRACT = 0x02
_EMPTY_TRIE = rlp.encode(b"")
EMPTY_ROOT = keccak256(_EMPTY_TRIE)


@dataclass(frozen=True)
class StorageProof:
    """One slot's value with the nodes that show it."""

    address: str
    slot: bytes
    value: int
    account_proof: tuple[bytes, ...]
    storage_proof: tuple[bytes, ...]

    def verify(self, state_root: bytes) -> int:
        """The value, once both proofs hold under ``state_root``.

        Raises:
            NotAnchored: ``proof_wrong`` when a node does not hash to its parent's reference or
                shows another value.
        """
        storage_root = account_storage_root(state_root, self.address, self.account_proof)
        value = storage_value(storage_root, self.slot, self.storage_proof)
        if value != self.value:
            raise _wrong("A storage proof shows another value than the one given.")
        return value

    @classmethod
    def from_rpc(cls, answer: dict[str, Any], index: int = 0) -> StorageProof:
        """Read one slot of an ``eth_getProof`` answer."""
        try:
            item = answer["storageProof"][index]
            return cls(
                address=answer["address"].lower(),
                slot=int(item["key"], 16).to_bytes(32, "big"),
                value=int(item["value"], 16),
                account_proof=tuple(bytes.fromhex(entry[2:]) for entry in answer["accountProof"]),
                storage_proof=tuple(bytes.fromhex(entry[2:]) for entry in item["proof"] or ()),
            )
        except (
            KeyError,
            IndexError,
            TypeError,
            ValueError,
            OverflowError,
            AttributeError,
        ) as error:
            raise Malformed(
                "proof_malformed", "The chain node's proof has the wrong form."
            ) from error


def mapping_slot(key: bytes, base: int | bytes) -> bytes:
    """The slot of ``mapping[key]`` whose variable is at ``base``: a value type left-padded or
    bytesN right-padded to 32 bytes.
    """
    slot = base.to_bytes(32, "big") if isinstance(base, int) else base
    if len(key) > 32:
        raise Malformed("proof_malformed", "A mapping key is longer than 32 bytes.")
    return keccak256(key.ljust(32, b"\0") + slot)


def account_storage_root(state_root: bytes, address: str, proof: Sequence[bytes]) -> bytes:
    """The storage root of a contract's account under ``state_root``."""
    leaf = _walk(state_root, keccak256(bytes.fromhex(address[2:])), proof)
    if leaf is None:
        raise _wrong("The chain's state has no such contract.")
    try:
        if leaf[0] == _KAIA_CONTRACT:
            # [[nonce, balance, humanReadable, key], storageRoot, codeHash, codeInfo]
            return rlp.as_bytes(rlp.decode_list(leaf[1:])[1], length=32)
        return rlp.as_bytes(rlp.decode_list(leaf)[2], length=32)
    except (IndexError, Malformed) as error:
        raise _wrong("The account under a storage proof is no contract.") from error


def storage_value(storage_root: bytes, slot: bytes, proof: Sequence[bytes]) -> int:
    """The value of a slot under a storage root; 0 when its absence is proved."""
    if storage_root == EMPTY_ROOT and list(proof) in ([], [_EMPTY_TRIE]):
        # Engines show an empty trie by no node, or by its one empty node.
        return 0
    leaf = _walk(storage_root, keccak256(slot), proof)
    return 0 if leaf is None else rlp.as_integer(rlp.decode(leaf))


def _walk(root: bytes, key: bytes, proof: Sequence[bytes]) -> bytes | None:
    """Follow ``key`` from ``root`` through the proof's nodes; the leaf's value, or None when the
    path shows there is none.
    """
    nibbles = [nibble for byte in key for nibble in (byte >> 4, byte & 15)]
    expected: rlp.Item = root
    at = used = 0
    while True:
        if isinstance(expected, bytes):
            if expected == b"":
                _require_all_used(used, proof)
                return None
            if used >= len(proof) or keccak256(proof[used]) != expected:
                raise _wrong("A node of a storage proof does not hash to its parent's reference.")
            node: Sequence[rlp.Item] = rlp.decode_list(proof[used])
            used += 1
        else:
            node = expected
        if len(node) == 17:
            if at == len(nibbles):
                raise _wrong("A storage proof ends inside the trie.")
            expected = node[nibbles[at]]
            at += 1
            continue
        if len(node) != 2:
            raise _wrong("A storage proof holds a node of no known kind.")
        path, is_leaf = _path(rlp.as_bytes(node[0]))
        if nibbles[at : at + len(path)] != path:
            _require_all_used(used, proof)
            return None
        at += len(path)
        if is_leaf:
            if at != len(nibbles):
                raise _wrong("A storage proof's leaf is at the wrong depth.")
            _require_all_used(used, proof)
            return rlp.as_bytes(node[1])
        expected = node[1]


def _require_all_used(used: int, proof: Sequence[bytes]) -> None:
    if used != len(proof):
        raise _wrong("A storage proof carries nodes it does not need.")


def _path(encoded: bytes) -> tuple[list[int], bool]:
    """Hex-prefix decoding: the nibbles, and whether the node is a leaf."""
    nibbles = [nibble for byte in encoded for nibble in (byte >> 4, byte & 15)]
    if not nibbles or nibbles[0] > 3 or (nibbles[0] % 2 == 0 and nibbles[1:2] != [0]):
        raise _wrong("A storage proof's node has a malformed path.")
    return nibbles[1:] if nibbles[0] % 2 else nibbles[2:], nibbles[0] >= 2


def _wrong(sentence: str) -> NotAnchored:
    return NotAnchored("proof_wrong", sentence)
