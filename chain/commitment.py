"""Salted commitments: what leaves a node in place of personal or business content.

``commit`` is HMAC-SHA-256 with a fresh 32-byte salt as key, over a domain label and the record's RFC 8785 bytes. Without the salt the
commitment says nothing, however few values the record can take; with it, anyone can check the opened record. Destroying the salt is
erasure.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Any

from chain.canonical import dumps


def new_salt() -> bytes:
    """A fresh 32-byte salt; one for each commitment."""
    return secrets.token_bytes(32)


def commit(salt: bytes, domain: str, record: Any) -> bytes:
    """The 32-byte commitment to ``record`` (a JSON value without floats) under ``salt``.

    ``domain`` keeps commitments of different kinds apart, e.g. ``qiaolian.request.v1``.
    """
    return commit_bytes(salt, domain, dumps(record))


def commit_bytes(salt: bytes, domain: str, canonical: bytes) -> bytes:
    """``commit`` of a record whose RFC 8785 bytes are at hand."""
    return hmac.digest(salt, domain.encode() + b"\0" + canonical, "sha256")


def opens(commitment: bytes, *, salt: bytes, domain: str, record: Any) -> bool:
    """Whether ``salt`` and ``record`` open ``commitment``."""
    return hmac.compare_digest(commitment, commit(salt, domain, record))
