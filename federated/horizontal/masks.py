"""Keys between two members, and the masks derived from them.

Key agreement is X25519 (RFC 7748). Every further key is derived with HKDF-SHA256 (RFC 5869) under a
label that names its use, its sum and both ends, so that nothing of one sum opens or cancels
anything of another. A mask is the key stream of AES-256 in counter mode (NIST SP 800-38A), read as
integers of the ring. Sealed shares are AES-256-GCM (NIST SP 800-38D): a key seals one message, so
the nonce is constant.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

KEY_BYTES = 32
TAG_BYTES = 16
_NONCE = bytes(12)
_BLOCK = 1 << 18  # bytes of key stream at a time: they are added while they are in the cache
_ZEROS = bytes(_BLOCK)


def public_key(private: bytes) -> bytes:
    """Return the X25519 public key, 32 bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agree(private: bytes, public: bytes, label: bytes) -> bytes:
    """Return the 32-byte key of two parties for a label.

    ``ValueError`` for a public key of small order.
    """
    shared = X25519PrivateKey.from_private_bytes(private).exchange(
        X25519PublicKey.from_public_bytes(public),
    )
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=b"qiaolian.secagg.v1/" + label).derive(
        shared,
    )


def seal(key: bytes, data: bytes) -> bytes:
    """Encrypt and authenticate one message under a key of its own."""
    return AESGCM(key).encrypt(_NONCE, data, None)


def unseal(key: bytes, data: bytes) -> bytes:
    """Decrypt it; ``ValueError`` if it was altered or is for another sum, sender or recipient."""
    try:
        return AESGCM(key).decrypt(_NONCE, data, None)
    except InvalidTag:
        raise ValueError("the sealed message does not open") from None


def add_mask(vector: NDArray[Any], key: bytes, *, subtract: bool = False) -> None:
    """Add a key's mask to a vector of uint32 or uint64, in place, or subtract it.

    The key must be used for nothing else: the stream starts at counter 0.
    """
    stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
    size = _BLOCK // vector.itemsize
    block = np.empty(size, vector.dtype)
    buffer = block.view(np.uint8).data
    operation = np.subtract if subtract else np.add
    for start in range(0, len(vector), size):
        part = vector[start : start + size]
        stream.update_into(_ZEROS, buffer)
        operation(part, block[: len(part)], out=part)
