"""A credit query, checked from a bundle: under which consent a bank looked, what it paid for, what
was disputed. Pure.

``subject`` is ``{"query": 0x…}``, the struct hash of the bank's ``CreditQuery``. The bundle must
hold, and this checks in this order:

1. the query, signed with a STATEMENT key of the bank, entered in its anchored log and anchored on
   the chain by its hash;
2. the consent it names: opened, signed with a key certified for consents by a department that was
   active when the query was anchored, given to this bank, in force at the time of the query,
   recorded on the chain and not withdrawn before the query was anchored;
3. the receipts whose root the query states, each signed by a department under an agreement with
   this bank for the consent's purpose that the chain had opened;
4. the disputes that the query says the report was made with, all of them and no other: each about a
   record of the report's receipts, signed with a subject's key, certified by a department that was
   active when the chain took the dispute, and its answer, as the chain has them. A query of version
   1 does not say; then the bundle's own limit does (``DISPUTES_NOT_LISTED``).

What was asked in each call stays closed, so that the receipts are not shown to be of calls about
the consent's subject: ``RESULT_NOT_SHOWN``.

The report itself stays closed: the query commits to it, and whoever holds report and salt can show
that it is the one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chain.bundle.claims import VerifiedClaims, VerifiedStatement
from chain.core.canonical import same
from chain.core.errors import Inconsistent
from chain.core.printable import utc
from chain.ethereum.records import AgreementRecord, ConsentRecord, DisputeRecord
from chain.log import merkle
from chain.statements.commitment import consent_id
from chain.statements.credit import Consent, CreditDispute, CreditQuery, CreditRepair
from chain.statements.members import KeyPurpose, SubjectKeyCertificate
from chain.statements.trade import Agreement, UsageOutcome, UsageReceipt
from registry.credit.model import CONSENT_DOMAIN
from registry.credit.rules import LISTED_DOMAIN
from registry.issuers import ISSUER_ROLE, proved_member, require_proved_issuer

RESULT_NOT_SHOWN = (
    "What was asked in the calls stays closed: the bundle does not "
    "show that they were about the consent's subject, "
    "nor that their receipts serve this query alone, nor the grants they were served under."
)
DISPUTES_NOT_SHOWN = (
    "The disputes are those that the bank names: that there are no others, "
    "and that they are the consent's subject's, is not shown."
)
DISPUTES_NOT_LISTED = (
    "The query does not say which disputes the report was made with: "
    "others may have been left out of this bundle."
)


def check(claims: VerifiedClaims, subject: Mapping[str, Any]) -> list[str]:
    """The sentences proved; ``chain.core.errors.Inconsistent`` otherwise."""
    query = claims.statement(CreditQuery)
    query_hash = query.statement.struct_hash()
    _require(
        dict(subject) == {"query": "0x" + query_hash.hex()},
        "subject_differs",
        "The query is another than the bundle says.",
    )
    _certificates(claims)
    anchored_at, sentence = _query(claims, query, query_hash)
    claims.limits.append(RESULT_NOT_SHOWN)
    consent = _consent(claims, query.statement, anchored_at)
    receipts = _receipts(claims, query.statement, anchored_at)
    return [sentence, consent, receipts, _listed(claims, query.statement), *_disputes(claims)]


def _listed(claims: VerifiedClaims, query: CreditQuery) -> str:
    """The bundle's disputes are those of the report, as far as the query says."""
    shown = sorted(
        "0x" + signed.statement.struct_hash().hex() for signed in claims.statements(CreditDispute)
    )
    count = f"{len(shown)} dispute{'' if len(shown) == 1 else 's'}"
    if query.version == 1:
        claims.limits.append(DISPUTES_NOT_LISTED)
        return f"{count} shown."
    claims.limits.append(DISPUTES_NOT_SHOWN)
    record = claims.disclosed(query.report, LISTED_DOMAIN)
    _require(
        isinstance(record, dict) and set(record) == {"content", "disputes"},
        "report_malformed",
        "The query commits to no report.",
    )
    _require(
        record["disputes"] == shown,
        "disputes_differ",
        "The disputes are not those that the query was made with.",
    )
    return f"The query was made with {count}, shown here; the report itself stays closed."


def _certificates(claims: VerifiedClaims) -> None:
    """Exactly the certificates of the keys that signed the consent and the disputes."""
    needed = {
        claims.statement(Consent).signer,
        *(signed.signer for signed in claims.statements(CreditDispute)),
    }
    held = {signed.statement.key for signed in claims.statements(SubjectKeyCertificate)}
    _require(
        held == needed,
        "certificate_mismatch",
        "The certificates are not those of the subject's keys.",
    )


