"""Hand-written code beside the library that does the same: the figures of ADR 27."""

from __future__ import annotations

import time
from collections.abc import Callable

import rlp as pyrlp  # type: ignore[import-untyped]
from eth_account.messages import encode_typed_data

from chain.core.crypto import keccak256
from chain.ethereum import rlp
from chain.ethereum.eip712 import Domain, Statement, camel
from chain.statements.examples import example
from chain.statements.trade import UsageRequest
from scripts.benches.figure import Figure

ROUNDS = 2_000
DOMAIN = Domain(7_421, "0x" + "33" * 20)
HEADER = [
    bytes([number]) * size
    for number, size in enumerate((32, 32, 20, 32, 32, 32, 256, 8, 4, 4, 4, 97))
]
"""Byte strings of the sizes that a block header's fields have."""


def run(say: Callable[[str], None]) -> list[Figure]:
    """Measure the digest of a statement and the decoding of a header."""
    say("EIP-712 digests and RLP, each beside a library")
    request = example(UsageRequest)
    if request.digest(DOMAIN) != _library_digest(request):
        raise ValueError("the two digests differ")
    data = rlp.encode(HEADER)
    digest, library_digest = (
        _micros(lambda: request.digest(DOMAIN)),
        _micros(lambda: _library_digest(request)),
    )
    decode, library_decode = _micros(lambda: rlp.decode(data)), _micros(lambda: pyrlp.decode(data))
    return [
        Figure(
            "EIP-712 digest of a usage request",
            digest,
            "µs",
            library_digest,
            "eth-account",
            "≤ 0.2",
        ),
        Figure("RLP decoding of a block header", decode, "µs", library_decode, "rlp", "≤ 1"),
    ]


def _library_digest(statement: Statement) -> bytes:
    types = {
        type(statement).__name__: [
            {"name": camel(name), "type": codec.solidity} for name, codec in statement._codecs()
        ]
    }
    message = encode_typed_data(
        domain_data={
            "name": "Qiaolian",
            "version": "1",
            "chainId": DOMAIN.chain_id,
            "verifyingContract": DOMAIN.contract,
        },
        message_types=types,
        message_data={camel(name): getattr(statement, name) for name, _ in statement._codecs()},
    )
    return keccak256(b"\x19" + message.version + message.header + message.body)


def _micros(call: Callable[[], object]) -> float:
    """Processor microseconds of one call."""
    started = time.process_time()
    for _ in range(ROUNDS):
        call()
    return (time.process_time() - started) / ROUNDS * 1e6
