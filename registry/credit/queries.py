"""Credit queries: a bank's one-stop reports, each signed and anchored once."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import NotFound
from chain.log import merkle
from chain.statements.commitment import new_salt
from chain.statements.credit import CreditQuery
from chain.statements.members import Role
from registry.credit import store
from registry.credit.calls import enqueue_call
from registry.credit.consents import stored_package
from registry.credit.model import (
    AnchoredQuery,
    CreditReport,
    DeliveredPart,
    OwnQuery,
    ReportedDispute,
)
from registry.credit.rules import (
    combine,
    listed_report,
    require_agreement,
    require_dispute,
    unique_disputes,
)
from registry.evidence.log import append_if_missing, append_statement
from registry.pages import Page, PageRequest


def record_report(
    context: Context,
    *,
    subject: str,
    consent: bytes,
    parts: Sequence[DeliveredPart],
    disputes: Sequence[ReportedDispute],
) -> CreditReport:
    """Build a one-stop report from completed calls, sign its query and queue the anchor.

    The same calls give the same report: one query is signed and anchored, however often requested.

    Args:
        consent: the commitment of the consent all calls were made under.
        disputes: as the departments reported them (``peers.fetch_disputes``).

    Raises:
        BadInput: ``report_malformed``; NotFound: ``consent_unknown``.
    """
    for dispute in disputes:
        require_dispute(dispute, context.domain("CreditLedger"))
    for part in parts:
        require_agreement(part.receipt)
    certificates = [
        stored_package(context, consent).certificate,
        *(dispute.certificate for dispute in disputes),
    ]
    made = _signed(context, subject, consent, parts, disputes)

    def change(session: Session) -> CreditReport:
        for known in store.reports_of(session, subject):
            if known.receipts == made.receipts:
                return known
        at = made.query.issued_at
        store.add_report(session, made)
        append_statement(session, made.query, context.domain("CreditLedger"), at=at)
        for certificate in certificates:
            # So that this log still dates them when the issuer's key has ended.
            append_if_missing(
                session,
                kind=type(certificate).__name__,
                digest=certificate.digest(context.domain(certificate.contract)),
                at=at,
            )
        enqueue_call(context, session, made.operation, "anchorQueries", [[made.query_id]])
        return made

    return context.database.write(change)


def _signed(
    context: Context,
    subject: str,
    consent: bytes,
    parts: Sequence[DeliveredPart],
    disputes: Sequence[ReportedDispute],
) -> CreditReport:
    """The report with a newly signed query."""
    report, salt = combine(subject, parts, disputes), new_salt()
    receipts = [part.receipt for part in parts]
    hashes = [signed.receipt.struct_hash() for signed in receipts]
    dispute_ids = {dispute.dispute_id for dispute in disputes}
    query = CreditQuery(
        version=2,
        bank=context.member,
        consent=consent,
        report=listed_report(report, salt, dispute_ids).commitment,
        receipts_root=merkle.root_of([merkle.leaf_hash(digest) for digest in hashes]),
        issued_at=context.now(),
    )
    return CreditReport(
        query=query,
        signature=context.sign(query),
        subject=subject,
        report=report,
        salt=salt,
        receipts=receipts,
        disputes=unique_disputes(disputes),
        operation=f"credit-query/{query.struct_hash().hex()}",
    )


def list_queries(context: Context, page: PageRequest) -> Page[OwnQuery] | Page[AnchoredQuery]:
    """The reports this bank made, newest first; at a supervisor, the queries of all banks that the
    chain has; ``cursor_malformed``.
    """
    with context.database.read() as session:
        if context.roles & Role.SUPERVISOR:
            return store.anchored_queries_page(session, page)
        return store.own_queries_page(session, page)


def anchored_query(context: Context, query_id: bytes) -> AnchoredQuery:
    """A query that the chain has, by the events; ``query_unknown``."""
    with context.database.read() as session:
        query = store.find_anchored_query(session, query_id)
    if query is None:
        raise NotFound("query_unknown", "Neither this node nor the chain has such a query.")
    return query


def find_report(context: Context, query_id: bytes) -> CreditReport:
    """A report made by this bank; ``query_unknown``."""
    with context.database.read() as session:
        report = store.find_report(session, query_id)
    if report is None:
        raise NotFound("query_unknown", "This bank made no such query.")
    return report