def _query(
    claims: VerifiedClaims, query: VerifiedStatement[CreditQuery], query_hash: bytes
) -> tuple[int, str]:
    bank = query.statement.bank
    _require(
        query.member == bank and query.purpose == KeyPurpose.STATEMENT,
        "wrong_signer",
        "The query is not signed by the bank it names.",
    )
    anchored_at = claims.storage_value("CreditLedger", "queries", query_hash).value
    _require(anchored_at > 0, "query_not_anchored", "The chain does not have the query.")
    logged = claims.log_inclusion(query)
    return anchored_at, (
        f"{bank} made a one-stop credit query, by its own clock at "
        f"{utc(query.statement.issued_at)}; the chain has it "
        f"in {claims.block(anchored_at)}, and the bank's log under the anchor of "
        f"{claims.block(logged.anchored_at)}."
    )


def _consent(claims: VerifiedClaims, query: CreditQuery, anchored_at: int) -> str:
    signed = claims.statement(Consent)
    consent, certificate = signed.statement, signed.certificate
    if certificate is None:
        raise Inconsistent(
            "consent_bad_signature", "The consent is not signed with a certified key."
        )
    named = [
        commitment
        for commitment in claims.commitments(CONSENT_DOMAIN)
        if consent_id(commitment, consent.authority) == query.consent
    ]
    _require(
        bool(named), "not_disclosed", "The bundle does not open the consent that the query names."
    )
    _require(
        same(claims.disclosed(named[0], CONSENT_DOMAIN), consent.to_json()),
        "consent_differs",
        "The consent is not the one the query names.",
    )
    _require(
        signed.signer == consent.authority
        and certificate.purpose == "consent"
        and certificate.subject == consent.subject,
        "consent_bad_signature",
        "The consent's key is not certified for its subject's consents.",
    )
    _require(
        certificate.issuer != consent.bank,
        "consent_by_beneficiary",
        "The bank certified a consent to itself.",
    )
    require_proved_issuer(claims, certificate.issuer, at=anchored_at)
    _require(
        consent.bank == query.bank, "consent_other_bank", "The consent was given to another bank."
    )
    begins = max(consent.not_before, certificate.not_before)
    ends = min(consent.not_after, certificate.not_after)
    _require(
        begins <= query.issued_at <= ends,
        "consent_expired",
        "The consent did not cover the time of the query.",
    )
    return (
        f"The subject consented to {consent.bank} for {consent.purpose} "
        f"with a key certified by {certificate.issuer}, "
        f"{_recorded(claims, query, consent, anchored_at)}."
    )


def _recorded(
    claims: VerifiedClaims, query: CreditQuery, consent: Consent, anchored_at: int
) -> str:
    """When the chain recorded the consent, which was in force at the query's anchor."""
    record = ConsentRecord.decode(
        claims.storage_value("CreditLedger", "consents", query.consent).value
    )
    _require(
        0 < record.recorded_at <= anchored_at and record.authority == consent.authority,
        "consent_missing",
        "The consent was not on the chain when the query was anchored.",
    )
    _require(
        record.withdrawn_at == 0 or record.withdrawn_at >= anchored_at,
        "consent_withdrawn",
        "The consent had been withdrawn before the query was anchored.",
    )
    later = (
        f"; it was withdrawn later, in {claims.block(record.withdrawn_at)}"
        if record.withdrawn_at
        else ""
    )
    return f"recorded in {claims.block(record.recorded_at)}{later}"


def _receipts(claims: VerifiedClaims, query: CreditQuery, anchored_at: int) -> str:
    signed = claims.statements(UsageReceipt)
    _require(bool(signed), "profile_incomplete", "The bundle has no receipt.")
    leaves = [merkle.leaf_hash(verified.statement.struct_hash()) for verified in signed]
    _require(
        merkle.root_of(leaves) == query.receipts_root,
        "receipts_differ",
        "The receipts are not those of the query.",
    )
    agreements = _agreements(claims, query, anchored_at)
    used = {verified.statement.agreement_id for verified in signed}
    _require(
        agreements.keys() == used,
        "agreement_differs",
        "The agreements are not those of the receipts.",
    )
    positions = {
        (verified.statement.agreement_id, verified.statement.lane, verified.statement.seq)
        for verified in signed
    }
    _require(len(positions) == len(signed), "position_twice", "Two receipts name one position.")
    consented_at = ConsentRecord.decode(
        claims.storage_value("CreditLedger", "consents", query.consent).value
    ).recorded_at
    for verified in signed:
        _receipt(verified, agreements[verified.statement.agreement_id], query)
        view = verified.statement.view_height
        claims.require_block(view, verified.statement.view_block)
        _require(
            view <= anchored_at,
            "view_ahead",
            "A receipt names a view of the chain that is younger than the query.",
        )
        _require(
            view >= consented_at,
            "served_before_consent",
            "A call was served on a view in which the chain did not have the consent.",
        )
    paid = sum(verified.statement.amount for verified in signed)
    purpose = claims.statement(Consent).statement.purpose
    return (
        f"{_names(signed)} delivered to {query.bank} and signed "
        f"{len(signed)} receipts over {paid} fen, "
        f"under agreements for {purpose} that the chain had opened."
    )


