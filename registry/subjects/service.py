"""Which one-time keys of firms and citizens this node knows.

A key opens nothing but the records of its own subject, and only where this node has a reason of
its own to know whose it is: it certified the key, it holds a consent under it, or it is a party of
the property deal that names it. A certificate that a stranger only showed here (for a dispute)
opens no record: another department would vouch for who reads this one's.
"""

from __future__ import annotations

from chain.context import Context
from chain.statements.members import KeyPurpose
from registry.credit import certificates, consents
from registry.property import deals
from registry.signers import signed_by
from registry.subjects.model import SubjectKey
from registry.subjects.rules import require_in_force


def find(context: Context, key: str) -> SubjectKey | None:
    """The key as this node knows it, or None."""
    return _issued(context, key) or _of_consent(context, key) or _of_deal(context, key)


def require_valid(context: Context, known: SubjectKey) -> None:
    """The key's certificate holds now, by the chain's proved records.

    Raises:
        Forbidden: ``certificate_expired``, ``wrong_signer``, ``issuer_not_department``;
        Unavailable: ``chain_view_stale``.
    """
    certificate = known.certificate
    certificate.require_known_version()
    signed = signed_by(context, certificate.issuer, certificate, known.signature)
    records = context.view.proved(signed.records)
    signed.require(records, KeyPurpose.STATEMENT)
    require_in_force(certificate, records, now=context.now())


def _issued(context: Context, key: str) -> SubjectKey | None:
    found = certificates.find(context, key)
    if found is None or found.certificate.issuer != context.member:
        return None
    identity = found.identity
    return SubjectKey(
        found.certificate,
        found.signature,
        subject=str(identity.get("code", "")),
        name=str(identity.get("name", "")),
    )


def _of_consent(context: Context, key: str) -> SubjectKey | None:
    package = consents.held_under(context, key)
    if package is None:
        return None
    return SubjectKey(
        package.certificate,
        package.certificate_signature,
        subject=package.subject(),
        name=str(package.identity.get("name", "")),
    )


def _of_deal(context: Context, key: str) -> SubjectKey | None:
    for overview in deals.of_key(context, key):
        disclosed = overview.deal.disclosed
        for person in () if disclosed is None else (disclosed.seller, disclosed.buyer):
            if person.certificate.key == key:
                return SubjectKey(person.certificate, person.signature, subject="", name="")
    return None
