"""All randomness of a run, derived from one 32-byte seed that was committed to before the run.

A stream is AES-256 in counter mode (NIST SP 800-38A) under a key derived by HKDF-SHA256 (RFC 5869)
from the seed and a label. Labels give independent streams, so the order in which parts of a
protocol draw does not matter. The same seed and label give the same bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

_CHUNK = 1 << 24


def derive(seed: bytes, label: str, length: int = 32) -> bytes:
    """Derive a key of ``length`` bytes for a label."""
    return HKDF(
        hashes.SHA256(), length, salt=None, info=b"qiaolian.federated.v1/" + label.encode()
    ).derive(seed)


class Randomness:
    """A deterministic stream of uniform random values."""

    def __init__(self, seed: bytes, label: str = "") -> None:
        self._seed, self._label = seed, label
        self._stream = Cipher(
            algorithms.AES256(derive(seed, label)), modes.CTR(bytes(16))
        ).encryptor()

    def child(self, label: str) -> Randomness:
        """Return an independent stream."""
        return Randomness(self._seed, f"{self._label}/{label}")

    def bytes(self, size: int) -> bytes:
        """Return the next ``size`` bytes."""
        return self._fill(size).tobytes()

    def words(self, *shape: int) -> NDArray[np.uint64]:
        """Return uniform elements of the ring of integers mod 2**64."""
        count = int(np.prod(shape, dtype=np.int64))
        return self._fill(8 * count).view(np.uint64).reshape(shape)

    def below(self, bound: int) -> int:
        """Return a uniform integer from 0 to bound - 1, by rejection sampling."""
        bits = (bound - 1).bit_length()
        size = (bits + 7) // 8
        while True:
            value = int.from_bytes(self.bytes(size), "big") >> (8 * size - bits)
            if value < bound:
                return value

    def permutation(self, count: int) -> NDArray[np.int64]:
        """Return a uniform permutation. Ties of the 64-bit sort keys have probability below
        count**2 / 2**65.
        """
        return np.argsort(self.words(count), kind="stable")

    def _fill(self, size: int) -> NDArray[Any]:
        out = np.empty(size, np.uint8)
        zero = bytes(min(size, _CHUNK))
        for start in range(0, size, _CHUNK):
            part = out.data[start : start + _CHUNK]
            self._stream.update_into(zero[: len(part)], part)
        return out
