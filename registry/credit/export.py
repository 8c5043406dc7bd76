"""The bundle of a credit query, made at the bank's node: it holds consent and receipts, and its log
has the query.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from chain.context import Context
from chain.core import schema
from chain.core.canonical import dumps
from chain.core.errors import Conflict, NotFound
from chain.ethereum.records import DisputeRecord
from chain.statements.credit import CreditDispute, CreditQuery, CreditRepair
from chain.statements.members import SubjectKeyCertificate
from chain.statements.trade import Agreement, UsageReceipt
from registry.credit import consents, queries
from registry.credit.rules import CONSENT_DOMAIN, LISTED_DOMAIN, ConsentPackage, listed_report
from registry.exports import Exporter
from registry.issuers import member_at


async def fetch(context: Context, query_hash: bytes) -> bytes:
    """The bundle, from this node if it made the query, else from the bank's that anchored it."""
    try:
        return await asyncio.to_thread(bundle, context, query_hash)
    except NotFound as error:
        if error.code != "query_unknown":
            raise
    bank = await asyncio.to_thread(queries.anchored_query, context, query_hash)
    return dumps(
        await context.peers.get(bank, f"/v1/peer/credit/queries/0x{query_hash.hex()}/bundle")
    )


def bundle(context: Context, query_hash: bytes) -> bytes:
    """The bundle's bytes; the report itself stays closed, and which disputes it was made with is
    opened.

    Raises:
        NotFound: ``query_unknown``; Conflict: ``entry_not_anchored`` while an anchor is still to
            come, ``agreement_not_kept`` for a report from before agreements were kept with it.
    """
    row = queries.find_query(context, query_hash)
    query = CreditQuery.from_json(row.statement)
    package = ConsentPackage.from_json(consents.stored_package(context, query.consent))
    exporter = Exporter(context, story="credit", subject={"query": "0x" + query_hash.hex()})
    exporter.add_member_statement(query, row.signature)
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
    for receipt in row.receipts:
        _add_receipt(exporter, query, receipt)
    for reported in row.disputes:
        _add_dispute(exporter, reported)
    if query.version > 1:
        ids = {
            CreditDispute.from_json(reported["dispute"]).struct_hash() for reported in row.disputes
        }
        report = listed_report(row.report, row.report_salt, ids)
        exporter.add_disclosure(
            query.report, salt=report.salt, domain=LISTED_DOMAIN, record=report.record
        )
    return exporter.build()


def _add_certificate(
    exporter: Exporter, certificate: SubjectKeyCertificate, signature: bytes, *, at: int
) -> None:
    """A certificate, and what shows that its issuer was an issuer in block ``at``."""
    exporter.add_member_statement(certificate, signature)
    member_at(exporter.add_storage_value, certificate.issuer, at)


def _add_receipt(exporter: Exporter, query: CreditQuery, report_part: Mapping[str, Any]) -> None:
    """A receipt, and what shows that a department delivered to this bank: its agreement, open on
    the chain, and the department's role.
    """
    if "agreement" not in report_part:
        hint = "Make a new report; the query of this one stays on the chain."
        raise Conflict(
            "agreement_not_kept",
            "The report was stored without the agreements of its receipts.",
            hint=hint,
        )
    agreement = Agreement.from_json(report_part["agreement"])
    exporter.add_member_statement(
        UsageReceipt.from_json(report_part["receipt"]),
        _bytes(report_part["signature"]),
        named_by=query,
    )
    exporter.add_member_statement(
        agreement, _bytes(report_part["agreementSignature"]), accepted=True
    )
    exporter.add_storage_value("TradeSettlement", "agreements", agreement.struct_hash(), offset=2)
    exporter.add_storage_value("MemberDirectory", "members", agreement.provider)


def _add_dispute(exporter: Exporter, reported: Mapping[str, Any]) -> None:
    """A dispute, and its answer if there was one when the report was made.

    An answer that came after the report belongs to the next one: then the dispute's word says more
    than the bundle, so the answer's absence would be refused; the caller makes a new report.
    """
    dispute = CreditDispute.from_json(reported["dispute"])
    dispute_id = dispute.struct_hash()
    exporter.add_subject_statement(dispute, _bytes(reported["disputeSignature"]))
    opened_at = DisputeRecord.decode(
        exporter.add_storage_value("CreditLedger", "disputes", dispute_id)
    ).opened_at
    certificate = SubjectKeyCertificate.from_json(reported["certificate"])
    _add_certificate(exporter, certificate, _bytes(reported["certificateSignature"]), at=opened_at)
    if reported["repair"] is not None:
        exporter.add_member_statement(
            CreditRepair.from_json(reported["repair"]),
            _bytes(reported["repairSignature"]),
            accepted=True,
        )
        exporter.add_storage_value("CreditLedger", "repairs", dispute_id)


def _bytes(value: object) -> bytes:
    return schema.signature(value)
