"""Consents, disputes and credit queries. Heights are in blocks, times in Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chain.core import schema
from chain.core.errors import BadInput, QiaolianError
from chain.statements.commitment import commit, consent_id
from chain.statements.credit import Consent, CreditDispute, CreditQuery, CreditRepair
from chain.statements.members import SubjectKeyCertificate
from chain.statements.trade import Agreement, UsageReceipt
from registry.sources import Record

CONSENT_DOMAIN = "qiaolian.consent.v1"


# --- Consents -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConsentPackage:
    """A consent with all that shows it: the subject's signature, the certificate of its key, and
    what opens the commitments.
    """

    consent: Consent
    signature: bytes
    salt: bytes
    certificate: SubjectKeyCertificate
    certificate_signature: bytes
    identity: Mapping[str, Any]
    identity_salt: bytes

    @classmethod
    def from_json(cls, value: Any) -> ConsentPackage:
        """Read the JSON form; ``consent_malformed``."""
        try:
            found = cls(
                consent=Consent.from_json(value["consent"]),
                signature=schema.signature(value["signature"]),
                salt=schema.salt(value["salt"]),
                certificate=SubjectKeyCertificate.from_json(value["certificate"]),
                certificate_signature=schema.signature(value["certificateSignature"]),
                identity=schema.identity(value["identity"]),
                identity_salt=schema.salt(value["identitySalt"]),
            )
            found.consent.require_known_version()
            found.certificate.require_known_version()
            return found
        except (KeyError, TypeError, ValueError, QiaolianError) as error:
            raise BadInput(
                "consent_malformed", "A consent package lacks a part or has one of the wrong form."
            ) from error

    def to_json(self) -> dict[str, Any]:
        """The JSON form, as a subject gives it and every call carries it."""
        return {
            "consent": self.consent.to_json(),
            "signature": "0x" + self.signature.hex(),
            "salt": "0x" + self.salt.hex(),
            "certificate": self.certificate.to_json(),
            "certificateSignature": "0x" + self.certificate_signature.hex(),
            "identity": dict(self.identity),
            "identitySalt": "0x" + self.identity_salt.hex(),
        }

    def commitment(self) -> bytes:
        """The salted commitment to the consent."""
        return commit(self.salt, CONSENT_DOMAIN, self.consent.to_json())

    def consent_id(self) -> bytes:
        """How the chain, queries and withdrawals name it."""
        return consent_id(self.commitment(), self.consent.authority)

    def subject(self) -> str:
        """The subject's code, as its issuer knows it."""
        return str(self.identity.get("code", ""))


@dataclass(frozen=True, slots=True)
class CheckedPackage:
    """A package that is consistent in itself; whose key ``signer`` is only the
    chain knows.
    """

    package: ConsentPackage
    consent_id: bytes
    signer: str
    """The address that signed the certificate."""


@dataclass(frozen=True, slots=True)
class ConsentStatus:
    """A consent's proved heights; 0 for what has not happened."""

    consent_id: bytes
    recorded_at: int
    withdrawn_at: int


@dataclass(frozen=True, slots=True)
class StoredConsent:
    """A consent stored at this bank, with its proved heights."""

    package: ConsentPackage
    status: ConsentStatus


@dataclass(frozen=True, slots=True)
class ReviewedConsent:
    """A consent stored at this bank, and what a call that carries it now would be refused for."""

    stored: StoredConsent
    refusal: str
    """A code; empty where a call under it would be served as far as the consent goes."""

    @property
    def begins_at(self) -> int:
        """When consent and certificate both begin."""
        package = self.stored.package
        return max(package.consent.not_before, package.certificate.not_before)

    @property
    def ends_at(self) -> int:
        """When the first of consent and certificate ends."""
        package = self.stored.package
        return min(package.consent.not_after, package.certificate.not_after)


@dataclass(frozen=True, slots=True)
class CertifiedIdentity:
    """A subject's certified one-time key, and whose it is."""

    identity: Mapping[str, Any]
    certificate: SubjectKeyCertificate
    signature: bytes


# --- Disputes -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SubjectRecord:
    """A subject's record as it was published, with the commitment that a dispute names."""

    record: Record
    commitment: bytes
    asset_version: int


class DisputeState(StrEnum):
    """State of a dispute at the department."""

    SENT = "sent"
    """Its call is queued."""
    OPEN = "open"
    ANSWERED = "answered"


@dataclass(frozen=True, slots=True)
class Dispute:
    """A dispute about one of this department's records, with the answer when there is one."""

    statement: CreditDispute
    signature: bytes
    subject: str
    """The subject's code."""
    claim: Mapping[str, Any]
    old_record: Record
    new_record: Record | None = None
    repair: CreditRepair | None = None
    repair_signature: bytes | None = None
    opened_at: int | None = None
    answered_at: int | None = None

    @property
    def dispute_id(self) -> bytes:
        """The statement's struct hash."""
        return self.statement.struct_hash()

    @property
    def state(self) -> DisputeState:
        """Status of the dispute."""
        if self.repair is not None:
            return DisputeState.ANSWERED
        return DisputeState.OPEN if self.opened_at else DisputeState.SENT


@dataclass(frozen=True, slots=True)
class DisputeAnswer:
    """The department's signed answer to a dispute, and its contract call."""

    repair: CreditRepair
    operation: str


