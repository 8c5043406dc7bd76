"""Disputes of credit records and their repairs.

The department answers a dispute; a bank with the subject's consent sees both records side by side.
A repaired record is a new version of the asset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.crypto import recover
from chain.core.errors import BadInput, Conflict, Forbidden, NotFound
from chain.ethereum.proved_records import dispute_record, grant_record
from chain.outbox import Priority, is_known, next_attempt, refused
from chain.statements.commitment import opens
from chain.statements.credit import (
    CreditDispute,
    CreditRepair,
)
from chain.statements.grants import Operation
from registry.assets import publication, serving
from registry.credit.calls import enqueue_call
from registry.credit.certificates import require_dispute_key
from registry.credit.consents import check_consent
from registry.credit.rules import (
    CLAIM_DOMAIN,
    consent_records,
    require_consent,
)
from registry.credit.store import (
    CertificateRow,
    DisputeRow,
)
from registry.evidence.log import append_statement
from registry.grants import service as grants
from registry.grants.rules import require_allows
from registry.masking import mask
from registry.pages import Page, PageRequest, page_of


def subject_records(
    context: Context, identity: Mapping[str, Any], asset_id: bytes
) -> dict[str, Any]:
    """Return a subject's record with the commitment that a dispute names.

    Raises:
        NotFound: ``asset_not_published``, ``record_unknown``; Conflict: ``source_drift``, where the
            commitment is no longer of what is held.
    """
    own = serving.latest_own_version(context, asset_id)
    subject = str(identity.get("code", ""))
    commitment, _salt = serving.record_commitment(context, asset_id, own.asset_version, subject)
    record = serving.published_record(context, asset_id, own.asset_version, subject)
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
    """Store a subject's signed dispute of a record held here, queue its call, return its id."""
    if dispute.department != context.member:
        raise Forbidden("other_department", "The disputed record is another department's.")
    dispute.require_known_version()
    if recover(dispute.digest(context.domain("CreditLedger")), signature) != dispute.authority:
        raise Forbidden("wrong_authority", "The dispute is not signed by the key it names.")
    if not opens(dispute.claim, salt=claim_salt, domain=CLAIM_DOMAIN, record=dict(claim)):
        raise BadInput("claim_differs", "The claim is not what the dispute commits to.")
    require_dispute_key(context, dispute.authority, subject)
    own = serving.latest_own_version(context, dispute.asset_id)
    commitment, _salt = serving.record_commitment(
        context, dispute.asset_id, own.asset_version, subject
    )
    if commitment != dispute.record:
        raise Conflict(
            "record_differs", "The dispute names another record than the subject's current one."
        )
    record = serving.published_record(context, dispute.asset_id, own.asset_version, subject)
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
        enqueue_call(
            context, session, operation, "raiseDispute", [dispute, signature], Priority.BULK
        )

    context.database.write(change)
    return dispute_id


def answer(
    context: Context, dispute_id: bytes, *, new_record: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Answer a dispute with a repaired record in a new version of the asset, or reject it."""
    row = find_dispute(context, dispute_id)
    if row.repair is not None and not _answer_refused(context, dispute_id):
        raise Conflict("already_answered", "The dispute is answered.")
    dispute = CreditDispute.from_json(row.dispute)
    version = serving.latest_own_version(context, row.asset_id).asset_version
    after = dispute.record
    if new_record is not None:
        if set(new_record) != set(row.old_record):
            raise BadInput(
                "record_malformed", "A repaired record has the same columns as the old one."
            )
        # A repetition after a crash finds the correction made already.
        if serving.override_of(context, row.asset_id, version, row.subject) != dict(new_record):
            version = int(
                publication.correct(context, row.asset_id, overrides={row.subject: new_record})[
                    "assetVersion"
                ]
            )
        after, _salt = serving.record_commitment(context, row.asset_id, version, row.subject)
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
        return enqueue_call(
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
    """Return whether the chain provably refused the last answer, so that another may be given."""
    operation = f"repair/{dispute_id.hex()}"
    with context.database.read() as session:
        if not refused(session, operation) or is_known(session, next_attempt(session, operation)):
            return False
    return not context.view.proved([dispute_record(dispute_id)]).dispute(dispute_id).answered_at


def list_disputes(context: Context, page: PageRequest) -> Page[dict[str, Any]]:
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
    """A bank's search for disputes: the subject, the columns and the rights to see them."""

    subject: str
    columns: tuple[str, ...]
    purpose: str
    grant_id: bytes
    package: Mapping[str, Any]
    """The subject's consent, in its JSON form."""


def disputes_for(context: Context, bank: str, sought: DisputeSearch) -> list[dict[str, Any]]:
    """Return ``disputes_of`` for a bank with a live grant and the subject's consent.

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
    """Return a subject's disputes: masked values before and after, and the statements."""
    masking = serving.latest_own_version(context, asset_id).masking
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
    """Return a dispute at this department; ``dispute_unknown``."""
    with context.database.read() as session:
        row = session.get(DisputeRow, dispute_id)
    if row is None:
        raise NotFound("dispute_unknown", "This department knows no such dispute.")
    return row
