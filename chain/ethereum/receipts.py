"""Receipts of a block, checked against the receipts root of its header: its logs are complete.

``receiptsRoot`` is the root of a Merkle Patricia trie from rlp(index) to the consensus encoding of
each receipt (Ethereum yellow paper 4.3.1, appendix D; Kaia's ``DeriveShaOrig``, which a genesis
selects by ``deriveShaImpl: 0``). ``logsBloom`` has every log's address (yellow paper 4.3.1), so a
bloom without an address proves that the block has no log of it. Validators check both against the
execution before they seal a header.

The root does not cover transaction hashes, contract addresses, and whatever else a node adds to a
receipt.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chain.core.crypto import keccak256
from chain.core.errors import Malformed
from chain.ethereum import rlp

BLOOM_BYTES = 256
_SUCCESS = 1
_KAIA_ETHEREUM = 0x78
"""What Kaia puts before the type of an Ethereum transaction (``EthereumTxTypeEnvelope``)."""

_Pair = tuple[bytes, bytes]
"""A key's nibbles, one a byte, and the value."""


@dataclass(frozen=True, slots=True)
class Log:
    """A log as a receipt's encoding carries it."""

    address: str
    """Lowercase ``0x`` hex."""
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """One receipt: what the trie holds, and the logs read from the same values."""

    encoding: bytes
    logs: tuple[Log, ...]
    succeeded: bool
    """Whether the transaction was executed without an error."""


@dataclass(frozen=True, slots=True)
class BlockLogs:
    """All logs of one block, proved under its header's ``receiptsRoot``."""

    height: int
    block_hash: bytes
    logs: tuple[Log, ...]
    """In chain order: a log's position is its ``logIndex``."""
    timestamp: int = 0
    """The block's time in Unix seconds, as its header has it."""


@dataclass(frozen=True, slots=True)
class ProvedLogs:
    """The logs of a range of blocks; a block that is not listed has none of the network's
    contracts.
    """

    height: int
    """The last block covered."""
    block_hash: bytes
    blocks: tuple[BlockLogs, ...]


def kaia_receipt(answer: Mapping[str, Any]) -> Receipt:
    """A receipt of ``kaia_getBlockReceipts``: rlp([status, gasUsed, bloom, logs]), whatever the
    transaction's type.

    ``gasUsed`` is the transaction's own, and a failed one's status is the error number that
    JSON-RPC calls ``txError`` (``types.Receipt.EncodeRLP`` and ``api.RpcOutputReceipt`` of Kaia
    v1.0.3).

    Raises:
        Malformed: ``receipt_malformed``.
    """
    try:
        status = _integer(answer["status"]) or _integer(answer["txError"])
        logs = _logs(answer)
        fields = [rlp.integer(status), rlp.integer(_integer(answer["gasUsed"]))]
        encoding = rlp.encode([*fields, _bytes(answer["logsBloom"]), _encodable(logs)])
        return Receipt(encoding, logs, status == _SUCCESS)
    except _UNREADABLE as error:
        raise _malformed() from error


def ethereum_receipt(answer: Mapping[str, Any]) -> Receipt:
    """A receipt of ``eth_getBlockReceipts``: type ‖ rlp([status, cumulativeGasUsed, bloom, logs])
    (EIP-658, EIP-2718).

    Raises:
        Malformed: ``receipt_malformed``.
    """
    try:
        kind = _integer(answer.get("type", "0x0"))
        logs = _logs(answer)
        numbers = [_integer(answer[name]) for name in ("status", "cumulativeGasUsed")]
        fields = [*map(rlp.integer, numbers), _bytes(answer["logsBloom"]), _encodable(logs)]
        encoding = (bytes([kind]) if kind else b"") + rlp.encode(fields)
        return Receipt(encoding, logs, numbers[0] == _SUCCESS)
    except _UNREADABLE as error:
        raise _malformed() from error


def bloom_bits(address: str) -> int:
    """The bits that a log of ``address`` sets in its block's bloom, the bloom read as a big-endian
    integer.
    """
    digest = keccak256(bytes.fromhex(address[2:]))
    bits = 0
    for at in (0, 2, 4):
        bits |= 1 << int.from_bytes(digest[at : at + 2], "big") % (8 * BLOOM_BYTES)
    return bits


def may_have_logs(bloom: bytes, addresses_bits: Iterable[int]) -> bool:
    """Whether a block may have logs of any of the addresses; False proves that it has none."""
    missing = ~int.from_bytes(bloom, "big")
    return any(not bits & missing for bits in addresses_bits)


def transaction_hash(encoding: bytes) -> bytes:
    """A transaction's hash as its sender knows it, by its encoding in the transactions trie."""
    return keccak256(encoding[1:] if encoding[:1] == bytes([_KAIA_ETHEREUM]) else encoding)


def indexed_root(encodings: Sequence[bytes]) -> bytes:
    """The root of the trie that holds each encoding under the RLP of its index: a block's receipts
    or transactions.
    """
    pairs = sorted(
        (_nibbles(rlp.encode(rlp.integer(index))), value) for index, value in enumerate(encodings)
    )
    return keccak256(rlp.encode(_node(pairs, 0)))


def _node(pairs: Sequence[_Pair], depth: int) -> rlp.Item:
    """The trie node over sorted pairs whose keys agree in their first ``depth`` nibbles. No key is
    another's prefix.
    """
    if not pairs:
        return b""
    first, last = pairs[0][0], pairs[-1][0]
    if len(pairs) == 1:
        return [_path(first[depth:], leaf=True), pairs[0][1]]
    end = depth
    while first[end] == last[end]:
        end += 1
    if end > depth:
        return [_path(first[depth:end], leaf=False), _reference(_node(pairs, end))]
    children: list[rlp.Item] = [b""] * 17
    for nibble, group in itertools.groupby(pairs, key=lambda pair: pair[0][depth]):
        children[nibble] = _reference(_node(list(group), depth + 1))
    return children


def _reference(node: rlp.Item) -> bytes:
    """How a parent names a node. A receipt has a bloom and a transaction a signature, so no node is
    under 32 bytes and is stored inside its parent.
    """
    return keccak256(rlp.encode(node))


def _path(nibbles: bytes, *, leaf: bool) -> bytes:
    """Hex-prefix encoding."""
    flag = 2 if leaf else 0
    whole = bytes([flag + 1, *nibbles]) if len(nibbles) % 2 else bytes([flag, 0, *nibbles])
    return bytes(high << 4 | low for high, low in zip(whole[::2], whole[1::2], strict=True))


def _nibbles(key: bytes) -> bytes:
    return bytes(nibble for byte in key for nibble in (byte >> 4, byte & 15))


def _logs(answer: Mapping[str, Any]) -> tuple[Log, ...]:
    return tuple(
        Log(
            "0x" + _bytes(log["address"]).hex(),
            tuple(map(_bytes, log["topics"])),
            _bytes(log["data"]),
        )
        for log in answer["logs"]
    )


def _encodable(logs: Sequence[Log]) -> rlp.Item:
    return [[bytes.fromhex(log.address[2:]), list(log.topics), log.data] for log in logs]


def _integer(value: Any) -> int:
    return int(value, 16)


def _bytes(value: Any) -> bytes:
    return bytes.fromhex(value.removeprefix("0x"))


_UNREADABLE = (AttributeError, KeyError, TypeError, ValueError, OverflowError)


def _malformed() -> Malformed:
    return Malformed(
        "receipt_malformed", "The chain node's receipt does not have the form that JSON-RPC fixes."
    )
