"""Rules of consents and reports, without I/O."""

from __future__ import annotations

import hmac
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from chain.core import schema
from chain.core.crypto import recover
from chain.core.errors import BadInput, Forbidden, QiaolianError
from chain.ethereum.eip712 import Domain
from chain.ethereum.proved_records import (
    ProvedRecords,
    StorageKey,
    consent_record,
    key_record,
    member_record,
)
from chain.ethereum.records import ConsentRecord
from chain.statements.commitment import commit, opens
from chain.statements.members import KeyPurpose, SubjectKeyCertificate
from registry.credit.model import (
    CheckedPackage,
    ConsentPackage,
    ConsentStatus,
    DeliveredPart,
    ReportedDispute,
    ReviewedConsent,
    SignedReceipt,
    StoredConsent,
    dispute_not_shown,
)
from registry.issuers import require_issuer

MAX_CHECKED = 512
"""Checked packages that are remembered: as each is bounded, so is their memory."""
IDENTITY_DOMAIN = "qiaolian.identity.v1"
CLAIM_DOMAIN = "qiaolian.claim.v1"
REPORT_DOMAIN = "qiaolian.report.v1"
LISTED_DOMAIN = "qiaolian.report.v2"
_LISTED_SALT = b"qiaolian.report.listed"
MAX_CONSENT_BYTES = 64_000
"""Largest consent package in JSON: every call under it carries it, within the limits of
``exchange.metering.model``.
"""
MAX_IDENTITY_BYTES = 16_000
"""Largest identity of a subject in JSON; it is part of the package."""


