"""Consents, credit queries, disputes and repairs.

A consent is signed off chain with a one-time key that an issuer certified; the chain holds a salted
commitment, relayed by a member that cannot alter it. The gateway checks signature, certificate and
the chain's proved word itself. A dispute is answered by the department with both records side by
side; a repaired record is a new version of the asset.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core import schema
from chain.core.crypto import recover
from chain.core.database import PreparedStatement
from chain.core.errors import BadInput, Conflict, Forbidden, NotFound, QiaolianError, Unavailable
from chain.ethereum.ledger import Event
from chain.ethereum.proved_records import consent_record, grant_record, member_record
from chain.log import merkle
from chain.outbox import Priority, enqueue, is_known, next_attempt, queued, refused
from chain.statements.commitment import commit, consent_id, new_salt, opens
from chain.statements.credit import (
    ConsentRegistration,
    ConsentWithdrawal,
    CreditDispute,
    CreditQuery,
    CreditRepair,
)
from chain.statements.grants import Operation
from chain.statements.members import KeyPurpose, Role, SubjectKeyCertificate
from chain.statements.trade import Agreement, UsageReceipt
from registry import proved
from registry.assets import service as assets
from registry.credit.rules import (
    CLAIM_DOMAIN,
    IDENTITY_DOMAIN,
    CheckedPackage,
    ConsentPackage,
    check_package,
    combine,
    consent_records,
    listed_report,
    require_certified,
    require_consent,
    require_identity,
    unique_disputes,
)
from registry.credit.store import (
    AnchoredQueryRow,
    CertificateRow,
    CreditQueryRow,
    DisputeRow,
    StoredConsentRow,
)
from registry.evidence.service import append_if_missing, append_statement
from registry.grants import service as grants
from registry.grants.rules import require_allows
from registry.issuers import ISSUER_ROLE, require_issuer
from registry.masking import mask
from registry.pages import Page, PageRequest, page_of
from registry.signers import require_signed_by

MAX_QUEUED = 2_000
"""Relayed consents that may wait for the chain: a few seconds' work of four validators. The node's
own calls do not count.
"""
PURPOSES = ("consent", "deal", "dispute")
"""What a subject's key may be certified for."""

# --- Certificates ---------------------------------------------------------------------------------


def certify(
    context: Context,
    *,
    identity: Mapping[str, Any],
    salt: bytes,
    key: str,
    purpose: str,
    not_after: int,
) -> tuple[SubjectKeyCertificate, bytes]:
    """Certify a person's or trader's one-time key, as the issuer that knows them.

    Raises:
        Forbidden: ``issuer_not_department`` at a member that is no active department; Conflict:
            ``key_certified``;
        BadInput: ``wrong_period``, ``identity_malformed``, ``identity_too_large``,
            ``purpose_unknown``; Unavailable: ``chain_view_stale``.
    """
    record = proved.member(context, context.member)
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
    signature = context.sign(certificate)

    def change(session: Session) -> None:
        known = session.get(CertificateRow, key)
        if known is not None:
            raise Conflict("key_certified", "This key is certified; a key serves one purpose once.")
        session.add(
            CertificateRow(
                key=key,
                identity=dict(identity),
                certificate=certificate.to_json(),
                signature=signature,
            )
        )
        append_statement(session, certificate, context.domain("MemberDirectory"), at=now)

    context.database.write(change)
    return certificate, signature


def certified_identity(
    session: Session, key: str
) -> tuple[Mapping[str, Any], SubjectKeyCertificate] | None:
    """Whose key this is, if this issuer certified it or was shown its certificate: the identity and
    the certificate.

    A shown one is another issuer's word, for disputes only; who lets anything else rest on it asks
    for the issuer.
    """
    row = session.get(CertificateRow, key)
    return None if row is None else (row.identity, SubjectKeyCertificate.from_json(row.certificate))