@dataclass(frozen=True, slots=True)
class DisputeSearch:
    """A bank's search for disputes: the subject, the columns and the rights to see them."""

    subject: str
    columns: tuple[str, ...]
    purpose: str
    grant_id: bytes
    package: ConsentPackage

    def to_json(self) -> dict[str, Any]:
        """The body of ``POST /v1/peer/disputes``."""
        return {
            "subject": self.subject,
            "columns": list(self.columns),
            "purpose": self.purpose,
            "grantId": "0x" + self.grant_id.hex(),
            "consent": self.package.to_json(),
        }


@dataclass(frozen=True, slots=True)
class ReportedDispute:
    """A dispute as its department reports it to a bank: masked values before and after, and the
    statements that prove it.
    """

    department: str
    asset_id: bytes
    before: Record
    after: Record | None
    statement: CreditDispute
    signature: bytes
    certificate: SubjectKeyCertificate
    certificate_signature: bytes
    repair: CreditRepair | None
    repair_signature: bytes | None

    @property
    def dispute_id(self) -> bytes:
        """The statement's struct hash."""
        return self.statement.struct_hash()

    @property
    def answered(self) -> bool:
        """Whether the department has answered."""
        return self.repair is not None

    @property
    def upheld(self) -> bool:
        """Whether the record was repaired."""
        return self.repair is not None and self.repair.upheld

    def readable_json(self) -> dict[str, Any]:
        """What a report shows of the dispute; its statements go into the bundle."""
        return {
            "disputeId": "0x" + self.dispute_id.hex(),
            "department": self.department,
            "assetId": "0x" + self.asset_id.hex(),
            "answered": self.answered,
            "upheld": self.upheld,
            "before": self.before,
            "after": self.after,
        }

    def to_json(self) -> dict[str, Any]:
        """The dispute as its department sends it."""
        repair, signature = self.repair, self.repair_signature
        return {
            **self.readable_json(),
            "dispute": self.statement.to_json(),
            "disputeSignature": "0x" + self.signature.hex(),
            "certificate": self.certificate.to_json(),
            "certificateSignature": "0x" + self.certificate_signature.hex(),
            "repair": None if repair is None else repair.to_json(),
            "repairSignature": None if signature is None else "0x" + signature.hex(),
        }

    @classmethod
    def from_json(cls, value: Any) -> ReportedDispute:
        """Read what ``to_json`` writes; ``report_malformed``. No signature is checked."""
        try:
            answered = value["repair"] is not None
            found = cls(
                department=str(value["department"]),
                asset_id=schema.hash32(value["assetId"]),
                before=dict(value["before"]),
                after=None if value["after"] is None else dict(value["after"]),
                statement=CreditDispute.from_json(value["dispute"]),
                signature=schema.signature(value["disputeSignature"]),
                certificate=SubjectKeyCertificate.from_json(value["certificate"]),
                certificate_signature=schema.signature(value["certificateSignature"]),
                repair=CreditRepair.from_json(value["repair"]) if answered else None,
                repair_signature=schema.signature(value["repairSignature"]) if answered else None,
            )
            if schema.hash32(value["disputeId"]) != found.dispute_id:
                raise ValueError("disputeId")
        except (KeyError, TypeError, ValueError, QiaolianError) as error:
            raise dispute_not_shown() from error
        return found


def dispute_not_shown() -> BadInput:
    """The refusal of a reported dispute that does not prove itself."""
    return BadInput(
        "report_malformed",
        "A department reported a dispute without the statements that prove it.",
    )


# --- Queries --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SignedReceipt:
    """A department's receipt of a call with its signature, and the agreement of the call with the
    department's.
    """

    receipt: UsageReceipt
    signature: bytes
    agreement: Agreement
    agreement_signature: bytes

    def to_json(self) -> dict[str, Any]:
        """The form in which a report is stored."""
        return {
            "receipt": self.receipt.to_json(),
            "signature": "0x" + self.signature.hex(),
            "agreement": self.agreement.to_json(),
            "agreementSignature": "0x" + self.agreement_signature.hex(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SignedReceipt:
        """Read what ``to_json`` writes."""
        return cls(
            receipt=UsageReceipt.from_json(value["receipt"]),
            signature=schema.signature(value["signature"]),
            agreement=Agreement.from_json(value["agreement"]),
            agreement_signature=schema.signature(value["agreementSignature"]),
        )


@dataclass(frozen=True, slots=True)
class DeliveredPart:
    """One department's part of a report: the record as it was delivered, and its receipt."""

    department: str
    asset_id: bytes
    record: Record
    """Masked."""
    receipt: SignedReceipt


@dataclass(frozen=True, slots=True)
class CreditReport:
    """A one-stop report that this bank made, with the query that was signed and anchored."""

    query: CreditQuery
    signature: bytes
    subject: str
    report: Mapping[str, Any]
    """What the query commits to; see ``rules.combine``."""
    salt: bytes
    receipts: Sequence[SignedReceipt] | None
    """In the report's order; None for a report from before agreements were stored with it."""
    disputes: Sequence[ReportedDispute]
    operation: str

    @property
    def query_id(self) -> bytes:
        """The query's struct hash."""
        return self.query.struct_hash()


@dataclass(frozen=True, slots=True)
class OwnQuery:
    """A query that this bank made, as lists show it."""

    query_id: bytes
    bank: str
    issued_at: int
    report: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AnchoredQuery:
    """A query of any bank that the chain has, as a supervisor sees it."""

    query_id: bytes
    bank: str
    height: int
    """The block that anchored it."""
