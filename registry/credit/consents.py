"""Consents of data subjects.

A subject signs a consent off chain with a one-time key that an issuer certified. The chain holds a
salted commitment, relayed by a member that cannot alter it. The gateway checks signature,
certificate and the proved record itself.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from chain.context import Context
from chain.core.crypto import recover
from chain.core.errors import Forbidden, NotFound, Unavailable
from chain.ethereum.proved_records import consent_record
from chain.outbox import Priority, queued
from chain.statements.commitment import consent_id
from chain.statements.credit import (
    ConsentRegistration,
    ConsentWithdrawal,
)
from registry.credit import store
from registry.credit.calls import send_call
from registry.credit.model import (
    CheckedPackage,
    ConsentPackage,
    ConsentStatus,
    ReviewedConsent,
    StoredConsent,
)
from registry.credit.rules import (
    check_package,
    consent_records,
    require_certified,
    review_consent,
)
from registry.pages import Page, PageRequest

MAX_SUBJECTS = 500
"""Subjects of one query."""
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


def consent_status(context: Context, commitment: bytes) -> ConsentStatus:
    """Return a consent's proved heights; ``chain_view_stale``.

    Strangers may ask, since only holders of the salt know a commitment.
    """
    record = context.view.proved([consent_record(commitment)]).consent(commitment)
    return ConsentStatus(commitment, record.recorded_at, record.withdrawn_at)


def store_consent(context: Context, package: ConsentPackage) -> bytes:
    """Store a consent given to this bank and return its commitment.

    Raises:
        BadInput: ``consent_too_large`` for one too large for a call; Forbidden:
            ``consent_bad_signature``, ``consent_by_beneficiary``, ``consent_other_bank``,
            ``issuer_not_department``; Unavailable: ``chain_view_stale``.
    """
    checked = check_consent(context, package.to_json())
    require_certified(checked, context.view.proved(consent_records(checked)))
    if package.consent.bank != context.member:
        raise Forbidden("consent_other_bank", "The consent was given to another bank.")
    context.database.write(lambda session: store.save_consent(session, checked.consent_id, package))
    return checked.consent_id


def held(context: Context, page: PageRequest) -> Page[StoredConsent]:
    """The consents stored at this bank with their proved heights, by id; ``cursor_malformed``,
    ``chain_view_stale``.
    """
    with context.database.read() as session:
        found = store.consents_page(session, page)
    records = context.view.proved([consent_record(consent_id) for consent_id, _ in found.rows])

    def with_status(row: tuple[bytes, ConsentPackage]) -> StoredConsent:
        record = records.consent(row[0])
        return StoredConsent(row[1], ConsentStatus(row[0], record.recorded_at, record.withdrawn_at))

    return found.map(with_status)


def reviewed(context: Context, page: PageRequest, *, subject: str = "") -> Page[ReviewedConsent]:
    """The consents stored at this bank, by id, each with what a call under it would be refused for
    now; with ``subject`` only its own. ``cursor_malformed``, ``chain_view_stale``.
    """
    with context.database.read() as session:
        found = store.consents_page(session, page, subject=subject)
    packages = [package for _, package in found.rows]
    reviews = iter(_reviews(context, packages))
    return found.map(lambda _row: next(reviews))


def review(context: Context, commitment: bytes) -> ReviewedConsent:
    """One consent stored at this bank; ``consent_unknown``, ``chain_view_stale``."""
    return _reviews(context, [stored_package(context, commitment)])[0]


def _reviews(context: Context, packages: Sequence[ConsentPackage]) -> list[ReviewedConsent]:
    """Review packages by records that are proved under one block."""
    if not packages:
        return []
    checked = [check_consent(context, package.to_json()) for package in packages]
    records = context.view.proved([key for one in checked for key in consent_records(one)])
    return [review_consent(one, records, context.member, now=context.now()) for one in checked]


def held_for(context: Context, subjects: Collection[str], purpose: str) -> dict[str, bytes]:
    """A consent by subject that covers this bank, the purpose and this time, as far as its own text
    says; of several, the one that ends last. Whether it is withdrawn, the gateway decides.
    """
    now, wanted = context.now(), sorted(subjects)
    found: dict[str, tuple[int, bytes]] = {}
    with context.database.read() as session:
        for start in range(0, len(wanted), MAX_SUBJECTS):
            for consent_id, package in store.consents_of(
                session, wanted[start : start + MAX_SUBJECTS]
            ):
                consent = package.consent
                covers = consent.not_before <= now <= consent.not_after
                if covers and (consent.bank, consent.purpose) == (context.member, purpose):
                    held = (consent.not_after, consent_id)
                    found[package.subject()] = max(held, found.get(package.subject(), held))
    return {subject: consent_id for subject, (_, consent_id) in found.items()}


def held_under(context: Context, key: str) -> ConsentPackage | None:
    """A consent stored at this bank that a key signed, or None."""
    with context.database.read() as session:
        found = store.consents_under(session, key)
    return found[0][1] if found else None


def require_held_of(context: Context, subject: str, consent: bytes) -> ConsentPackage:
    """A consent stored at this bank, if it is the subject's; ``consent_unknown`` otherwise."""
    package = stored_package(context, consent)
    if package.subject() != subject:
        raise NotFound("consent_unknown", "This bank holds no such consent.")
    return package


def held_of(context: Context, subject: str) -> list[StoredConsent]:
    """The consents of a subject stored at this bank with their proved heights;
    ``chain_view_stale``.
    """
    with context.database.read() as session:
        found = store.consents_of(session, [subject])
    records = context.view.proved([consent_record(consent_id) for consent_id, _ in found])
    return [
        StoredConsent(
            package,
            ConsentStatus(
                consent_id,
                records.consent(consent_id).recorded_at,
                records.consent(consent_id).withdrawn_at,
            ),
        )
        for consent_id, package in found
    ]


def stored_package(context: Context, commitment: bytes) -> ConsentPackage:
    """Return a consent stored at this bank; ``consent_unknown``."""
    text = store.consent_text(context.database, commitment)
    return ConsentPackage.from_json(json.loads(_known(text)))


async def stored_package_json(context: Context, commitment: bytes) -> str:
    """Return a consent stored at this bank as JSON text, which every call of a bank carries;
    ``consent_unknown``.
    """
    return _known(await store.aconsent_text(context.database, commitment))


def _known(text: str | None) -> str:
    if text is None:
        raise NotFound("consent_unknown", "This bank holds no such consent.")
    return text


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
