"""What a data subject signs, on its own machine: consents, withdrawals and disputes under one-time
keys an issuer certified.

A subject is a firm or a person whom an issuer knows by a code; everywhere else a salted commitment
represents it. One key serves one purpose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chain.core import schema
from chain.core.crypto import new_private_key
from chain.core.errors import BadInput, QiaolianError
from chain.ethereum.eip712 import Domain
from chain.keys.files import Secp256k1Signer
from chain.statements.commitment import commit, consent_id, new_salt
from chain.statements.credit import Consent, ConsentRegistration, ConsentWithdrawal, CreditDispute
from chain.statements.members import SubjectKeyCertificate
from registry.credit.model import CONSENT_DOMAIN, SubjectRecord
from registry.credit.rules import CLAIM_DOMAIN, IDENTITY_DOMAIN
from registry.subjects.model import SubjectKey

DEADLINE_SECONDS = 3_600
"""How long a registration or withdrawal may take to reach the chain."""
SKEW_SECONDS = 60
"""A consent begins so much earlier, for clocks that go slow."""


@dataclass(frozen=True)
class Subject:
    """An identity only its issuer knows, the salt that hides it elsewhere, and one key."""

    identity: Mapping[str, str]
    salt: bytes = field(default_factory=new_salt, repr=False)
    key: Secp256k1Signer = field(
        default_factory=lambda: Secp256k1Signer(new_private_key()), repr=False
    )

    @property
    def commitment(self) -> bytes:
        """How statements name this subject."""
        return commit(self.salt, IDENTITY_DOMAIN, dict(self.identity))

    def request(self, *, purpose: str) -> dict[str, Any]:
        """What the subject takes to the issuer that is to certify the key: for that issuer's eyes
        only.
        """
        return {
            "identity": dict(self.identity),
            "identitySalt": "0x" + self.salt.hex(),
            "key": self.key.address,
            "purpose": purpose,
        }

    def shown(self, certificate: Mapping[str, Any]) -> dict[str, Any]:
        """What the subject shows another issuer: ``{certificate, signature}`` of the issuer, and
        what opens it.
        """
        return {
            **certificate,
            "identity": dict(self.identity),
            "identitySalt": "0x" + self.salt.hex(),
        }


def subject_of(request: Any, key: Secp256k1Signer) -> Subject:
    """The subject a request file (``Subject.request``) and its opened key make;
    ``request_malformed``, ``key_differs``.
    """
    try:
        subject = Subject(
            schema.identity(request["identity"]), schema.salt(request["identitySalt"]), key
        )
        address = request["key"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(
            "request_malformed",
            "The subject's request file lacks a part or has one of the wrong form.",
        ) from error
    if key.address != address:
        raise BadInput("key_differs", "The request file is of another key.")
    return subject


def require_certificate(
    certificate: Any, subject: Subject, *, purpose: str
) -> SubjectKeyCertificate:
    """The issuer's certificate (``{certificate, signature}``), if it is of this subject's key for
    this purpose.

    Raises:
        BadInput: ``certificate_malformed``, ``certificate_mismatch``.
    """
    try:
        found = SubjectKeyCertificate.from_json(certificate["certificate"])
        schema.signature(certificate["signature"])
    except (KeyError, TypeError, ValueError, QiaolianError) as error:
        raise BadInput(
            "certificate_malformed", "A certificate lacks a part or has one of the wrong form."
        ) from error
    if (found.key, found.subject, found.purpose) != (
        subject.key.address,
        subject.commitment,
        purpose,
    ):
        raise BadInput(
            "certificate_mismatch",
            f"The certificate is not of this subject's key for the purpose {purpose}.",
        )
    return found


@dataclass(frozen=True)
class SignedConsent:
    """A consent as its bank holds it (``package``), and its registration for any relayer."""

    package: Mapping[str, Any]
    registration: ConsentRegistration
    signature: bytes

    @property
    def consent_id(self) -> bytes:
        """How the chain names it."""
        return consent_id(self.registration.commitment, self.registration.authority)

    @property
    def relayed(self) -> dict[str, Any]:
        """The body of ``POST /v1/consents``."""
        return {
            "registration": self.registration.to_json(),
            "signature": "0x" + self.signature.hex(),
        }


def consent_of(subject: Subject, *, bank: str, purpose: str, now: int, days: int = 30) -> Consent:
    """The consent to be signed: one bank, one purpose, one period."""
    return Consent(
        version=1,
        subject=subject.commitment,
        bank=bank,
        purpose=purpose,
        not_before=now - SKEW_SECONDS,
        not_after=now + days * 86_400,
        authority=subject.key.address,
    )


def sign_consent(
    subject: Subject, consent: Consent, certificate: Mapping[str, Any], *, domain: Domain, now: int
) -> SignedConsent:
    """Sign a consent and its registration; ``certificate`` is the issuer's ``{certificate,
    signature}``.
    """
    salt = new_salt()
    package = {
        "consent": consent.to_json(),
        "signature": "0x" + subject.key.sign(consent, domain).hex(),
        "salt": "0x" + salt.hex(),
        "certificate": certificate["certificate"],
        "certificateSignature": certificate["signature"],
        "identity": dict(subject.identity),
        "identitySalt": "0x" + subject.salt.hex(),
    }
    registration = ConsentRegistration(
        version=1,
        commitment=commit(salt, CONSENT_DOMAIN, consent.to_json()),
        authority=subject.key.address,
        deadline=now + DEADLINE_SECONDS,
    )
    return SignedConsent(package, registration, subject.key.sign(registration, domain))


def withdrawal_of(consent: bytes, *, now: int) -> ConsentWithdrawal:
    """The withdrawal to be signed by the consent's key."""
    return ConsentWithdrawal(version=1, consent=consent, deadline=now + DEADLINE_SECONDS)


