"""Credit queries: a bank's one-stop reports, each signed and anchored once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core import schema
from chain.core.crypto import recover
from chain.core.errors import BadInput, NotFound, QiaolianError
from chain.log import merkle
from chain.statements.commitment import new_salt
from chain.statements.credit import (
    CreditDispute,
    CreditQuery,
    CreditRepair,
)
from chain.statements.members import Role, SubjectKeyCertificate
from chain.statements.trade import Agreement, UsageReceipt
from registry.credit.calls import enqueue_call
from registry.credit.consents import stored_package
from registry.credit.rules import (
    ConsentPackage,
    combine,
    listed_report,
    unique_disputes,
)
from registry.credit.store import (
    AnchoredQueryRow,
    CreditQueryRow,
)
from registry.evidence.log import append_if_missing, append_statement
from registry.pages import Page, PageRequest, page_of


def record_report(
    context: Context,
    *,
    subject: str,
    consent: bytes,
    parts: Sequence[Mapping[str, Any]],
    disputes: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Build a one-stop report from completed calls, sign its query and queue the anchor.

    The same calls give the same report: one query is signed and anchored, however often requested.

    Args:
        consent: the commitment of the consent all calls were made under.
        parts: for each department ``department``, ``assetId``, ``record`` (masked, as delivered),
            ``receipt`` (UsageReceipt JSON), ``receiptSignature`` (0x hex), ``agreement`` (Agreement
            JSON) and ``agreementSignature`` (the department's).
        disputes: the departments' answers to ``POST /v1/peer/disputes``, unchanged.

    Raises:
        BadInput: ``report_malformed``; NotFound: ``consent_unknown``.
    """
    certificates = [ConsentPackage.from_json(stored_package(context, consent)).certificate]
    dispute_ids = {_require_dispute(context, reported) for reported in disputes}
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
        enqueue_call(context, session, operation, "anchorQueries", [[query_hash]])
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


def _require_dispute(context: Context, reported: Mapping[str, Any]) -> bytes:
    """Return the id of a dispute that a department reported with all that a bundle has to show."""
    try:
        dispute, certificate = (
            CreditDispute.from_json(reported["dispute"]),
            SubjectKeyCertificate.from_json(reported["certificate"]),
        )
        signer = recover(
            dispute.digest(context.domain("CreditLedger")),
            schema.signature(reported["disputeSignature"]),
        )
        schema.signature(reported["certificateSignature"])
        if reported["repair"] is not None:
            CreditRepair.from_json(reported["repair"])
            schema.signature(reported["repairSignature"])
        dispute_id = dispute.struct_hash()
        if (signer, certificate.key, schema.hash32(reported["disputeId"])) != (
            dispute.authority,
            dispute.authority,
            dispute_id,
        ):
            raise ValueError("dispute")
    except (KeyError, TypeError, ValueError, QiaolianError) as error:
        raise BadInput(
            "report_malformed",
            "A department reported a dispute without the statements that prove it.",
        ) from error
    return dispute_id


def list_queries(context: Context, page: PageRequest) -> Page[dict[str, Any]]:
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
    """Return the bank that anchored a query; ``query_unknown``."""
    with context.database.read() as session:
        row = session.get(AnchoredQueryRow, query_hash)
    if row is None:
        raise NotFound("query_unknown", "Neither this node nor the chain has such a query.")
    return row.bank


def find_query(context: Context, query_hash: bytes) -> CreditQueryRow:
    """Return a report made by this bank; ``query_unknown``."""
    with context.database.read() as session:
        row = session.get(CreditQueryRow, query_hash)
    if row is None:
        raise NotFound("query_unknown", "This bank made no such query.")
    return row