def _agreements(
    claims: VerifiedClaims, query: CreditQuery, anchored_at: int
) -> dict[bytes, Agreement]:
    """The agreements by their ids, each of a department with this bank for the consent's purpose;
    the chain opened it under both signatures.
    """
    purpose = claims.statement(Consent).statement.purpose
    found: dict[bytes, Agreement] = {}
    for signed in claims.statements(Agreement):
        agreement, agreement_id = signed.statement, signed.statement.struct_hash()
        _require(agreement_id not in found, "agreement_differs", "An agreement is shown twice.")
        provider = (signed.member, signed.signer) == (agreement.provider, agreement.provider_key)
        _require(provider, "wrong_signer", "An agreement is not signed by its provider.")
        _require(
            agreement.buyer == query.bank,
            "agreement_other_buyer",
            "An agreement is another buyer's.",
        )
        _require(
            agreement.purpose == purpose,
            "agreement_other_purpose",
            "An agreement is for another purpose than the consent.",
        )
        _require(
            proved_member(claims, agreement.provider).has_role(ISSUER_ROLE),
            "provider_not_department",
            f"{agreement.provider} is no department.",
        )
        heights = claims.storage_value(
            "TradeSettlement", "agreements", agreement_id, offset=2
        ).value
        opened_at = AgreementRecord.decode(0, 0, heights).opened_at
        _require(
            0 < opened_at <= anchored_at,
            "agreement_not_open",
            "The chain had not opened an agreement when the query was anchored.",
        )
        found[agreement_id] = agreement
    return found


def _receipt(
    signed: VerifiedStatement[UsageReceipt], agreement: Agreement, query: CreditQuery
) -> None:
    _require(
        signed.member != query.bank, "receipt_by_beneficiary", "The bank signed a receipt itself."
    )
    provider = (signed.member, signed.signer) == (agreement.provider, agreement.provider_key)
    _require(
        provider and signed.purpose == KeyPurpose.STATEMENT,
        "wrong_signer",
        "A receipt is not signed by its agreement's provider.",
    )
    _require(
        signed.statement.outcome == UsageOutcome.SERVED,
        "receipt_refused",
        "A receipt is of a refused call.",
    )
    _require(
        signed.statement.issued_at <= query.issued_at,
        "receipts_differ",
        "A receipt is younger than the query.",
    )


def _disputes(claims: VerifiedClaims) -> list[str]:
    repairs = {
        verified.statement.dispute_id: verified for verified in claims.statements(CreditRepair)
    }
    sentences = []
    delivered = {
        (verified.statement.provider, verified.statement.asset_id)
        for verified in claims.statements(Agreement)
    }
    for signed in claims.statements(CreditDispute):
        dispute, dispute_id = signed.statement, signed.statement.struct_hash()
        certificate = signed.certificate
        if (
            certificate is None
            or signed.signer != dispute.authority
            or certificate.purpose != "dispute"
        ):
            raise Inconsistent(
                "dispute_bad_signature",
                "A dispute is not signed with a key certified for disputes.",
            )
        record = DisputeRecord.decode(
            claims.storage_value("CreditLedger", "disputes", dispute_id).value
        )
        _require(
            record.opened_at > 0 and record.department == dispute.department,
            "dispute_unknown",
            "The chain has no such dispute.",
        )
        require_proved_issuer(claims, certificate.issuer, at=record.opened_at)
        about_it = (dispute.department, dispute.asset_id) in delivered
        _require(
            about_it,
            "dispute_of_other",
            "A dispute is of a record of which the report has nothing.",
        )
        answer = repairs.pop(dispute_id, None)
        _require(
            (answer is not None) == (record.answered_at > 0),
            "answer_differs",
            "A dispute's answer is not shown.",
        )
        sentences.append(
            f"A record of {dispute.department} was disputed in {claims.block(record.opened_at)}."
        )
        if answer is not None:
            sentences.append(_answer(claims, dispute_id, dispute, record, answer))
    _require(
        not repairs, "answer_differs", "The bundle holds an answer to a dispute it does not hold."
    )
    return sentences


def _answer(
    claims: VerifiedClaims,
    dispute_id: bytes,
    dispute: CreditDispute,
    record: DisputeRecord,
    answer: VerifiedStatement[CreditRepair],
) -> str:
    repair = answer.statement
    stored = claims.storage_value("CreditLedger", "repairs", dispute_id).value
    _require(
        answer.member == dispute.department == repair.department
        and answer.purpose == KeyPurpose.STATEMENT,
        "wrong_signer",
        "An answer is not signed by the department.",
    )
    same = stored == int.from_bytes(repair.struct_hash(), "big") and repair.upheld == record.upheld
    _require(same, "answer_differs", "The chain has another answer to the dispute.")
    _require(
        repair.old_record == dispute.record, "answer_differs", "An answer is about another record."
    )
    verb = "repaired the record" if repair.upheld else "confirmed the record"
    return (
        f"{repair.department} {verb} in "
        f"{claims.block(record.answered_at)} (asset version {repair.asset_version})."
    )


def _names(signed: list[VerifiedStatement[UsageReceipt]]) -> str:
    return ", ".join(dict.fromkeys(verified.member for verified in signed))


def _require(held: bool, code: str, sentence: str) -> None:
    if not held:
        raise Inconsistent(code, sentence)
