"""Consents of data subjects.

A subject signs a consent off chain with a one-time key that an issuer certified. The chain holds a
salted commitment, relayed by a member that cannot alter it. The gateway checks signature,
certificate and the proved record itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from chain.context import Context
from chain.core.crypto import recover
from chain.core.database import PreparedStatement
from chain.core.errors import Forbidden, NotFound, Unavailable
from chain.ethereum.proved_records import consent_record
from chain.outbox import Priority, queued
from chain.statements.commitment import consent_id
from chain.statements.credit import (
    ConsentRegistration,
    ConsentWithdrawal,
)
from registry.credit.calls import send_call
from registry.credit.rules import (
    CheckedPackage,
    check_package,
    consent_records,
    require_certified,
)
from registry.credit.store import (
    StoredConsentRow,
)

MAX_QUEUED = 2_000
"""Relayed consents that may be queued, besides the node's own calls: a few seconds of blocks."""


def relay_consent(context: Context, registration: ConsentRegistration, signature: bytes) -> str:
    """Send a subject's registration to the chain as its relayer; the outbox operation.

    Anybody may ask for it, so strangers can fill the queue only so far: ``relay_busy``.
    """
    if (
        recover(registration.digest(context.domain("CreditLedger")), signature)
        != registration.authority
    ):
        raise Forbidden("wrong_authority", "The registration is not signed by the consent's key.")
    with context.database.read() as session:
        if queued(session, context.transaction_address, "consent/") >= MAX_QUEUED:
            raise Unavailable(
                "relay_busy",
                "This node has too many relayed consents waiting to take another.",
                hint="Ask again later, or at another member's node.",
            )
    # The id names the operation, so that a registration of the same commitment under another key
    # does not replace it.
    operation = f"consent/{consent_id(registration.commitment, registration.authority).hex()}"
    return send_call(context, operation, "recordConsent", [registration, signature], Priority.BULK)


def relay_withdrawal(context: Context, withdrawal: ConsentWithdrawal, signature: bytes) -> str:
    """Send a subject's withdrawal to the chain; the outbox operation.

    A withdrawal by another key is refused here, not on the chain: its revert would take the
    operation id of the valid one.
    """
    record = context.view.proved([consent_record(withdrawal.consent)]).consent(withdrawal.consent)
    if not record.recorded_at:
        raise NotFound("consent_unknown", "The chain has no such consent.")
    if recover(withdrawal.digest(context.domain("CreditLedger")), signature) != record.authority:
        raise Forbidden("wrong_authority", "The withdrawal is not signed by the consent's key.")
    operation = f"consent-withdrawal/{withdrawal.consent.hex()}"
    return send_call(context, operation, "withdrawConsent", [withdrawal, signature])


def consent_status(context: Context, commitment: bytes) -> dict[str, Any]:
    """Return a consent's proved heights.

    Strangers may ask, since only holders of the salt know a commitment.
    """
    record = context.view.proved([consent_record(commitment)]).consent(commitment)
    return {
        "consent": "0x" + commitment.hex(),
        "recordedAt": record.recorded_at or None,
        "withdrawnAt": record.withdrawn_at or None,
    }


def store_consent(context: Context, package_json: Mapping[str, Any]) -> bytes:
    """Store a consent given to this bank and return its commitment.

    A consent too large for a call is refused (``consent_too_large``).
    """
    checked = _checked(context, package_json)
    if checked.package.consent.bank != context.member:
        raise Forbidden("consent_other_bank", "The consent was given to another bank.")
    row = StoredConsentRow(
        commitment=checked.consent_id, subject=checked.package.subject(), package=dict(package_json)
    )
    context.database.write(lambda session: session.merge(row))
    return checked.consent_id


def stored_package(context: Context, commitment: bytes) -> Mapping[str, Any]:
    """Return a consent stored at this bank in the form of its requests; ``consent_unknown``."""
    package: Mapping[str, Any] = json.loads(
        _package_json(context.database.fetch(_STORED_PACKAGE, {"commitment": commitment}))
    )
    return package


async def stored_package_json(context: Context, commitment: bytes) -> str:
    """Return ``stored_package`` as JSON text, which every call of a bank carries."""
    return _package_json(await context.database.afetch(_STORED_PACKAGE, {"commitment": commitment}))


def _package_json(found: Sequence[Any]) -> str:
    if not found:
        raise NotFound("consent_unknown", "This bank holds no such consent.")
    return str(found[0][0])


_STORED_PACKAGE = PreparedStatement(
    sa.select(sa.cast(StoredConsentRow.package, sa.Text)).where(
        StoredConsentRow.commitment == sa.bindparam("commitment")
    )
)


def _checked(context: Context, package_json: Any) -> CheckedPackage:
    """Check a package and that a live STATEMENT key of its issuer signed its certificate."""
    checked = check_consent(context, package_json)
    require_certified(checked, context.view.proved(consent_records(checked)))
    return checked


def check_consent(context: Context, package_json: Any) -> CheckedPackage:
    """Check a package's signatures and openings, without the chain's records.

    Raises:
        BadInput: ``consent_malformed``, ``consent_too_large``; Forbidden:
            ``consent_bad_signature``, ``consent_by_beneficiary``.
    """
    return check_package(
        package_json,
        consent_domain=context.domain("CreditLedger"),
        certificate_domain=context.domain("MemberDirectory"),
    )
