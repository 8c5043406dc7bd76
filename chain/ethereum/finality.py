"""When a block is final: one rule for each kind of engine.

A ``FinalityRule`` turns a node's answer into a header whose hash and seals were recomputed here, or
refuses it. Everything that the chain view proves rests on the state root of such a header.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from chain.core.crypto import keccak256
from chain.core.errors import ChainUnavailable, Unavailable, VerificationError
from chain.ethereum import headers, rlp
from chain.ethereum.receipts import Receipt, ethereum_receipt, kaia_receipt
from chain.ethereum.rpc import Call


@dataclass(frozen=True)
class CheckedHeader:
    """A header whose hash was recomputed, and whose seals satisfy the rule or whose hash a later
    such header leads to.
    """

    height: int
    block_hash: bytes
    parent_hash: bytes
    state_root: bytes
    transactions_root: bytes
    receipts_root: bytes
    logs_bloom: bytes
    timestamp: int
    header_rlp: bytes
    """The header as bundles carry it, seals included."""


class FinalityRule(Protocol):
    """How headers of an engine are fetched and checked."""

    makes_empty_blocks: bool
    """Whether silence means that the chain has stopped."""

    def request(self, height: int | None) -> Call:
        """The JSON-RPC call that gives a header (the latest, if None)."""

    def check(self, answer: Mapping[str, Any]) -> CheckedHeader:
        """The header in a node's answer.

        Raises:
            Unavailable: ``chain_header_refused`` when it is malformed, its hash is not its
                content's, or its seals do not make it final.
        """

    def read(self, answer: Mapping[str, Any]) -> CheckedHeader:
        """The header in a node's answer, its seals unchecked: for a block that a checked header's
        parent hash names.

        Raises:
            Unavailable: ``chain_header_refused`` as above.
        """

    def receipts_request(self, height: int) -> Call:
        """The JSON-RPC call that gives all receipts of a block, in order."""

    def receipt(self, answer: Mapping[str, Any]) -> Receipt:
        """One receipt in a node's answer, encoded as this engine's receipts trie holds it.

        Raises:
            Malformed: ``receipt_malformed``.
        """

    def transaction_request(self, height: int, index: int) -> Call:
        """The JSON-RPC call that gives one transaction of a block, encoded as this engine's
        transactions trie holds it.
        """


def header_refused(sentence: str, **context: object) -> Unavailable:
    """A header that a node offered and that must not be believed."""
    return ChainUnavailable(
        "chain_header_refused",
        sentence,
        hint="The chain node is faulty, of another network, or lies: use "
        "another one and inform the network's operator.",
        **context,
    )


Validators = Callable[[int], Collection[str]]
"""The validator addresses that seal a height."""


class KaiaIbft:
    """Istanbul BFT as ``kcn`` seals it, against validator sets known beforehand, never on the
    node's word.
    """

    makes_empty_blocks = True

    def __init__(self, validators: Collection[str] | Validators) -> None:
        """``validators``: lowercase addresses, or a function from a height to them."""
        if callable(validators):
            self._validators = validators
        else:
            always = frozenset(validators)
            self._validators = lambda _height: always

    def request(self, height: int | None) -> Call:
        """``kaia_getBlockByNumber``: the ``eth_`` call hides the seals."""
        return "kaia_getBlockByNumber", ("latest" if height is None else hex(height), False)

    def check(self, answer: Mapping[str, Any]) -> CheckedHeader:
        """Recompute the hash and count the seals; see ``chain.ethereum.headers``."""
        return self._read(answer, sealed=True)

    def read(self, answer: Mapping[str, Any]) -> CheckedHeader:
        """Recompute the hash alone."""
        return self._read(answer, sealed=False)

    def receipts_request(self, height: int) -> Call:
        """``kaia_getBlockReceipts``: the ``eth_`` call hides why a transaction failed, which the
        root covers.
        """
        return "kaia_getBlockReceipts", (hex(height),)

    def receipt(self, answer: Mapping[str, Any]) -> Receipt:
        """See ``chain.ethereum.receipts``."""
        return kaia_receipt(answer)

    def transaction_request(self, height: int, index: int) -> Call:
        """``kaia_getRawTransactionByBlockNumberAndIndex``: the ``eth_`` call leaves out the byte
        that the trie has before an Ethereum transaction's type.
        """
        return "kaia_getRawTransactionByBlockNumberAndIndex", (hex(height), hex(index))

    def _read(self, answer: Mapping[str, Any], *, sealed: bool) -> CheckedHeader:
        try:
            header = headers.from_rpc(answer)
            if sealed:
                headers.require_final(header, self._validators(header.number))
        except VerificationError as error:
            raise header_refused(error.sentence, reason=error.code) from error
        return CheckedHeader(
            height=header.number,
            block_hash=header.hash,
            parent_hash=header.parent_hash,
            state_root=header.state_root,
            transactions_root=header.transactions_root,
            receipts_root=header.receipts_root,
            logs_bloom=header.logs_bloom,
            timestamp=header.timestamp,
            header_rlp=header.raw,
        )


_ETHEREUM_FIELDS: Sequence[tuple[str, bool]] = (
    ("parentHash", False),
    ("sha3Uncles", False),
    ("miner", False),
    ("stateRoot", False),
    ("transactionsRoot", False),
    ("receiptsRoot", False),
    ("logsBloom", False),
    ("difficulty", True),
    ("number", True),
    ("gasLimit", True),
    ("gasUsed", True),
    ("timestamp", True),
    ("extraData", False),
    ("mixHash", False),
    ("nonce", False),
)
_ETHEREUM_LATER: Sequence[tuple[str, bool]] = (
    ("baseFeePerGas", True),
    ("withdrawalsRoot", False),
    ("blobGasUsed", True),
    ("excessBlobGas", True),
    ("parentBeaconBlockRoot", False),
    ("requestsHash", False),
)


class UnsealedForTestsOnly:
    """Accepts any header whose hash is its content's, sealed by nobody: for a throw-away test chain
    only.

    The name says what it does; a node refuses it unless its configuration says that this is a test.
    """

    makes_empty_blocks = False

    def request(self, height: int | None) -> Call:
        """``eth_getBlockByNumber``."""
        return "eth_getBlockByNumber", ("latest" if height is None else hex(height), False)

    def check(self, answer: Mapping[str, Any]) -> CheckedHeader:
        """Recompute the Ethereum header hash (yellow paper 4.3, EIP-1559, 4895, 4844, 4788)."""
        fields = [_item(answer, name, number) for name, number in _ETHEREUM_FIELDS]
        fields += [
            _item(answer, name, number)
            for name, number in _ETHEREUM_LATER
            if answer.get(name) is not None
        ]
        header_rlp = rlp.encode(fields)
        block_hash = keccak256(header_rlp)
        if answer.get("hash") != "0x" + block_hash.hex():
            raise header_refused("The chain node gave a block whose hash is not its header's.")
        return CheckedHeader(
            height=int.from_bytes(fields[8], "big"),
            block_hash=block_hash,
            parent_hash=fields[0],
            state_root=fields[3],
            transactions_root=fields[4],
            receipts_root=fields[5],
            logs_bloom=fields[6],
            timestamp=int.from_bytes(fields[11], "big"),
            header_rlp=header_rlp,
        )

    def read(self, answer: Mapping[str, Any]) -> CheckedHeader:
        """As ``check``: there are no seals."""
        return self.check(answer)

    def receipts_request(self, height: int) -> Call:
        """``eth_getBlockReceipts``."""
        return "eth_getBlockReceipts", (hex(height),)

    def receipt(self, answer: Mapping[str, Any]) -> Receipt:
        """See ``chain.ethereum.receipts``."""
        return ethereum_receipt(answer)

    def transaction_request(self, height: int, index: int) -> Call:
        """``eth_getRawTransactionByBlockNumberAndIndex``."""
        return "eth_getRawTransactionByBlockNumberAndIndex", (hex(height), hex(index))


def _item(answer: Mapping[str, Any], name: str, number: bool) -> bytes:
    try:
        value = answer[name]
        return rlp.integer(int(value, 16)) if number else bytes.fromhex(value[2:])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise header_refused(f"The chain node gave a header without a readable {name}.") from error
