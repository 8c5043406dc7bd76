"""The people of the demo: each has keys of its own, and nobody signs for another.

A chief data officer and an administrator belong to an organisation but keep their keys outside its node. A trader or citizen has one key per
purpose, certified by the office that knows the person; the office sees the key's address only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chain.commitment import commit, new_salt
from chain.crypto import address_of, new_private_key, sign_digest
from chain.eip712 import Domain, Statement

IDENTITY_DOMAIN = "qiaolian.identity.v1"


@dataclass(frozen=True)
class KeyHolder:
    """Someone with one secp256k1 key."""

    private_key: bytes = field(default_factory=new_private_key, repr=False)

    @property
    def address(self) -> str:
        """The key's address."""
        return address_of(self.private_key)

    def sign(self, statement: Statement, domain: Domain) -> bytes:
        """The statement's 65-byte signature."""
        return sign_digest(self.private_key, statement.digest(domain))


@dataclass(frozen=True)
class Person:
    """A trader or citizen: an identity only its office knows, and the salt that hides it elsewhere."""

    identity: dict[str, Any]
    salt: bytes = field(default_factory=new_salt, repr=False)
    key: KeyHolder = field(default_factory=KeyHolder, repr=False)

    @property
    def commitment(self) -> bytes:
        """The salted commitment to the identity: how statements name this person."""
        return commit(self.salt, IDENTITY_DOMAIN, self.identity)