def certified_under(context: Context, address: str) -> int:
    """How many certificates of this issuer are in force and signed with that key of it: when the
    key ends, they do.
    """
    domain, now = context.domain("MemberDirectory"), context.now()
    with context.database.read() as session:
        rows = [
            (SubjectKeyCertificate.from_json(row.certificate), row.signature)
            for row in session.scalars(sa.select(CertificateRow))
        ]
    return sum(
        certificate.issuer == context.member
        and certificate.not_after >= now
        and recover(certificate.digest(domain), signature) == address
        for certificate, signature in rows
    )


# --- Consents -------------------------------------------------------------------------------------


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
    # Named by the id, so that a registration of the same commitment under another key does not
    # stand in its place.
    operation = f"consent/{consent_id(registration.commitment, registration.authority).hex()}"
    return _send(context, operation, "recordConsent", [registration, signature], Priority.BULK)


def relay_withdrawal(context: Context, withdrawal: ConsentWithdrawal, signature: bytes) -> str:
    """Send a subject's withdrawal to the chain; the outbox operation.

    A withdrawal by another key is refused here, not on the chain: its failure would stand under the
    true one's operation.
    """
    record = context.view.proved([consent_record(withdrawal.consent)]).consent(withdrawal.consent)
    if not record.recorded_at:
        raise NotFound("consent_unknown", "The chain has no such consent.")
    if recover(withdrawal.digest(context.domain("CreditLedger")), signature) != record.authority:
        raise Forbidden("wrong_authority", "The withdrawal is not signed by the consent's key.")
    operation = f"consent-withdrawal/{withdrawal.consent.hex()}"
    return _send(context, operation, "withdrawConsent", [withdrawal, signature])


def consent_status(context: Context, commitment: bytes) -> dict[str, Any]:
    """A consent's heights by the node's proved view. Only who holds the salt can know a commitment,
    so strangers may ask.
    """
    record = context.view.proved([consent_record(commitment)]).consent(commitment)
    return {
        "consent": "0x" + commitment.hex(),
        "recordedAt": record.recorded_at or None,
        "withdrawnAt": record.withdrawn_at or None,
    }


