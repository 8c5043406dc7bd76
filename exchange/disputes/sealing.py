"""Answers sealed to the key of a contest: HPKE (RFC 9180) in base mode with X25519, HKDF-SHA256
and ChaCha20-Poly1305, bound to the receipt by its info.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from chain.core.errors import Conflict

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_INFO = b"qiaolian.dispute-answer.v1\0"


@dataclass(frozen=True, slots=True)
class ContestKey:
    """A key pair for one contest; raw X25519 bytes."""

    private: bytes
    public: bytes

    @classmethod
    def generate(cls) -> ContestKey:
        """A new pair."""
        key = X25519PrivateKey.generate()
        return cls(key.private_bytes_raw(), key.public_key().public_bytes_raw())


def seal(answer: bytes, contest_key: bytes, *, receipt_id: bytes) -> bytes:
    """The sealed answer; empty if nothing can be sealed to the key, such as one of low order."""
    try:
        public = X25519PublicKey.from_public_bytes(contest_key)
        return _SUITE.encrypt(answer, public, info=_INFO + receipt_id)
    except ValueError:
        return b""


def unseal(sealed: bytes, private: bytes, *, receipt_id: bytes) -> bytes:
    """The answer; ``sealed_answer_unreadable``."""
    try:
        key = X25519PrivateKey.from_private_bytes(private)
        return _SUITE.decrypt(sealed, key, info=_INFO + receipt_id)
    except (InvalidTag, ValueError) as error:
        raise Conflict(
            "sealed_answer_unreadable",
            "What the provider served cannot be opened with the key of this contest.",
            hint="Tell the arbiter; the chain has the hash of what was served.",
        ) from error
