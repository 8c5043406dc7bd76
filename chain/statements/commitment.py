"""Salted commitments: what leaves a node in place of personal or business content.

``commit`` is HMAC-SHA-256 with a fresh 32-byte salt as key, over a domain label and the record's
RFC 8785 bytes. Without the salt the commitment says nothing, however few values the record can
take; with it, anyone can check the opened record. Destroying the salt is erasure. A salt of another
length opens nothing: HMAC pads a shorter key, so that one commitment would have several salts.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Any

from chain.core.canonical import dumps
from chain.core.crypto import keccak256
from chain.core.errors import BadInput
from chain.core.schema import SALT_BYTES


def new_salt() -> bytes:
    """A fresh 32-byte salt; one for each commitment."""
    return secrets.token_bytes(SALT_BYTES)


def commit(salt: bytes, domain: str, record: Any) -> bytes:
    """The 32-byte commitment to ``record`` (a JSON value without floats) under ``salt``.

    ``domain`` keeps commitments of different kinds apart, e.g. ``qiaolian.request.v1``.
    ``salt_malformed`` for a salt of another length.
    """
    return commit_bytes(salt, domain, dumps(record))


def commit_bytes(salt: bytes, domain: str, canonical: bytes) -> bytes:
    """``commit`` of a record whose RFC 8785 bytes are at hand."""
    if len(salt) != SALT_BYTES:
        raise BadInput(
            "salt_malformed",
            f"The salt of a commitment has {SALT_BYTES} bytes.",
            hint="Make a fresh random one.",
        )
    return hmac.digest(salt, domain.encode() + b"\0" + canonical, "sha256")


def opens(commitment: bytes, *, salt: bytes, domain: str, record: Any) -> bool:
    """Whether ``salt`` and ``record`` open ``commitment``."""
    return len(salt) == SALT_BYTES and hmac.compare_digest(commitment, commit(salt, domain, record))


def consent_id(commitment: bytes, authority: str) -> bytes:
    """``CreditLedger.consentIdOf``: ``keccak256(abi.encode(bytes32 commitment, address
    authority))``.

    A consent is identified by its commitment and its key together, so that nobody can take its
    place under another key.
    """
    return keccak256(commitment + bytes.fromhex(authority[2:]).rjust(32, b"\0"))