def store_consent(context: Context, package_json: Mapping[str, Any]) -> bytes:
    """Keep a consent given to this bank; its commitment. One that no call could carry is refused
    here (``consent_too_large``).
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
    """A consent this bank holds, as its gateway requests carry it; ``consent_unknown``."""
    package: Mapping[str, Any] = json.loads(
        _package_json(context.database.fetch(_STORED_PACKAGE, {"commitment": commitment}))
    )
    return package


async def stored_package_json(context: Context, commitment: bytes) -> str:
    """``stored_package`` as JSON: every call of a bank carries it."""
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
    """A package that holds together, its certificate by a live STATEMENT key of the issuer it
    names.
    """
    checked = check_consent(context, package_json)
    require_certified(checked, context.view.proved(consent_records(checked)))
    return checked


def check_consent(context: Context, package_json: Any) -> CheckedPackage:
    """A package that holds together by itself.

    Raises:
        BadInput: ``consent_malformed``, ``consent_too_large``; Forbidden:
            ``consent_bad_signature``, ``consent_by_beneficiary``.
    """
    return check_package(
        package_json,
        consent_domain=context.domain("CreditLedger"),
        certificate_domain=context.domain("MemberDirectory"),
    )


# --- Queries --------------------------------------------------------------------------------------


def record_report(
    context: Context,
    *,
    subject: str,
    consent: bytes,
    parts: Sequence[Mapping[str, Any]],
    disputes: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Make a one-stop report of what the calls brought, sign the query and have it anchored; the
    report as JSON.

    The same calls again are the same report: one query is signed and anchored, however often it is
    asked for.

    Args:
        consent: the commitment of the consent all calls were made under.
        parts: for each department ``department``, ``assetId``, ``record`` (masked, as delivered),
            ``receipt`` (UsageReceipt JSON), ``receiptSignature`` (0x hex), ``agreement`` (Agreement
            JSON) and ``agreementSignature`` (the department's).
        disputes: what the departments' ``POST /v1/peer/disputes`` told, unchanged.

    Raises:
        BadInput: ``report_malformed``; NotFound: ``consent_unknown``.
    """
    certificates = [ConsentPackage.from_json(stored_package(context, consent)).certificate]
    dispute_ids = {_require_dispute(context, told) for told in disputes}
    certificates += [
        SubjectKeyCertificate.from_json(dispute["certificate"]) for dispute in disputes
    ]
    report, salt = combine(subject, parts, disputes), new_salt()
    receipts = [_receipt(part) for part in parts]
    hashes = [UsageReceipt.from_json(receipt["receipt"]).struct_hash() for receipt in receipts]
    statement = CreditQuery(
        version=2,
        bank=context.member,
        consent=consent,
        report=listed_report(report, salt, dispute_ids).commitment,
        receipts_root=merkle.root_of([merkle.leaf_hash(digest) for digest in hashes]),
        issued_at=context.now(),
    )
    signature, query_hash = context.sign(statement), statement.struct_hash()
    operation = f"credit-query/{query_hash.hex()}"

    def change(session: Session) -> dict[str, Any]:
        for made in session.scalars(
            sa.select(CreditQueryRow).where(CreditQueryRow.subject == subject)
        ):
            if made.receipts == receipts:
                return _reported(made)
        row = CreditQueryRow(
            query_hash=query_hash,
            subject=subject,
            statement=statement.to_json(),
            signature=signature,
            report=report,
            report_salt=salt,
            receipts=receipts,
            disputes=unique_disputes(disputes),
            operation=operation,
        )
        session.add(row)
        append_statement(session, statement, context.domain("CreditLedger"), at=statement.issued_at)
        for certificate in certificates:
            # So that this log still dates them when the issuer's key has ended.
            append_if_missing(
                session,
                kind=type(certificate).__name__,
                digest=certificate.digest(context.domain(certificate.contract)),
                at=statement.issued_at,
            )
        _enqueue(context, session, operation, "anchorQueries", [[query_hash]])
        return _reported(row)

    return context.database.write(change)


def _reported(row: CreditQueryRow) -> dict[str, Any]:
    return {
        "queryId": "0x" + row.query_hash.hex(),
        "report": row.report,
        "operation": row.operation,
    }


def _receipt(part: Mapping[str, Any]) -> dict[str, Any]:
    """A department's receipt and the agreement it was given under."""
    try:
        receipt, agreement = (
            UsageReceipt.from_json(part["receipt"]),
            Agreement.from_json(part["agreement"]),
        )
        signatures = {
            "signature": part["receiptSignature"],
            "agreementSignature": part["agreementSignature"],
        }
        for signature in signatures.values():
            schema.signature(signature)
        if receipt.agreement_id != agreement.struct_hash():
            raise ValueError("agreement")
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            "report_malformed",
            "A part of the report comes without its signed receipt or the agreement of it.",
        ) from error
    return {"receipt": receipt.to_json(), "agreement": agreement.to_json(), **signatures}


def _require_dispute(context: Context, told: Mapping[str, Any]) -> bytes:
    """The id of a dispute as a department told it, once it comes with everything that a bundle has
    to show of it.
    """
    try:
        dispute, certificate = (
            CreditDispute.from_json(told["dispute"]),
            SubjectKeyCertificate.from_json(told["certificate"]),
        )
        signer = recover(
            dispute.digest(context.domain("CreditLedger")),
            schema.signature(told["disputeSignature"]),
        )
        schema.signature(told["certificateSignature"])
        if told["repair"] is not None:
            CreditRepair.from_json(told["repair"])
            schema.signature(told["repairSignature"])
        dispute_id = dispute.struct_hash()
        if (signer, certificate.key, schema.hash32(told["disputeId"])) != (
            dispute.authority,
            dispute.authority,
            dispute_id,
        ):
            raise ValueError("dispute")
    except (KeyError, TypeError, ValueError, QiaolianError) as error:
        raise BadInput(
            "report_malformed", "A department told of a dispute without what shows it."
        ) from error
    return dispute_id


