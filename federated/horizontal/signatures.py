"""Signatures over members' advertised keys, where one server carries all messages (Flower).

A member signs with the key under which its node is registered: P-384, ECDSA with SHA-384. Its
peers' owners configure the public key, obtained by another way than from the server. One signature
covers the keys of all sums of a training; the digests name training, sum and member.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from federated.errors import BadInput

_LABEL = b"qiaolian.secagg.v1/adverts"
_SCHEME = ec.ECDSA(hashes.SHA384())


def private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a node's private key from a file in OpenSSH format; ``signing_key_wrong``."""
    try:
        key = serialization.load_ssh_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(
            "signing_key_wrong",
            f"The key {path.name}, under which this node is registered, cannot be read.",
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise BadInput(
            "signing_key_wrong",
            f"The key {path.name} is not one that nodes are registered under.",
        )
    return key


def sign(key: ec.EllipticCurvePrivateKey, digests: Sequence[bytes]) -> bytes:
    """Sign the digests of this member's advertised keys."""
    return key.sign(_statement(digests), _SCHEME)


def is_signed(public: str, digests: Sequence[bytes], signature: bytes) -> bool:
    """Return whether this public key signed exactly these digests.

    ``public``: a line in OpenSSH format; BadInput ``signing_key_wrong``.
    """
    try:
        key = serialization.load_ssh_public_key(public.encode())
    except (ValueError, TypeError) as error:
        raise BadInput(
            "signing_key_wrong",
            "A peer's registered key in this party's settings cannot be read.",
        ) from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise BadInput(
            "signing_key_wrong",
            "A peer's key in this party's settings is not one that nodes are registered under.",
        )
    try:
        key.verify(signature, _statement(digests), _SCHEME)
    except InvalidSignature:
        return False
    return True


def _statement(digests: Sequence[bytes]) -> bytes:
    return _LABEL + b"".join(digests)  # each of 32 bytes, one for each sum of the plan
