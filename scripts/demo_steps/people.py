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
from chain.statements import Consent, ConsentRegistration

IDENTITY_DOMAIN = "qiaolian.identity.v1"
CONSENT_DOMAIN = "qiaolian.consent.v1"


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


@dataclass(frozen=True)
class Trader:
    """A sole trader who consented to a bank: the consent's commitment is how calls name it."""

    person: Person
    package: dict[str, Any]
    commitment: str

    @property
    def code(self) -> str:
        """The trader's 统一社会信用代码."""
        return str(self.person.identity["code"])


def consent_of(
    person: Person,
    *,
    bank: str,
    purpose: str,
    certificate: dict[str, Any],
    certificate_signature: str,
    domain: Domain,
    now: int,
    days: int = 30,
) -> tuple[dict[str, Any], ConsentRegistration, bytes]:
    """A trader's signed consent: the package for the bank, and the registration with its signature for a relayer."""
    salt = new_salt()
    consent = Consent(
        version=1,
        subject=person.commitment,
        bank=bank,
        purpose=purpose,
        not_before=now - 60,
        not_after=now + days * 86_400,
        authority=person.key.address,
    )
    package = {
        "consent": consent.to_json(),
        "signature": "0x" + person.key.sign(consent, domain).hex(),
        "salt": "0x" + salt.hex(),
        "certificate": certificate,
        "certificateSignature": certificate_signature,
        "identity": person.identity,
        "identitySalt": "0x" + person.salt.hex(),
    }
    commitment = commit(salt, CONSENT_DOMAIN, consent.to_json())
    registration = ConsentRegistration(version=1, commitment=commitment, authority=person.key.address, deadline=now + 3_600)
    return package, registration, person.key.sign(registration, domain)
