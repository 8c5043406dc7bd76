"""Keccak-256 and recoverable secp256k1 signatures, on native code.

A signature is 65 bytes ``r ‖ s ‖ v`` with ``v`` in {27, 28} and low ``s`` (EIP-2): a second,
mirrored signature over the same digest is refused, so that a statement's signature cannot be
altered without its key. Addresses are lowercase ``0x`` hex throughout.
"""

from __future__ import annotations

import re
import secrets

import coincurve
import sha3  # type: ignore[import-untyped]

from chain.core.errors import BadInput, BadSignature

CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
HALF_ORDER = CURVE_ORDER // 2
ZERO_ADDRESS = "0x" + "00" * 20
_ADDRESS = re.compile(r"0x[0-9a-f]{40}")


def keccak256(data: bytes) -> bytes:
    """The 32-byte Keccak-256 digest of ``data`` (Ethereum's, not FIPS 202's SHA3-256)."""
    digest: bytes = sha3.keccak_256(data).digest()
    return digest


def new_private_key() -> bytes:
    """A fresh 32-byte secp256k1 private key."""
    while True:
        candidate = secrets.token_bytes(32)
        if 0 < int.from_bytes(candidate, "big") < CURVE_ORDER:
            return candidate


def address_of_public_key(public_key: bytes) -> str:
    """The address of an uncompressed 65-byte public key."""
    return "0x" + keccak256(public_key[1:])[12:].hex()


def address_of(private_key: bytes) -> str:
    """The address of a private key."""
    return address_of_public_key(
        coincurve.PrivateKey(private_key).public_key.format(compressed=False)
    )


def sign_digest(private_key: bytes, digest: bytes) -> bytes:
    """Sign a 32-byte digest: 65 bytes, deterministic (RFC 6979), low-s."""
    signature = coincurve.PrivateKey(private_key).sign_recoverable(digest, hasher=None)
    return signature[:64] + bytes([signature[64] + 27])


def recover(digest: bytes, signature: bytes) -> str:
    """The address that signed ``digest``.

    Raises:
        BadSignature: ``signature_malformed`` for a wrong length, a wrong ``v``, a high ``s`` or a
            point that does not exist.
    """
    if len(signature) != 65 or signature[64] not in (27, 28):
        raise BadSignature("signature_malformed", "A signature is not 65 bytes ending in 27 or 28.")
    if int.from_bytes(signature[32:64], "big") > HALF_ORDER:
        raise BadSignature(
            "signature_malformed", "A signature has a high s value, so it could be a mirrored copy."
        )
    try:
        key = coincurve.PublicKey.from_signature_and_message(
            signature[:64] + bytes([signature[64] - 27]), digest, hasher=None
        )
    except ValueError as error:
        raise BadSignature(
            "signature_malformed", "A signature does not recover to any key."
        ) from error
    return address_of_public_key(key.format(compressed=False))


def is_address(value: str) -> bool:
    """Whether ``value`` is a lowercase 0x address."""
    return _ADDRESS.fullmatch(value) is not None


def require_address(value: str) -> str:
    """``value`` in lowercase, or ``address_malformed``."""
    lowered = value.lower() if isinstance(value, str) else ""
    if not is_address(lowered):
        raise BadInput(
            "address_malformed", "An address is not 0x followed by 40 hexadecimal digits."
        )
    return lowered
