"""A synthetic chain: sealed headers and storage proofs over any contract state, without a network.

A verifier accepts it once its trust file names these validators. It serves to measure large bundles
and to test bundles of colluding parties, which a real network does not produce.
"""

from __future__ import annotations

from collections.abc import Sequence

from chain.bundle.claims import Key, storage_slot
from chain.bundle.trust import Trust, ValidatorSet
from chain.core.crypto import address_of, keccak256, sign_digest
from chain.ethereum import rlp
from chain.ethereum.headers import parse
from chain.ethereum.storage_proofs import EMPTY_ROOT, StorageProof
from chain.keys.files import Ed25519Signer
from chain.log import merkle
from chain.log.checkpoint import Checkpoint, cosign, log_origin, sign
from chain.statements.members import Algorithm, KeyPurpose
from contracts import NAMES, artifact

CHAIN_ID = 7_421
GENESIS = "0x" + "47" * 32
VALIDATORS = [keccak256(b"validator %d" % number) for number in range(4)]
WITNESS, WITNESS_NAME = Ed25519Signer(keccak256(b"witness")), "supervisor"
CONTRACTS = {name: "0x" + keccak256(name.encode())[:20].hex() for name in NAMES}
FIRST_BLOCK_TIME = 1_800_000_000

_Trie = list[tuple[tuple[int, ...], bytes]]
"""Keys as nibbles, with their values."""


class MadeChain:
    """Contract state as storage values, and one sealed block over it: put, then seal,
    then prove.
    """

    def __init__(self) -> None:
        self._storage_values: dict[str, dict[bytes, int]] = {name: {} for name in NAMES}
        self.header = b""
        self.height = 0

    def put(self, contract: str, variable: str, *keys: Key, value: int, offset: int = 0) -> None:
        """Set ``contract.variable[key]…``."""
        slot = storage_slot(artifact(contract).storage[variable], *keys, offset=offset)
        self._storage_values[contract][slot] = value

    def put_key(
        self,
        fingerprint: bytes,
        member: str,
        purpose: KeyPurpose,
        algorithm: Algorithm = Algorithm.SECP256K1,
        end: int = 0,
    ) -> None:
        """A key's record in MemberDirectory, live from block 1 to ``end``."""
        record = 1 | end << 48 | int(purpose) << 96 | int(algorithm) << 104
        record |= int.from_bytes(member.encode(), "big") << 112
        self.put("MemberDirectory", "keys", fingerprint, value=record)

    def seal(self, height: int) -> None:
        """Seal the block over the state; one block per second."""
        self.height = height
        state = {
            _key(bytes.fromhex(CONTRACTS[name][2:])): _account(self._storage(name))
            for name in NAMES
        }
        self._accounts = _Tree(list(state.items()))
        self.header = _sealed(height, FIRST_BLOCK_TIME + height, self._accounts.root)

    def proof(
        self, contract: str, variable: str, *keys: Key, offset: int = 0
    ) -> tuple[StorageProof, bytes]:
        """Return a storage value with its proof and header, as ``BundleBuilder`` takes them."""
        slot = storage_slot(artifact(contract).storage[variable], *keys, offset=offset)
        address = CONTRACTS[contract]
        proof = StorageProof(
            address=address,
            slot=slot,
            value=self._storage_values[contract].get(slot, 0),
            account_proof=self._accounts.proof(_key(bytes.fromhex(address[2:]))),
            storage_proof=self._storage(contract).proof(_key(slot)),
        )
        return proof, self.header

    def _storage(self, contract: str) -> _Tree:
        values = self._storage_values[contract]
        return _Tree(
            [
                (_key(slot), rlp.encode(rlp.integer(value)))
                for slot, value in values.items()
                if value
            ]
        )


def trust() -> Trust:
    """Return the trust file with which a verifier accepts this chain."""
    return Trust(
        chain_id=CHAIN_ID,
        genesis_hash=GENESIS,
        validator_sets=(ValidatorSet(0, None, frozenset(map(address_of, VALIDATORS))),),
        contracts=dict(CONTRACTS),
        storage={name: dict(artifact(name).storage) for name in NAMES},
        witnesses={WITNESS_NAME: WITNESS.public_key},
        required_witnesses=1,
    )


