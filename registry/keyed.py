"""A nonce that stands for a caller's idempotency key: the same each time, and nothing anybody else could compute or tell from a random one."""

from __future__ import annotations

import hashlib

from chain.commitment import new_salt
from chain.context import Context
from chain.crypto import keccak256
from chain.statements import KeyPurpose


def nonce_for(context: Context, what: str, key: str | None) -> bytes:
    """32 bytes: random without a key, else bound to this node's statement key (RFC 6979 signatures are deterministic), ``what`` and the key."""
    if key is None:
        return new_salt()
    digest = keccak256(b"qiaolian.idempotency.v1\0" + what.encode() + b"\0" + key.encode())
    return hashlib.sha256(context.signers[KeyPurpose.STATEMENT].sign_digest(digest)).digest()