def queries(context: Context, page: PageRequest) -> Page[dict[str, Any]]:
    """The reports this bank made, newest first; at a supervisor, the queries of all banks that the
    chain has; ``cursor_malformed``.
    """
    with context.database.read() as session:
        if context.roles & Role.SUPERVISOR:
            anchored = (AnchoredQueryRow.height, AnchoredQueryRow.query_hash)
            return page_of(session, sa.select(AnchoredQueryRow), anchored, page).map(
                _anchored_query
            )
        own = page_of(
            session,
            sa.select(CreditQueryRow),
            (CreditQueryRow.added, CreditQueryRow.query_hash),
            page,
        )
        return own.map(lambda row: _own_query(context.member, row))


def _anchored_query(row: AnchoredQueryRow) -> dict[str, Any]:
    return {"queryId": "0x" + row.query_hash.hex(), "bank": row.bank, "height": row.height}


def _own_query(bank: str, row: CreditQueryRow) -> dict[str, Any]:
    return {
        "queryId": "0x" + row.query_hash.hex(),
        "bank": bank,
        "issuedAt": row.statement["issuedAt"],
        "report": row.report,
    }


def anchored_query(context: Context, query_hash: bytes) -> str:
    """The bank whose query the chain has; ``query_unknown``."""
    with context.database.read() as session:
        row = session.get(AnchoredQueryRow, query_hash)
    if row is None:
        raise NotFound("query_unknown", "Neither this node nor the chain has such a query.")
    return row.bank


def find_query(context: Context, query_hash: bytes) -> CreditQueryRow:
    """A report this bank made; ``query_unknown``."""
    with context.database.read() as session:
        row = session.get(CreditQueryRow, query_hash)
    if row is None:
        raise NotFound("query_unknown", "This bank made no such query.")
    return row


# --- Disputes and repairs -------------------------------------------------------------------------


def subject_records(
    context: Context, identity: Mapping[str, Any], asset_id: bytes
) -> dict[str, Any]:
    """What this department holds of a subject, with the commitment a dispute names. For the subject
    at the counter.

    Raises:
        NotFound: ``asset_not_published``, ``record_unknown``; Conflict: ``source_drift``, where the
            commitment is no longer of what is held.
    """
    own = assets.latest_own_version(context, asset_id)
    subject = str(identity.get("code", ""))
    commitment, _salt = assets.record_commitment(context, asset_id, own.asset_version, subject)
    record = assets.published_record(context, asset_id, own.asset_version, subject)
    return {
        "record": dict(record),
        "commitment": "0x" + commitment.hex(),
        "assetVersion": own.asset_version,
    }


def raise_dispute(
    context: Context,
    dispute: CreditDispute,
    signature: bytes,
    *,
    claim: Mapping[str, Any],
    claim_salt: bytes,
    subject: str,
) -> bytes:
    """Take a subject's signed dispute at the department that holds the record and send it to the
    chain; the dispute id.
    """
    if dispute.department != context.member:
        raise Forbidden("other_department", "The disputed record is another department's.")
    dispute.require_known_version()
    if recover(dispute.digest(context.domain("CreditLedger")), signature) != dispute.authority:
        raise Forbidden("wrong_authority", "The dispute is not signed by the key it names.")
    if not opens(dispute.claim, salt=claim_salt, domain=CLAIM_DOMAIN, record=dict(claim)):
        raise BadInput("claim_differs", "The claim is not what the dispute commits to.")
    _require_certified(context, dispute.authority, subject)
    own = assets.latest_own_version(context, dispute.asset_id)
    commitment, _salt = assets.record_commitment(
        context, dispute.asset_id, own.asset_version, subject
    )
    if commitment != dispute.record:
        raise Conflict(
            "record_differs", "The dispute names another record than the subject's current one."
        )
    record = assets.published_record(context, dispute.asset_id, own.asset_version, subject)
    dispute_id = dispute.struct_hash()

    def change(session: Session) -> None:
        if is_known(session, next_attempt(session, f"dispute/{dispute_id.hex()}")):
            return
        session.merge(
            DisputeRow(
                dispute_id=dispute_id,
                subject=subject,
                asset_id=dispute.asset_id,
                dispute=dispute.to_json(),
                signature=signature,
                claim=dict(claim),
                old_record=dict(record),
                authority=dispute.authority,
                raised_at=dispute.raised_at,
            )
        )
        append_statement(session, dispute, context.domain("CreditLedger"), at=context.now())
        operation = f"dispute/{dispute_id.hex()}"
        _enqueue(context, session, operation, "raiseDispute", [dispute, signature], Priority.BULK)

    context.database.write(change)
    return dispute_id