def check_package(
    value: Any, *, consent_domain: Domain, certificate_domain: Domain
) -> CheckedPackage:
    """Signatures, certificate and openings of a package in its JSON form.

    A bank shows the same package with every call, so what passed is remembered by its text.

    Raises:
        BadInput: ``consent_malformed``, ``consent_too_large``; Forbidden:
            ``consent_bad_signature``, ``consent_by_beneficiary``.
    """
    try:
        text = json.dumps(value, sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput("consent_malformed", "A consent package is not JSON.") from error
    require_size(text)
    return _check_text(text, consent_domain, certificate_domain)


def require_size(text: str) -> None:
    """A package's JSON is within what every call can carry: ``consent_too_large``."""
    if len(text) > MAX_CONSENT_BYTES:
        raise BadInput(
            "consent_too_large",
            "The consent package is larger than "
            f"{MAX_CONSENT_BYTES} bytes, which no call can carry.",
            hint="Have the subject's key certified for an identity without "
            "attachments, and the consent signed again.",
        )


def require_identity(identity: Mapping[str, Any]) -> None:
    """An identity has the code its issuer knows the person by, and is small:
    ``identity_malformed``, ``identity_too_large``.
    """
    try:
        schema.identity(dict(identity))
    except ValueError as error:
        raise BadInput(
            "identity_malformed",
            "An identity has the code its issuer knows the person or trader by.",
        ) from error
    if len(json.dumps(dict(identity))) > MAX_IDENTITY_BYTES:
        raise BadInput(
            "identity_too_large",
            f"The identity is larger than {MAX_IDENTITY_BYTES} bytes.",
            hint="Leave out attachments: a consent carries the identity with every call.",
        )


@lru_cache(maxsize=MAX_CHECKED)
def _check_text(text: str, consent_domain: Domain, certificate_domain: Domain) -> CheckedPackage:
    package = ConsentPackage.from_json(json.loads(text))
    consent, certificate = package.consent, package.certificate
    if recover(consent.digest(consent_domain), package.signature) != consent.authority:
        raise Forbidden("consent_bad_signature", "The consent is not signed by its own key.")
    if certificate.key != consent.authority or certificate.purpose != "consent":
        raise Forbidden("consent_bad_signature", "The consent's key is not certified for consents.")
    if certificate.issuer == consent.bank:
        raise Forbidden(
            "consent_by_beneficiary", "A bank cannot certify the consents given to itself."
        )
    if certificate.subject != consent.subject or not opens(
        consent.subject,
        salt=package.identity_salt,
        domain=IDENTITY_DOMAIN,
        record=dict(package.identity),
    ):
        raise Forbidden("consent_bad_signature", "The consent's subject is not the certified one.")
    signer = recover(certificate.digest(certificate_domain), package.certificate_signature)
    return CheckedPackage(package, package.consent_id(), signer)


def consent_records(checked: CheckedPackage) -> tuple[StorageKey, ...]:
    """The chain's records that say whether a package is in force and its certificate
    an issuer's.
    """
    return (
        consent_record(checked.consent_id),
        key_record(checked.signer),
        member_record(checked.package.certificate.issuer),
    )


def require_certified(checked: CheckedPackage, records: ProvedRecords) -> None:
    """The certificate is by a live STATEMENT key of the active department that it names:
    ``consent_bad_signature``, ``issuer_not_department``.
    """
    issuer, key = checked.package.certificate.issuer, records.key(checked.signer)
    if not issuer or key.member != issuer or not key.live or key.purpose != KeyPurpose.STATEMENT:
        raise Forbidden("consent_bad_signature", "The certificate is not by the issuer it names.")
    issuer_record = records.member(issuer)
    if not issuer_record.live:
        raise Forbidden(
            "consent_bad_signature",
            "The issuer that certified the consent's key is suspended or removed.",
        )
    require_issuer(issuer_record)


def require_for_disputes(
    certificate: SubjectKeyCertificate, records: ProvedRecords, *, now: int
) -> None:
    """A certified key may sign disputes now.

    Args:
        records: the issuer's member record, proved.
        now: Unix seconds.

    Raises:
        Forbidden: ``certificate_expired``, ``issuer_not_department``; BadInput:
            ``certificate_wrong_purpose``.
    """
    if certificate.purpose != "dispute":
        raise BadInput(
            "certificate_wrong_purpose",
            "The key is certified for something else than disputes.",
            hint="A key serves one purpose.",
        )
    if not certificate.not_before <= now <= certificate.not_after:
        raise Forbidden("certificate_expired", "The certificate does not cover this time.")
    require_issuer(records.member(certificate.issuer))


def require_consent(
    checked: CheckedPackage | None,
    records: ProvedRecords,
    *,
    commitment: str,
    subject: str,
    bank: str,
    purpose: str,
    now: int,
) -> None:
    """The subject's consent covers this use now.

    Args:
        records: ``consent_records``, proved under one block.
        commitment: 0x hexadecimal; the consent that the use names.
        now: Unix seconds.

    Raises:
        Forbidden: ``consent_missing``, ``consent_bad_signature``, ``consent_withdrawn``,
            ``consent_expired``, ``consent_other_*``, ``issuer_not_department``; BadInput:
            ``consent_malformed``.
    """
    if checked is None:
        raise Forbidden("consent_missing", "This purpose needs the subject's consent.")
    require_certified(checked, records)
    if "0x" + checked.consent_id.hex() != commitment:
        raise BadInput("consent_malformed", "The consent shown is not the one the query names.")
    require_usable(
        checked.package,
        records.consent(checked.consent_id),
        subject=subject,
        bank=bank,
        purpose=purpose,
        now=now,
    )


def require_usable(
    package: ConsentPackage,
    record: ConsentRecord,
    *,
    subject: str,
    bank: str,
    purpose: str,
    now: int,
) -> None:
    """Require that the consent covers this use now, by its proved record."""
    consent = package.consent
    if not record.recorded_at or record.authority != consent.authority:
        raise Forbidden("consent_missing", "The consent is not on the chain.")
    if record.withdrawn_at:
        raise Forbidden("consent_withdrawn", "The subject withdrew the consent.")
    if package.subject() != subject:
        raise Forbidden("consent_other_subject", "The consent is another subject's.")
    if consent.bank != bank:
        raise Forbidden("consent_other_bank", "The consent was given to another bank.")
    if consent.purpose != purpose:
        raise Forbidden("consent_other_purpose", "The consent is for another purpose.")
    begins = max(consent.not_before, package.certificate.not_before)
    if not begins <= now <= min(consent.not_after, package.certificate.not_after):
        raise Forbidden("consent_expired", "The consent does not cover this time.")


def review_consent(
    checked: CheckedPackage, records: ProvedRecords, bank: str, *, now: int
) -> ReviewedConsent:
    """What a call under a consent would be refused for now, by the records that ``consent_records``
    names, if it is about the consent's own subject and purpose.
    """
    package, record = checked.package, records.consent(checked.consent_id)
    status = ConsentStatus(checked.consent_id, record.recorded_at, record.withdrawn_at)
    refusal = ""
    try:
        require_certified(checked, records)
        require_usable(
            package,
            record,
            subject=package.subject(),
            bank=bank,
            purpose=package.consent.purpose,
            now=now,
        )
    except QiaolianError as error:
        refusal = error.code
    return ReviewedConsent(StoredConsent(package, status), refusal)


@dataclass(frozen=True)
class ListedReport:
    """What a query commits to: the closed report, and beside it which disputes it was made with, so
    that a bundle can open these alone.
    """

    record: Mapping[str, Any]
    salt: bytes

    @property
    def commitment(self) -> bytes:
        """The query's ``report``."""
        return commit(self.salt, LISTED_DOMAIN, self.record)


def listed_report(
    report: Mapping[str, Any], salt: bytes, disputes: Collection[bytes]
) -> ListedReport:
    """A report under its own salt, with the ids of its disputes. The list's salt follows from the
    report's and says nothing of it.
    """
    record = {
        "content": "0x" + commit(salt, REPORT_DOMAIN, report).hex(),
        "disputes": sorted("0x" + dispute.hex() for dispute in disputes),
    }
    return ListedReport(record, hmac.digest(salt, _LISTED_SALT, "sha256"))


def combine(
    subject: str, parts: Sequence[DeliveredPart], disputes: Sequence[ReportedDispute]
) -> Mapping[str, Any]:
    """The one-stop report, as a query commits to it: each department's masked record, and beside it
    what was disputed and how it was answered.

    A record that was repaired carries the repaired values as ``repaired``, the delivered ones stay:
    both are shown.
    """
    merged = unique_disputes(disputes)
    return {
        "subject": subject,
        "records": [_record(part, merged) for part in parts],
        "disputes": [dispute.readable_json() for dispute in merged],
    }


def unique_disputes(disputes: Sequence[ReportedDispute]) -> list[ReportedDispute]:
    """Merge disputes by id with all their columns; two parts may be about one record."""
    found: dict[bytes, ReportedDispute] = {}
    for dispute in disputes:
        known = found.setdefault(dispute.dispute_id, replace(dispute, before={}, after=None))
        after = known.after
        if dispute.after is not None:
            after = {**(known.after or {}), **dispute.after}
        found[dispute.dispute_id] = replace(
            known, before={**known.before, **dispute.before}, after=after
        )
    return list(found.values())


def _record(part: DeliveredPart, disputes: Sequence[ReportedDispute]) -> Mapping[str, Any]:
    about = [dispute for dispute in disputes if dispute.asset_id == part.asset_id]
    repaired = [
        {column: item.after[column] for column in part.record if column in item.after}
        for item in about
        if item.upheld and item.after is not None
    ]
    return {
        "department": part.department,
        "assetId": "0x" + part.asset_id.hex(),
        "record": part.record,
        "disputed": any(not item.answered for item in about),
        "repaired": repaired[-1] if repaired else None,
    }


def require_agreement(receipt: SignedReceipt) -> None:
    """A receipt was given under the agreement that it comes with: ``report_malformed``."""
    if receipt.receipt.agreement_id != receipt.agreement.struct_hash():
        raise BadInput(
            "report_malformed",
            "A part of the report comes without its signed receipt or the agreement of it.",
        )


def require_dispute(dispute: ReportedDispute, domain: Domain) -> None:
    """A reported dispute is signed with the key that it names and that its certificate is of:
    ``report_malformed``.
    """
    authority = dispute.statement.authority
    signer = recover(dispute.statement.digest(domain), dispute.signature)
    if (signer, dispute.certificate.key) != (authority, authority):
        raise dispute_not_shown()
