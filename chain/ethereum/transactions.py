"""Signed legacy Ethereum transactions (EIP-155), encoded without a library.

Every engine accepts legacy transactions, and on a free-gas chain they need no fee fields. Encoding
and hashing take about ten microseconds beside the signature itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from chain.core.crypto import keccak256

MAX_GAS = 28_000_000
"""Below the usual block limit of 30 million."""


class Signer(Protocol):
    """Whatever holds a secp256k1 key: a key file, an HSM, a remote signer."""

    @property
    def address(self) -> str:
        """Lowercase address of the key."""

    def sign_digest(self, digest: bytes) -> bytes:
        """65 bytes r ‖ s ‖ v with v in {27, 28} and low s."""


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A transaction ready to send, and the hash it will be known by."""

    raw: bytes
    transaction_hash: bytes


def sign_transaction(
    signer: Signer,
    *,
    chain_id: int,
    nonce: int,
    to: str,
    data: bytes,
    gas: int,
    gas_price: int = 0,
) -> SignedTransaction:
    """Sign a call that carries no value."""
    target = bytes.fromhex(to[2:])
    body = b"".join(
        map(rlp_bytes, (_number(nonce), _number(gas_price), _number(gas), target, b"", data))
    )
    digest = keccak256(_list(body + rlp_bytes(_number(chain_id)) + b"\x80\x80"))
    signature = signer.sign_digest(digest)
    v = signature[64] - 27 + 35 + 2 * chain_id
    r, s = signature[:32].lstrip(b"\0"), signature[32:64].lstrip(b"\0")
    raw = _list(body + rlp_bytes(_number(v)) + rlp_bytes(r) + rlp_bytes(s))
    return SignedTransaction(raw, keccak256(raw))


def gas_for(data: bytes) -> int:
    """The gas limit of a call: gas is free, so it only has to be enough, and below what a block can
    hold.

    The second term leaves a batch of statements (some 400 bytes each, with a signature to recover
    and a few words to store) 140,000 gas a statement, and a final settlement 44,800 gas a lane (128
    bytes, one word to store).
    """
    return min(1_500_000 + 350 * len(data), MAX_GAS)


def rlp_bytes(value: bytes) -> bytes:
    """One RLP byte string."""
    size = len(value)
    if size == 1 and value[0] < 0x80:
        return value
    return _header(size, 0x80) + value


def _list(body: bytes) -> bytes:
    return _header(len(body), 0xC0) + body


def _header(size: int, base: int) -> bytes:
    if size < 56:
        return bytes((base + size,))
    length = _number(size)
    return bytes((base + 55 + len(length),)) + length


def _number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")
