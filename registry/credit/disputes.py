"""Disputes of credit records and their repairs.

The department answers a dispute; a bank with the subject's consent sees both records side by side.
A repaired record is a new version of the asset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

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
from registry.credit import store
from registry.credit.calls import enqueue_call
from registry.credit.certificates import require_dispute_key
from registry.credit.consents import check_consent
from registry.credit.model import (
    CertifiedIdentity,
    Dispute,
    DisputeAnswer,
    DisputeSearch,
    ReportedDispute,
    SubjectRecord,
)
from registry.credit.rules import CLAIM_DOMAIN, consent_records, require_consent
from registry.evidence.log import append_statement
from registry.grants import service as grants
from registry.grants.rules import require_allows
from registry.masking import mask
from registry.pages import Page, PageRequest
from registry.sources import Record


def subject_record(context: Context, identity: Mapping[str, Any], asset_id: bytes) -> SubjectRecord:
    """Return a subject's record with the commitment that a dispute names.

    Raises:
        NotFound: ``asset_not_published``, ``record_unknown``; Conflict: ``source_drift``, where the
            commitment is no longer of what is held.
    """
    own = serving.latest_own_version(context, asset_id)
    subject = str(identity.get("code", ""))
    commitment, _salt = serving.record_commitment(context, asset_id, own.asset_version, subject)
    record = serving.published_record(context, asset_id, own.asset_version, subject)
    return SubjectRecord(record, commitment, own.asset_version)


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
        if store.find_dispute(session, dispute_id) is None:
            made = Dispute(dispute, signature, subject, dict(claim), dict(record))
            store.save_dispute(session, made)
        append_statement(session, dispute, context.domain("CreditLedger"), at=context.now())
        operation = f"dispute/{dispute_id.hex()}"
        enqueue_call(
            context, session, operation, "raiseDispute", [dispute, signature], Priority.BULK
        )

    context.database.write(change)
    return dispute_id


def answer(context: Context, dispute_id: bytes, *, new_record: Record | None) -> DisputeAnswer:
    """Answer a dispute with a repaired record in a new version of the asset, or reject it.

    Raises:
        NotFound: ``dispute_unknown``; Conflict: ``already_answered``; BadInput:
            ``record_malformed``, and what publishing the repaired record raises.
    """
    dispute = find_dispute(context, dispute_id)
    if dispute.repair is not None and not _answer_refused(context, dispute_id):
        raise Conflict("already_answered", "The dispute is answered.")
    version, after = _repaired(context, dispute, new_record)
    repair = CreditRepair(
        version=1,
        dispute_id=dispute_id,
        department=context.member,
        upheld=new_record is not None,
        old_record=dispute.statement.record,
        new_record=after,
        asset_version=version,
        repaired_at=context.now(),
    )
    signature = context.sign(repair)

    def change(session: Session) -> str:
        stored = store.find_dispute(session, dispute_id) or dispute
        answered = replace(stored, new_record=new_record, repair=repair, repair_signature=signature)
        store.save_dispute(session, answered)
        append_statement(session, repair, context.domain("CreditLedger"), at=repair.repaired_at)
        return enqueue_call(
            context,
            session,
            f"repair/{dispute_id.hex()}",
            "answerDispute",
            [repair, signature],
            follows=f"dispute/{dispute_id.hex()}",
        )

    return DisputeAnswer(repair, context.database.write(change))


def _repaired(context: Context, dispute: Dispute, new_record: Record | None) -> tuple[int, bytes]:
    """The asset's version after the answer, and the commitment of the subject's record in it."""
    asset_id, subject = dispute.statement.asset_id, dispute.subject
    version = serving.latest_own_version(context, asset_id).asset_version
    if new_record is None:
        return version, dispute.statement.record
    if set(new_record) != set(dispute.old_record):
        raise BadInput("record_malformed", "A repaired record has the same columns as the old one.")
    key = serving.latest_own_version(context, asset_id).metadata.schema.key
    if new_record[key] != dispute.old_record[key]:
        raise BadInput("record_malformed", "A repaired record is of the same subject.", column=key)
    # A repetition after a crash finds the correction made already.
    if serving.override_of(context, asset_id, version, subject) != dict(new_record):
        made = publication.correct(context, asset_id, overrides={subject: new_record})
        version = made.asset_version
    after, _salt = serving.record_commitment(context, asset_id, version, subject)
    return version, after


def _answer_refused(context: Context, dispute_id: bytes) -> bool:
    """Return whether the chain provably refused the last answer, so that another may be given."""
    operation = f"repair/{dispute_id.hex()}"
    with context.database.read() as session:
        if not refused(session, operation) or is_known(session, next_attempt(session, operation)):
            return False
    return not context.view.proved([dispute_record(dispute_id)]).dispute(dispute_id).answered_at


def list_disputes(context: Context, page: PageRequest) -> Page[Dispute]:
    """Disputes at this department, the newest first; ``cursor_malformed``."""
    with context.database.read() as session:
        return store.disputes_page(session, page)


def own_disputes(context: Context, subject: str) -> list[Dispute]:
    """A subject's disputes at this department, the newest first, ``MAX_ROWS`` at most."""
    with context.database.read() as session:
        return store.disputes_by(session, subject)


def records_of(context: Context, subject: str) -> list[tuple[str, bytes, SubjectRecord]]:
    """What this department has published of a subject: asset name, asset id and the record of the
    latest version. An asset that has no record of the subject, or whose source has drifted from
    what was published, is left out.
    """
    found = []
    for name, asset_id in publication.own_assets(context):
        try:
            record = subject_record(context, {"code": subject}, asset_id)
        except (NotFound, Conflict):
            continue
        found.append((name, asset_id, record))
    return found


def unanswered(context: Context) -> int:
    """The number of disputes that wait for this department's answer."""
    with context.database.read() as session:
        return store.count_unanswered(session)


def disputes_for(context: Context, bank: str, sought: DisputeSearch) -> list[ReportedDispute]:
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
    consent, now = check_consent(context, sought.package.to_json()), context.now()
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
) -> list[ReportedDispute]:
    """Return a subject's disputes: masked values before and after, and the statements."""
    masking = serving.latest_own_version(context, asset_id).masking
    with context.database.read() as session:
        found = store.disputes_of(session, subject, asset_id)
    return [
        _reported(context.member, dispute, certified, columns, masking)
        for dispute, certified in found
    ]


def _reported(
    department: str,
    dispute: Dispute,
    certified: CertifiedIdentity,
    columns: Sequence[str],
    masking: Mapping[str, str],
) -> ReportedDispute:
    before, after = dispute.old_record, dispute.new_record
    return ReportedDispute(
        department=department,
        asset_id=dispute.statement.asset_id,
        before=mask(before, columns, masking),
        after=None if after is None else mask(after, columns, masking),
        statement=dispute.statement,
        signature=dispute.signature,
        certificate=certified.certificate,
        certificate_signature=certified.signature,
        repair=dispute.repair,
        repair_signature=dispute.repair_signature,
    )


def find_dispute(context: Context, dispute_id: bytes) -> Dispute:
    """Return a dispute at this department; ``dispute_unknown``."""
    with context.database.read() as session:
        dispute = store.find_dispute(session, dispute_id)
    if dispute is None:
        raise NotFound("dispute_unknown", "This department knows no such dispute.")
    return dispute
