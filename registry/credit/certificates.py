"""Certificates of subjects' one-time keys: issued here, or shown here for a dispute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.crypto import recover
from chain.core.errors import BadInput, Conflict, Forbidden, NotFound
from chain.ethereum.proved_records import member_record
from chain.statements.commitment import commit, opens
from chain.statements.members import KeyPurpose, SubjectKeyCertificate
from registry.credit import store
from registry.credit.model import CertifiedIdentity
from registry.credit.rules import IDENTITY_DOMAIN, require_for_disputes, require_identity
from registry.evidence.log import append_statement
from registry.issuers import ISSUER_ROLE
from registry.signers import signed_by

PURPOSES = ("consent", "deal", "dispute")
"""What a subject's key may be certified for."""


def certify(
    context: Context,
    *,
    identity: Mapping[str, Any],
    salt: bytes,
    key: str,
    purpose: str,
    not_after: int,
) -> CertifiedIdentity:
    """Certify a person's or trader's one-time key, as the issuer that knows them.

    Raises:
        Forbidden: ``issuer_not_department`` at a member that is no active department; Conflict:
            ``key_certified``;
        BadInput: ``wrong_period``, ``identity_malformed``, ``identity_too_large``,
            ``purpose_unknown``; Unavailable: ``chain_view_stale``.
    """
    record = context.view.proved([member_record(context.member)]).member(context.member)
    if not (record.live and record.has_role(ISSUER_ROLE)):
        raise Forbidden(
            "issuer_not_department",
            "Only an active department certifies whose a key is, and this member is none.",
            hint="Send the person to the department that knows them.",
        )
    now = context.now()
    if not_after <= now:
        raise BadInput("wrong_period", "A certificate ends in the future.")
    require_identity(identity)
    if purpose not in PURPOSES:
        raise BadInput(
            "purpose_unknown", "A key is certified for a purpose.", hint=", ".join(PURPOSES)
        )
    certificate = SubjectKeyCertificate(
        version=1,
        issuer=context.member,
        subject=commit(salt, IDENTITY_DOMAIN, dict(identity)),
        key=key,
        purpose=purpose,
        not_before=now - 60,
        not_after=not_after,
    )
    certified = CertifiedIdentity(dict(identity), certificate, context.sign(certificate))

    def change(session: Session) -> None:
        if store.find_certificate(session, key) is not None:
            raise Conflict("key_certified", "This key is certified; a key serves one purpose once.")
        store.add_certificate(session, certified)
        append_statement(session, certificate, context.domain("MemberDirectory"), at=now)

    context.database.write(change)
    return certified


def certified_identity(session: Session, key: str) -> CertifiedIdentity | None:
    """Return identity and certificate of a key that was certified or shown here; None otherwise.

    Another issuer's certificate is shown for disputes only. For anything else the caller checks
    the certificate's issuer.
    """
    return store.find_certificate(session, key)


def find(context: Context, key: str) -> CertifiedIdentity | None:
    """``certified_identity`` in a transaction of its own."""
    with context.database.read() as session:
        return certified_identity(session, key)


def certified_under(context: Context, address: str) -> int:
    """Count this issuer's certificates in force under a key; they end when the key ends."""
    domain, now = context.domain("MemberDirectory"), context.now()
    with context.database.read() as session:
        known = store.certificates(session)
    return sum(
        certified.certificate.issuer == context.member
        and certified.certificate.not_after >= now
        and recover(certified.certificate.digest(domain), certified.signature) == address
        for certified in known
    )


def require_dispute_key(context: Context, key: str, subject: str) -> None:
    """Require that a certificate for the subject's dispute key was issued or shown here.

    The issuer must be an active department now.
    """
    with context.database.read() as session:
        found = certified_identity(session, key)
    if found is None or found.identity.get("code") != subject:
        raise NotFound(
            "subject_key_unknown",
            "The key is not certified for this subject.",
            hint="Show its certificate first.",
        )
    certificate = found.certificate
    records = context.view.proved([member_record(certificate.issuer)])
    require_for_disputes(certificate, records, now=context.now())


def show_certificate(
    context: Context,
    certificate: SubjectKeyCertificate,
    signature: bytes,
    *,
    identity: Mapping[str, Any],
    identity_salt: bytes,
) -> None:
    """Verify and store another issuer's certificate of a key that is to sign disputes here.

    Anybody may show a certificate, so it never replaces a stored one. Storage is bounded by what
    issuers sign.

    Raises:
        Conflict: ``key_certified``; Forbidden: ``wrong_signer``, ``issuer_not_department``,
            ``certificate_expired``;
        BadInput: ``certificate_wrong_purpose``, ``identity_differs``, ``identity_malformed``,
            ``identity_too_large``.
    """
    certificate.require_known_version()
    signed = signed_by(context, certificate.issuer, certificate, signature)
    records = context.view.proved(signed.records)
    signed.require(records, KeyPurpose.STATEMENT)
    require_for_disputes(certificate, records, now=context.now())
    require_identity(identity)
    if not opens(
        certificate.subject, salt=identity_salt, domain=IDENTITY_DOMAIN, record=dict(identity)
    ):
        raise BadInput("identity_differs", "The identity is not what the certificate commits to.")

    def change(session: Session) -> None:
        known = store.find_certificate(session, certificate.key)
        if known is None:
            shown = CertifiedIdentity(dict(identity), certificate, signature)
            store.add_certificate(session, shown)
        elif known.certificate != certificate:
            raise Conflict(
                "key_certified",
                "The key has another certificate here.",
                hint="A key serves one purpose once: make a new one.",
            )

    context.database.write(change)