@dataclass(frozen=True)
class DraftDispute:
    """A dispute to be signed, and what opens its claim."""

    dispute: CreditDispute
    claim: Mapping[str, str]
    claim_salt: bytes
    subject: str

    def body(self, signature: bytes) -> dict[str, Any]:
        """The body of ``POST /v1/disputes``."""
        return {
            "dispute": self.dispute.to_json(),
            "signature": "0x" + signature.hex(),
            "claim": dict(self.claim),
            "claimSalt": "0x" + self.claim_salt.hex(),
            "subject": self.subject,
        }


def claim_of(
    known: SubjectKey,
    *,
    department: str,
    asset_id: bytes,
    record: SubjectRecord,
    column: str,
    says: str,
    now: int,
) -> DraftDispute:
    """A dispute of one value of a record, for a subject that is logged in at the department.

    Raises:
        BadInput: ``column_unknown``, ``certificate_wrong_purpose``.
    """
    if column not in record.record:
        raise BadInput("column_unknown", "The record has no such value.", column=column)
    if known.purpose != "dispute":
        raise BadInput(
            "certificate_wrong_purpose",
            "The key is certified for something else than disputes.",
            hint="A key serves one purpose: have another key certified for disputes.",
        )
    claim, salt = {"column": column, "says": says}, new_salt()
    dispute = CreditDispute(
        version=1,
        department=department,
        asset_id=asset_id,
        record=record.commitment,
        claim=commit(salt, CLAIM_DOMAIN, claim),
        authority=known.key,
        raised_at=now,
    )
    return DraftDispute(dispute, claim, salt, known.subject)


def dispute_of(
    subject: Subject,
    *,
    department: str,
    asset_id: bytes,
    record: bytes,
    claim: Mapping[str, str],
    now: int,
) -> DraftDispute:
    """A dispute of a record, named by the commitment the subject was shown at the counter."""
    salt = new_salt()
    dispute = CreditDispute(
        version=1,
        department=department,
        asset_id=asset_id,
        record=record,
        claim=commit(salt, CLAIM_DOMAIN, dict(claim)),
        authority=subject.key.address,
        raised_at=now,
    )
    return DraftDispute(dispute, dict(claim), salt, subject.identity.get("code", ""))
