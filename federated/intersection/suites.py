"""The two suites of algorithms.

``aes``: AES-128, SHA-256 and ristretto255. ``sm``: SM4 (GB/T 32907), SM3 (GB/T 32905) and the SM2
curve (GB/T 32918.5). All bulk work is one block cipher over arrays of 128-bit blocks, each a pair
of ``uint64`` words. The cipher is called on pieces that fit the cache and release the interpreter's
lock soon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

from federated.errors import BadInput
from federated.intersection.groups import RISTRETTO255, Group
from federated.intersection.sm2 import SM2

Words = NDArray[np.uint64]

_PIECE = 1 << 19  # bytes encrypted at once
_BLOCK = 1 << 15  # rows processed at once: 448 columns of bits, 4 KiB each, fit the cache


@dataclass(frozen=True)
class Suite:
    """A block cipher with 128-bit keys and blocks, a hash of 32 bytes, a group of prime order."""

    name: str
    group: Group
    _cipher: Callable[[bytes], Any]
    _hash: Callable[[], hashes.HashAlgorithm]

    def digest(self, *parts: bytes) -> bytes:
        """Return the hash of the parts, each preceded by its length: 32 bytes."""
        hashing = hashes.Hash(self._hash())
        for part in parts:
            hashing.update(len(part).to_bytes(8, "big") + part)
        return hashing.finalize()

    def permutation(self, key: bytes) -> Permutation:
        """Return the block cipher under a key of 16 bytes."""
        return Permutation(Cipher(self._cipher(key), modes.ECB()).encryptor())  # noqa: S305  (single blocks, no mode of encryption)

    def stream(self, seed: bytes) -> CipherContext:
        """Return a pseudo-random generator: the cipher in counter mode. Use each seed once."""
        return Cipher(self._cipher(seed), modes.CTR(bytes(16))).encryptor()


class Permutation:
    """A block cipher under one key, applied to each block of an array."""

    def __init__(self, context: CipherContext) -> None:
        self._context = context

    def __call__(self, blocks: Words) -> Words:
        """Return the encryption of blocks, (count, 2) words, as a new array."""
        given = np.ascontiguousarray(blocks).reshape(-1).view(np.uint8)
        # The library requires room for a block that it never writes.
        out = np.empty(len(given) + 15, np.uint8)
        for start in range(0, len(given), _PIECE):
            self._context.update_into(given[start : start + _PIECE].data, out[start:].data)
        return out[: len(given)].view(np.uint64).reshape(-1, 2)


SUITES = {
    "aes": Suite("aes", RISTRETTO255, algorithms.AES128, hashes.SHA256),
    "sm": Suite("sm", SM2, algorithms.SM4, hashes.SM3),
}


def suite_of(name: object) -> Suite:
    """Return a suite by name; BadInput ``suite_unknown``."""
    if not isinstance(name, str) or name not in SUITES:
        raise BadInput(
            "suite_unknown",
            f"There is no suite {name!r:.40}; there are {', '.join(SUITES)}.",
        )
    return SUITES[name]


def blocks(rows: int, size: int = _BLOCK) -> Iterator[slice]:
    """Yield slices of a size that cover so many rows; the last may be shorter."""
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