def answer(
    context: Context, dispute_id: bytes, *, new_record: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Answer a dispute: with a repaired record (a new version of the asset) or by standing by the
    old one.
    """
    row = find_dispute(context, dispute_id)
    if row.repair is not None and not _answer_refused(context, dispute_id):
        raise Conflict("already_answered", "The dispute is answered.")
    dispute = CreditDispute.from_json(row.dispute)
    version = assets.latest_own_version(context, row.asset_id).asset_version
    after = dispute.record
    if new_record is not None:
        if set(new_record) != set(row.old_record):
            raise BadInput(
                "record_malformed", "A repaired record has the same columns as the old one."
            )
        # A repetition after a crash finds the correction made already.
        if assets.override_of(context, row.asset_id, version, row.subject) != dict(new_record):
            version = int(
                assets.correct(context, row.asset_id, overrides={row.subject: new_record})[
                    "assetVersion"
                ]
            )
        after, _salt = assets.record_commitment(context, row.asset_id, version, row.subject)
    repair = CreditRepair(
        version=1,
        dispute_id=dispute_id,
        department=context.member,
        upheld=new_record is not None,
        old_record=dispute.record,
        new_record=after,
        asset_version=version,
        repaired_at=context.now(),
    )
    signature = context.sign(repair)

    def change(session: Session) -> str:
        stored = session.get_one(DisputeRow, dispute_id)
        stored.new_record = dict(new_record) if new_record is not None else None
        stored.repair, stored.repair_signature = repair.to_json(), signature
        append_statement(session, repair, context.domain("CreditLedger"), at=repair.repaired_at)
        dispute_operation = f"dispute/{dispute_id.hex()}"
        return _enqueue(
            context,
            session,
            f"repair/{dispute_id.hex()}",
            "answerDispute",
            [repair, signature],
            follows=dispute_operation,
        )

    return {
        "repair": repair.to_json(),
        "assetVersion": version,
        "operation": context.database.write(change),
    }


def _answer_refused(context: Context, dispute_id: bytes) -> bool:
    """Whether the chain refused the last answer, so that another may be given: by its own record,
    not by a chain node's word alone.
    """
    operation = f"repair/{dispute_id.hex()}"
    with context.database.read() as session:
        if not refused(session, operation) or is_known(session, next_attempt(session, operation)):
            return False
    return not proved.dispute(context, dispute_id).answered_at


def disputes(context: Context, page: PageRequest) -> Page[dict[str, Any]]:
    """Disputes at this department, the newest first; ``cursor_malformed``."""
    order = (DisputeRow.raised_at, DisputeRow.dispute_id)
    with context.database.read() as session:
        return page_of(session, sa.select(DisputeRow), order, page).map(_dispute)


def _dispute(row: DisputeRow) -> dict[str, Any]:
    return {
        "disputeId": "0x" + row.dispute_id.hex(),
        "subject": row.subject,
        "assetId": "0x" + row.asset_id.hex(),
        "claim": row.claim,
        "oldRecord": row.old_record,
        "newRecord": row.new_record,
        "state": "answered" if row.repair else "open" if row.opened_at else "sent",
        "openedAt": row.opened_at,
        "answeredAt": row.answered_at,
    }


@dataclass(frozen=True)
class DisputeSearch:
    """What a bank asks of disputes: whose, about which columns, and the rights it has to see them."""

    subject: str
    columns: tuple[str, ...]
    purpose: str
    grant_id: bytes
    package: Mapping[str, Any]
    """The subject's consent, in its JSON form."""


def disputes_for(context: Context, bank: str, sought: DisputeSearch) -> list[dict[str, Any]]:
    """``disputes_of``, for a bank that may see the records themselves: under a live grant of its
    own, with the subject's consent.

    Raises:
        Forbidden: ``grant_of_others``, ``grant_…``, ``purpose_not_granted``,
            ``column_not_granted``, ``consent_…``; NotFound: ``grant_unknown``;
            Unavailable: ``chain_view_stale``.
    """
    grant = grants.load(context, sought.grant_id)
    if grant.terms.grantee != bank or grant.terms.owner != context.member:
        raise Forbidden(
            "grant_of_others", "The grant is not from this department to the bank that asks."
        )
    consent, now = check_consent(context, sought.package), context.now()
    records = context.view.proved([grant_record(sought.grant_id), *consent_records(consent)])
    require_allows(
        grant.terms,
        records.grant(sought.grant_id),
        stopped=sought.grant_id in grants.stopped_grants(context),
        granted_columns=grant.columns,
        operation=Operation.USE,
        purpose=sought.purpose,
        columns=sought.columns,
        now=now,
    )
    commitment = "0x" + consent.consent_id.hex()
    require_consent(
        consent,
        records,
        commitment=commitment,
        subject=sought.subject,
        bank=bank,
        purpose=sought.purpose,
        now=now,
    )
    return disputes_of(context, sought.subject, grant.terms.asset_id, sought.columns)


def disputes_of(
    context: Context, subject: str, asset_id: bytes, columns: Sequence[str]
) -> list[dict[str, Any]]:
    """Disputes about a subject's record, both values side by side for the columns asked, each under
    its masking; with the statements.
    """
    masking = assets.latest_own_version(context, asset_id).masking
    query = sa.select(DisputeRow, CertificateRow).where(
        DisputeRow.subject == subject, DisputeRow.asset_id == asset_id
    )
    with context.database.read() as session:
        rows = session.execute(
            query.join(CertificateRow, CertificateRow.key == DisputeRow.authority).order_by(
                DisputeRow.raised_at
            )
        )
        return [
            _dispute_json(context, row, certificate, columns, masking) for row, certificate in rows
        ]


def _dispute_json(
    context: Context,
    row: DisputeRow,
    certificate: CertificateRow,
    columns: Sequence[str],
    masking: Mapping[str, str],
) -> dict[str, Any]:
    return {
        "disputeId": "0x" + row.dispute_id.hex(),
        "department": context.member,
        "assetId": "0x" + row.asset_id.hex(),
        "answered": row.repair is not None,
        "upheld": bool(row.repair and row.repair["upheld"]),
        "before": mask(row.old_record, columns, masking),
        "after": mask(row.new_record, columns, masking) if row.new_record is not None else None,
        "dispute": row.dispute,
        "disputeSignature": "0x" + row.signature.hex(),
        "certificate": certificate.certificate,
        "certificateSignature": "0x" + certificate.signature.hex(),
        "repair": row.repair,
        "repairSignature": None
        if row.repair_signature is None
        else "0x" + row.repair_signature.hex(),
    }


def find_dispute(context: Context, dispute_id: bytes) -> DisputeRow:
    """A dispute at this department; ``dispute_unknown``."""
    with context.database.read() as session:
        row = session.get(DisputeRow, dispute_id)
    if row is None:
        raise NotFound("dispute_unknown", "This department knows no such dispute.")
    return row


def apply(session: Session, event: Event, *, roles: Role) -> None:
    """Take the heights the chain gave to this department's disputes; a supervisor also keeps which
    bank anchored which query.
    """
    if event.name == "QueriesAnchored":
        if roles & Role.SUPERVISOR:
            for query_hash in event.arguments["queries"]:
                if session.get(AnchoredQueryRow, query_hash) is None:
                    session.add(
                        AnchoredQueryRow(
                            query_hash=query_hash,
                            bank=event.arguments["relayer"],
                            height=event.height,
                        )
                    )
        return
    row = (
        session.get(DisputeRow, event.arguments["disputeId"])
        if "disputeId" in event.arguments
        else None
    )
    if row is None:
        return
    if event.name == "DisputeRaised":
        row.opened_at = event.height
    elif event.name == "DisputeAnswered":
        row.answered_at = event.height


def _require_certified(context: Context, key: str, subject: str) -> None:
    """The disputing key must be certified here, or its certificate have been shown here before; its
    issuer counts as it stands now.
    """
    with context.database.read() as session:
        found = certified_identity(session, key)
    if found is None or found[0].get("code") != subject:
        raise Forbidden(
            "subject_key_unknown",
            "The key is not certified for this subject.",
            hint="Show its certificate first.",
        )
    _require_for_disputes(context, found[1])


def show_certificate(
    context: Context,
    certificate: SubjectKeyCertificate,
    signature: bytes,
    *,
    identity: Mapping[str, Any],
    identity_salt: bytes,
) -> None:
    """Keep another issuer's certificate of a key that is to sign disputes here, after checking it.

    Anybody may show one, so it never takes the place of another: what stands under a key stays.
    What can be kept is bounded by what issuers sign.

    Raises:
        Conflict: ``key_certified``; Forbidden: ``wrong_signer``, ``issuer_not_department``,
            ``certificate_expired``;
        BadInput: ``certificate_wrong_purpose``, ``identity_differs``, ``identity_malformed``,
            ``identity_too_large``.
    """
    certificate.require_known_version()
    require_signed_by(context, certificate.issuer, certificate, signature, KeyPurpose.STATEMENT)
    _require_for_disputes(context, certificate)
    require_identity(identity)
    if not opens(
        certificate.subject, salt=identity_salt, domain=IDENTITY_DOMAIN, record=dict(identity)
    ):
        raise BadInput("identity_differs", "The identity is not what the certificate commits to.")

    def change(session: Session) -> None:
        known = certified_identity(session, certificate.key)
        if known is None:
            row = CertificateRow(
                key=certificate.key,
                identity=dict(identity),
                certificate=certificate.to_json(),
                signature=signature,
            )
            session.add(row)
        elif known[1] != certificate:
            raise Conflict(
                "key_certified",
                "The key has another certificate here.",
                hint="A key serves one purpose once: make a new one.",
            )

    context.database.write(change)


def _require_for_disputes(context: Context, certificate: SubjectKeyCertificate) -> None:
    if certificate.purpose != "dispute":
        raise BadInput(
            "certificate_wrong_purpose",
            "The key is certified for something else than disputes.",
            hint="A key serves one purpose.",
        )
    if not certificate.not_before <= context.now() <= certificate.not_after:
        raise Forbidden("certificate_expired", "The certificate does not cover this time.")
    require_issuer(
        context.view.proved([member_record(certificate.issuer)]).member(certificate.issuer)
    )


def _send(
    context: Context,
    operation: str,
    function: str,
    arguments: Sequence[Any],
    priority: Priority = Priority.NORMAL,
) -> str:
    return context.database.write(
        lambda session: _enqueue(context, session, operation, function, arguments, priority)
    )


def _enqueue(
    context: Context,
    session: Session,
    operation: str,
    function: str,
    arguments: Sequence[Any],
    priority: Priority = Priority.NORMAL,
    follows: str | None = None,
) -> str:
    """Queue a call under its operation, or the next of its series when the chain refused it before;
    the one sent.
    """
    sent = next_attempt(session, operation)
    enqueue(
        session,
        sender=context.transaction_address,
        operation_id=sent,
        contract="CreditLedger",
        function=function,
        arguments=list(arguments),
        priority=priority,
        follows=follows,
    )
    return sent