class MadeLog:
    """A member's evidence log in memory."""

    def __init__(self, member: str) -> None:
        self.member = member
        self.key = Ed25519Signer(keccak256(b"log of " + member.encode()))
        self.leaves: list[bytes] = []
        self._frontier = merkle.Frontier()
        self._hashes: dict[tuple[int, int], bytes] = {}

    @property
    def log_id(self) -> bytes:
        """The log's name in EvidenceLog."""
        return keccak256(log_origin(self.member, 0).encode())

    def append(self, leaf: bytes) -> int:
        """Add an entry; its index."""
        self.leaves.append(leaf)
        for level, index, node in self._frontier.append(merkle.leaf_hash(leaf)):
            self._hashes[level, index] = node
        return len(self.leaves) - 1

    def note(self) -> str:
        """The checkpoint over all entries, cosigned."""
        note = sign(
            Checkpoint(log_origin(self.member, 0), len(self.leaves), self._frontier.root()),
            self.key,
        )
        return note + cosign(note, WITNESS_NAME, WITNESS, timestamp=FIRST_BLOCK_TIME)

    def anchor(self, chain: MadeChain, height: int) -> None:
        """Record the log's size and root on the chain at a block."""
        chain.put_key(self.key.fingerprint, self.member, KeyPurpose.LOG, Algorithm.ED25519)
        chain.put("EvidenceLog", "logs", self.log_id, value=len(self.leaves) | height << 64)
        chain.put(
            "EvidenceLog", "roots", self.log_id, value=int.from_bytes(self._frontier.root(), "big")
        )

    def path(self, index: int) -> list[bytes]:
        """An entry's inclusion proof."""
        return merkle.inclusion_proof(
            index, len(self.leaves), lambda level, index: self._hashes[level, index]
        )


# --- Tries and headers ----------------------------------------------------------------------------


class _Tree:
    """A Merkle Patricia trie (yellow paper, appendix D)."""

    def __init__(self, items: _Trie) -> None:
        self._nodes: dict[bytes, rlp.Item] = {}
        """Nodes by hash: all but those of under 32 bytes, which are stored within their parents."""
        self._top = self._node(sorted(items)) if items else b""
        self.root = keccak256(rlp.encode(self._top)) if items else EMPTY_ROOT

    def proof(self, key: tuple[int, ...]) -> tuple[bytes, ...]:
        """The hashed nodes from the root to a key, or to where it is missing."""
        nodes, child, at = [rlp.encode(self._top)] if self._top else [], self._top, 0
        while child:
            child, at = _step(child, key, at)
            if isinstance(child, bytes) and child:
                child = self._nodes[child]
                nodes.append(rlp.encode(child))
        return tuple(nodes)

    def _node(self, items: _Trie) -> rlp.Item:
        key, value = items[0]
        if len(items) == 1:
            return [_prefix(key, is_leaf=True), value]
        shared = _shared(key, items[-1][0])
        if shared:
            below = self._reference([(longer[shared:], held) for longer, held in items])
            return [_prefix(key[:shared], is_leaf=False), below]
        children = [
            [(longer[1:], held) for longer, held in items if longer[0] == nibble]
            for nibble in range(16)
        ]
        return [*map(self._reference, children), b""]

    def _reference(self, items: _Trie) -> rlp.Item:
        if not items:
            return b""
        node = self._node(items)
        encoded = rlp.encode(node)
        if len(encoded) < 32:
            return node
        self._nodes[keccak256(encoded)] = node
        return keccak256(encoded)


def _step(node: rlp.Item, key: tuple[int, ...], at: int) -> tuple[rlp.Item, int]:
    """What a node refers to on the way to a key; empty at its end or where the key is missing."""
    if len(node) == 17:
        return node[key[at]], at + 1  # type: ignore[return-value]
    path, is_leaf = _nibbles(node[0])  # type: ignore[arg-type]
    if is_leaf or key[at : at + len(path)] != path:
        return b"", at
    return node[1], at + len(path)  # type: ignore[return-value]


def _shared(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return next(
        index for index, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]
    )


def _prefix(path: tuple[int, ...], *, is_leaf: bool) -> bytes:
    flag = 2 * is_leaf + len(path) % 2
    nibbles = [flag, *path] if len(path) % 2 else [flag, 0, *path]
    return bytes(16 * high + low for high, low in zip(nibbles[::2], nibbles[1::2], strict=True))


def _nibbles(encoded: bytes) -> tuple[tuple[int, ...], bool]:
    nibbles = _split(encoded)
    return nibbles[1:] if nibbles[0] % 2 else nibbles[2:], nibbles[0] >= 2


def _split(data: bytes) -> tuple[int, ...]:
    return tuple(nibble for byte in data for nibble in (byte >> 4, byte & 15))


def _key(raw: bytes) -> tuple[int, ...]:
    return _split(keccak256(raw))


def _account(storage: _Tree) -> bytes:
    return rlp.encode([rlp.integer(1), b"", storage.root, keccak256(b"")])


def _sealed(height: int, time: int, state_root: bytes) -> bytes:
    addresses = [bytes.fromhex(address_of(value)[2:]) for value in VALIDATORS]
    fields: list[rlp.Item] = [
        bytes(32),
        bytes(20),
        state_root,
        bytes(32),
        bytes(32),
        bytes(256),
        rlp.integer(1),
        rlp.integer(height),
    ]
    fields += [b"", rlp.integer(time), b""]

    def raw(seals: Sequence[bytes]) -> bytes:
        extra = bytes(32) + rlp.encode([addresses, b"", list(seals)])
        return rlp.encode([*fields, extra, b"", b"", b""])

    message = keccak256(parse(raw([])).hash + b"\x02")
    signatures = [sign_digest(key, message) for key in VALIDATORS]
    return raw([signature[:64] + bytes([signature[64] - 27]) for signature in signatures])
