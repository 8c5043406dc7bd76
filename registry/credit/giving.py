"""A consent given at a console: drafted, signed in two steps by the subject's own key, then handed
to its bank and relayed to the chain.

Between the steps the draft is in the person's browser. Nothing in it is trusted: what comes back is
checked as any consent is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chain.context import Context
from chain.core import schema
from chain.core.errors import BadInput, QiaolianError
from chain.statements.commitment import commit, new_salt, opens
from chain.statements.credit import Consent, ConsentRegistration
from registry.credit import consents, peers
from registry.credit.model import CONSENT_DOMAIN, ConsentPackage
from registry.credit.rules import IDENTITY_DOMAIN
from registry.credit.signing import DEADLINE_SECONDS, SKEW_SECONDS
from registry.subjects.model import SubjectKey

MAX_DAYS = 365


@dataclass(frozen=True, slots=True)
class ConsentDraft:
    """A consent to be signed, and what opens its commitments."""

    consent: Consent
    salt: bytes
    identity: Mapping[str, str]
    identity_salt: bytes

    def to_json(self) -> dict[str, Any]:
        """The form that the browser keeps between the steps."""
        return {
            "consent": self.consent.to_json(),
            "salt": "0x" + self.salt.hex(),
            "identity": dict(self.identity),
            "identitySalt": "0x" + self.identity_salt.hex(),
        }

    @classmethod
    def from_json(cls, value: Any) -> ConsentDraft:
        """Read what ``to_json`` writes; ``consent_malformed``."""
        try:
            return cls(
                Consent.from_json(value["consent"]),
                schema.salt(value["salt"]),
                schema.identity(value["identity"]),
                schema.salt(value["identitySalt"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, QiaolianError) as error:
            raise BadInput("consent_malformed", "The draft of the consent is damaged.") from error

    def registration(self, *, now: int) -> ConsentRegistration:
        """What puts the consent on the chain, to be signed by the same key."""
        return ConsentRegistration(
            version=1,
            commitment=commit(self.salt, CONSENT_DOMAIN, self.consent.to_json()),
            authority=self.consent.authority,
            deadline=now + DEADLINE_SECONDS,
        )

    def signed(self, known: SubjectKey, signature: bytes) -> ConsentPackage:
        """The package with the subject's signature and the certificate of its key."""
        return ConsentPackage(
            consent=self.consent,
            signature=signature,
            salt=self.salt,
            certificate=known.certificate,
            certificate_signature=known.signature,
            identity=self.identity,
            identity_salt=self.identity_salt,
        )


def draft(
    known: SubjectKey, request: Any, *, bank: str, purpose: str, days: int, now: int
) -> ConsentDraft:
    """A consent to one bank, for one purpose and period.

    Args:
        request: the key's request file, which alone has the salt of the identity.

    Raises:
        BadInput: ``certificate_wrong_purpose``, ``request_malformed``, ``identity_differs``,
            ``consent_days_out_of_range``.
    """
    if known.purpose != "consent":
        raise BadInput(
            "certificate_wrong_purpose",
            "The key is certified for something else than consents.",
            hint="A key serves one purpose: have another key certified for consents.",
        )
    if not 1 <= days <= MAX_DAYS:
        raise BadInput("consent_days_out_of_range", f"A consent is given for 1 to {MAX_DAYS} days.")
    try:
        identity = schema.identity(request["identity"])
        salt = schema.salt(request["identitySalt"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(
            "request_malformed",
            "The subject's request file lacks a part or has one of the wrong form.",
        ) from error
    certificate = known.certificate
    if not opens(certificate.subject, salt=salt, domain=IDENTITY_DOMAIN, record=dict(identity)):
        raise BadInput("identity_differs", "The request file is not the one of this key.")
    consent = Consent(
        version=1,
        subject=certificate.subject,
        bank=bank,
        purpose=purpose,
        not_before=now - SKEW_SECONDS,
        not_after=min(now + days * 86_400, certificate.not_after),
        authority=known.key,
    )
    return ConsentDraft(consent, new_salt(), identity, salt)


async def give(
    context: Context,
    package: ConsentPackage,
    registration: ConsentRegistration,
    signature: bytes,
) -> bytes:
    """Send a signed consent to its bank, then relay its registration; the consent's id.

    Raises:
        Forbidden: ``consent_bad_signature``, ``consent_by_beneficiary``, ``wrong_authority``;
        BadInput: ``consent_registration_differs``; Unavailable: ``relay_busy``; and whatever
            refusal the bank gives: a consent that its bank does not take is not put on the chain.
    """
    checked = consents.check_consent(context, package.to_json())
    if (registration.commitment, registration.authority) != (
        package.commitment(),
        package.consent.authority,
    ):
        raise BadInput(
            "consent_registration_differs",
            "The registration is of another consent than the one signed.",
        )
    await peers.deliver_consent(context, package)
    await asyncio.to_thread(consents.relay_consent, context, registration, signature)
    return checked.consent_id
