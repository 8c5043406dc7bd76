"""The bundle of a credit query, made at the bank's node: it holds consent and receipts, and its log
has the query.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from chain.context import Context
from chain.core.errors import Conflict, NotFound
from chain.ethereum.records import DisputeRecord
from chain.statements.credit import CreditQuery
from chain.statements.members import SubjectKeyCertificate
from registry.credit import consents, peers, queries
from registry.credit.model import CONSENT_DOMAIN, CreditReport, ReportedDispute, SignedReceipt
from registry.credit.rules import LISTED_DOMAIN, listed_report
from registry.exports import Exporter
from registry.issuers import member_at


async def fetch(context: Context, query_hash: bytes) -> bytes:
    """The bundle, from this node if it made the query, else from the bank's that anchored it."""
    try:
        return await asyncio.to_thread(bundle, context, query_hash)
    except NotFound as error:
        if error.code != "query_unknown":
            raise
    query = await asyncio.to_thread(queries.anchored_query, context, query_hash)
    return await peers.fetch_bundle(context, query)


def bundle(context: Context, query_hash: bytes) -> bytes:
    """The bundle's bytes; the report itself stays closed, and which disputes it was made with is
    opened.

    Raises:
        NotFound: ``query_unknown``; Conflict: ``entry_not_anchored`` while an anchor is still to
            come, ``agreement_not_stored`` for a report from before agreements were stored with it.
    """
    report = queries.find_report(context, query_hash)
    query = report.query
    package = consents.stored_package(context, query.consent)
    exporter = Exporter(context, profile="credit", subject={"query": "0x" + query_hash.hex()})
    exporter.add_member_statement(query, report.signature)
    exporter.add_log_entry(query)
    anchored_at = exporter.add_storage_value("CreditLedger", "queries", query_hash)
    exporter.add_subject_statement(package.consent, package.signature)
    _add_certificate(exporter, package.certificate, package.certificate_signature, at=anchored_at)
    exporter.add_disclosure(
        package.commitment(),
        salt=package.salt,
        domain=CONSENT_DOMAIN,
        record=package.consent.to_json(),
    )
    exporter.add_storage_value("CreditLedger", "consents", query.consent)
    for receipt in _receipts(report):
        _add_receipt(exporter, query, receipt)
    for reported in report.disputes:
        _add_dispute(exporter, reported)
    if query.version > 1:
        ids = {reported.dispute_id for reported in report.disputes}
        listed = listed_report(report.report, report.salt, ids)
        exporter.add_disclosure(
            query.report, salt=listed.salt, domain=LISTED_DOMAIN, record=listed.record
        )
    return exporter.build()


def _receipts(report: CreditReport) -> Sequence[SignedReceipt]:
    if report.receipts is None:
        raise Conflict(
            "agreement_not_stored",
            "The report was stored without the agreements of its receipts.",
            hint="Make a new report; the query of this one stays on the chain.",
        )
    return report.receipts


def _add_certificate(
    exporter: Exporter, certificate: SubjectKeyCertificate, signature: bytes, *, at: int
) -> None:
    """A certificate, and what shows that its issuer was an issuer in block ``at``."""
    exporter.add_member_statement(certificate, signature)
    member_at(exporter.add_storage_value, certificate.issuer, at)


def _add_receipt(exporter: Exporter, query: CreditQuery, signed: SignedReceipt) -> None:
    """A receipt, and what shows that a department delivered to this bank: its agreement, open on
    the chain, and the department's role.
    """
    agreement = signed.agreement
    exporter.add_member_statement(signed.receipt, signed.signature, named_by=query)
    exporter.add_member_statement(agreement, signed.agreement_signature, accepted=True)
    exporter.add_storage_value("TradeSettlement", "agreements", agreement.struct_hash(), offset=2)
    exporter.add_storage_value("MemberDirectory", "members", agreement.provider)


def _add_dispute(exporter: Exporter, reported: ReportedDispute) -> None:
    """A dispute, and its answer if there was one when the report was made.

    An answer that came after the report belongs to the next one: then the dispute's record says
    more than the bundle, so the answer's absence would be refused; the caller makes a new report.
    """
    dispute_id = reported.dispute_id
    exporter.add_subject_statement(reported.statement, reported.signature)
    opened_at = DisputeRecord.decode(
        exporter.add_storage_value("CreditLedger", "disputes", dispute_id)
    ).opened_at
    _add_certificate(exporter, reported.certificate, reported.certificate_signature, at=opened_at)
    if reported.repair is not None and reported.repair_signature is not None:
        exporter.add_member_statement(reported.repair, reported.repair_signature, accepted=True)
        exporter.add_storage_value("CreditLedger", "repairs", dispute_id)
