"""Block headers and their finality, recomputed from bytes.

A Kaia header is the RLP list of fifteen fields. Its hash is keccak256 of that list with the
committed seals emptied and the consensus round (the last vanity byte of the extra data, 0 unless a
proposer was late) set to 0; each committed seal is a secp256k1 signature over keccak256(hash ‖
0x02) (Istanbul BFT, the commit message's code). A header is final for whoever knows the validator
set of its height when distinct valid seals of all n validators (n < 4) or of at least ceil(2n/3)
are there: 2f+1 would be too few for n = 5 or 6, where two disjoint trios of six could seal
conflicting headers. A foreign, doubled, mirrored or invalid seal refuses the header.

The header travels as its RLP bytes, seals included: nothing else is needed to check it. The round
travels as 0, since nobody signs it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from chain.core.crypto import keccak256, recover
from chain.core.errors import BadSignature, Malformed, NotFinal
from chain.ethereum import rlp
from chain.ethereum.receipts import BLOOM_BYTES

_COMMIT = b"\x02"
_VANITY = 32
_ROUND = 31
_FIELDS = (
    "parentHash",
    "reward",
    "stateRoot",
    "transactionsRoot",
    "receiptsRoot",
    "logsBloom",
    "blockScore",
    "number",
    "gasUsed",
    "timestamp",
    "timestampFoS",
    "extraData",
    "governanceData",
    "voteData",
    "baseFeePerGas",
)
_INTEGERS = {"blockScore", "number", "gasUsed", "timestamp", "timestampFoS", "baseFeePerGas"}
_STATE_ROOT, _TRANSACTIONS_ROOT, _RECEIPTS_ROOT, _BLOOM = 2, 3, 4, 5
_NUMBER, _TIMESTAMP, _EXTRA = 7, 9, 11


@dataclass(frozen=True)
class Header:
    """A parsed header; ``hash`` is recomputed, never taken from the sender."""

    raw: bytes
    hash: bytes
    parent_hash: bytes
    state_root: bytes
    transactions_root: bytes
    receipts_root: bytes
    logs_bloom: bytes
    number: int
    timestamp: int
    seals: tuple[bytes, ...]
    validators: tuple[str, ...]
    """The set the header names; information only, trust comes from the trust file."""


def parse(raw: bytes) -> Header:
    """Read a header from its RLP bytes, the round 0.

    Raises:
        Malformed: ``header_malformed`` or ``rlp_malformed``.
    """
    fields = rlp.decode_list(raw)
    if len(fields) != len(_FIELDS):
        raise Malformed("header_malformed", "A block header does not have fifteen fields.")
    extra = rlp.as_bytes(fields[_EXTRA])
    istanbul = rlp.decode_list(extra[_VANITY:])
    if len(istanbul) != 3 or isinstance(istanbul[0], bytes) or isinstance(istanbul[2], bytes):
        raise Malformed(
            "header_malformed", "A block header's extra data does not carry Istanbul seals."
        )
    if extra[_ROUND] != 0:
        raise Malformed(
            "header_malformed", "A block header names a consensus round, which no seal covers."
        )
    unsealed = list(fields)
    unsealed[_EXTRA] = extra[:_VANITY] + rlp.encode([istanbul[0], istanbul[1], []])
    return Header(
        raw=raw,
        hash=keccak256(rlp.encode(unsealed)),
        parent_hash=rlp.as_bytes(fields[0], length=32),
        state_root=rlp.as_bytes(fields[_STATE_ROOT], length=32),
        transactions_root=rlp.as_bytes(fields[_TRANSACTIONS_ROOT], length=32),
        receipts_root=rlp.as_bytes(fields[_RECEIPTS_ROOT], length=32),
        logs_bloom=rlp.as_bytes(fields[_BLOOM], length=BLOOM_BYTES),
        number=rlp.as_integer(fields[_NUMBER]),
        timestamp=rlp.as_integer(fields[_TIMESTAMP]),
        seals=tuple(rlp.as_bytes(item) for item in istanbul[2]),
        validators=tuple("0x" + rlp.as_bytes(item, length=20).hex() for item in istanbul[0]),
    )


def from_rpc(block: Mapping[str, Any]) -> Header:
    """Read a header from the answer of ``kaia_getBlockByNumber``.

    Raises:
        Malformed: ``header_malformed`` when a field is missing or of the wrong form.
    """
    try:
        items = [_field(name, block.get(name)) for name in _FIELDS]
        items[_EXTRA] = items[_EXTRA][:_ROUND] + b"\0" + items[_EXTRA][_VANITY:]
    except (TypeError, ValueError, OverflowError) as error:
        raise Malformed(
            "header_malformed", "The chain node's block lacks a header field."
        ) from error
    return parse(rlp.encode(items))


def require_final(header: Header, validators: Collection[str]) -> frozenset[str]:
    """Check the seals against the validator set of the header's height; who sealed.

    Raises:
        NotFinal: ``seal_missing``, ``seal_foreign``, ``seal_duplicate`` or ``seal_invalid``.
    """
    message = keccak256(header.hash + _COMMIT)
    seen: set[str] = set()
    for seal in header.seals:
        try:
            signer = recover(
                message,
                seal[:64] + bytes([seal[64] + 27]) if len(seal) == 65 and seal[64] < 2 else b"",
            )
        except BadSignature as error:
            raise NotFinal(
                "seal_invalid", f"Block {header.number} carries an invalid seal."
            ) from error
        if signer not in validators:
            raise NotFinal(
                "seal_foreign",
                f"Block {header.number} carries a seal of somebody who is no validator.",
            )
        if signer in seen:
            raise NotFinal(
                "seal_duplicate", f"Block {header.number} carries one validator's seal twice."
            )
        seen.add(signer)
    if len(seen) < seals_needed(len(validators)):
        raise NotFinal(
            "seal_missing",
            f"Block {header.number} has {len(seen)} of the "
            f"{seals_needed(len(validators))} seals that make it final.",
        )
    return frozenset(seen)


def seals_needed(validators: int) -> int:
    """All of fewer than four, else two thirds rounded up."""
    return validators if validators < 4 else -(-2 * validators // 3)


def _field(name: str, value: Any) -> bytes:
    if name in _INTEGERS:
        return rlp.integer(value if isinstance(value, int) else int(value, 16))
    if value is None:
        raise ValueError(name)
    return bytes.fromhex(value[2:])
