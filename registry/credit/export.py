"""The bundle of a credit query, made at the bank's node: it holds consent and receipts, and its log has the query."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from chain import schema
from chain.canonical import dumps
from chain.context import Context
from chain.errors import Conflict, NotFound
from chain.statements import Agreement, CreditDispute, CreditQuery, CreditRepair, SubjectKeyCertificate, UsageReceipt
from chain.words import DisputeWord
from registry.credit import service
from registry.credit.rules import CONSENT_DOMAIN, LISTED_DOMAIN, ConsentPackage, listed
from registry.exports import Exporter
from registry.offices import member_at


async def fetch(context: Context, query_hash: bytes) -> bytes:
    """The bundle, from this node if it made the query, else from the bank's that anchored it."""
    try:
        return await asyncio.to_thread(bundle, context, query_hash)
    except NotFound as error:
        if error.code != "query_unknown":
            raise
    bank = await asyncio.to_thread(service.anchored_query, context, query_hash)
    return dumps(await context.peers.get(bank, f"/v1/peer/credit/queries/0x{query_hash.hex()}/bundle"))


def bundle(context: Context, query_hash: bytes) -> bytes:
    """The bundle's bytes; the report itself stays closed, and which disputes it was made with is opened.

    Raises:
        NotFound: ``query_unknown``; Conflict: ``entry_not_anchored`` while an anchor is still to come, ``agreement_not_kept`` for a report from
            before agreements were kept with it.
    """
    row = service.find_query(context, query_hash)
    query = CreditQuery.from_json(row.statement)
    package = ConsentPackage.from_json(service.held_package(context, query.consent))
    made = Exporter(context, story="credit", subject={"query": "0x" + query_hash.hex()})
    made.by_member(query, row.signature)
    made.logged(query)
    anchored_at = made.word("CreditLedger", "queries", query_hash)
    made.by_subject(package.consent, package.signature)
    _add_certificate(made, package.certificate, package.certificate_signature, at=anchored_at)
    made.disclose(package.commitment(), salt=package.salt, domain=CONSENT_DOMAIN, record=package.consent.to_json())
    made.word("CreditLedger", "consents", query.consent)
    for each in row.receipts:
        _add_receipt(made, query, each)
    for told in row.disputes:
        _add_dispute(made, told)
    if query.version > 1:
        ids = {CreditDispute.from_json(told["dispute"]).struct_hash() for told in row.disputes}
        report = listed(row.report, row.report_salt, ids)
        made.disclose(query.report, salt=report.salt, domain=LISTED_DOMAIN, record=report.record)
    return made.build()


def _add_certificate(made: Exporter, certificate: SubjectKeyCertificate, signature: bytes, *, at: int) -> None:
    """A certificate, and what shows that its issuer was an office in block ``at``."""
    made.by_member(certificate, signature)
    member_at(made.word, certificate.issuer, at)


def _add_receipt(made: Exporter, query: CreditQuery, held: Mapping[str, Any]) -> None:
    """A receipt, and what shows that a department delivered to this bank: its agreement, open on the chain, and the department's role."""
    if "agreement" not in held:
        hint = "Make a new report; the query of this one stays on the chain."
        raise Conflict("agreement_not_kept", "The report was stored without the agreements of its receipts.", hint=hint)
    agreement = Agreement.from_json(held["agreement"])
    made.by_member(UsageReceipt.from_json(held["receipt"]), _bytes(held["signature"]), named_by=query)
    made.by_member(agreement, _bytes(held["agreementSignature"]), taken=True)
    made.word("TradeSettlement", "agreements", agreement.struct_hash(), offset=2)
    made.word("MemberDirectory", "members", agreement.provider)


def _add_dispute(made: Exporter, told: Mapping[str, Any]) -> None:
    """A dispute, and its answer if there was one when the report was made.

    An answer that came after the report belongs to the next one: then the dispute's word says more than the bundle, so the answer's
    absence would be refused; the caller makes a new report.
    """
    dispute = CreditDispute.from_json(told["dispute"])
    dispute_id = dispute.struct_hash()
    made.by_subject(dispute, _bytes(told["disputeSignature"]))
    opened_at = DisputeWord.decode(made.word("CreditLedger", "disputes", dispute_id)).opened_at
    certificate = SubjectKeyCertificate.from_json(told["certificate"])
    _add_certificate(made, certificate, _bytes(told["certificateSignature"]), at=opened_at)
    if told["repair"] is not None:
        made.by_member(CreditRepair.from_json(told["repair"]), _bytes(told["repairSignature"]), taken=True)
        made.word("CreditLedger", "repairs", dispute_id)


def _bytes(value: object) -> bytes:
    return schema.signature(value)
