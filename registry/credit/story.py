"""A credit query, checked from a bundle: under which consent a bank looked, what it paid for, what was disputed. Pure.

``subject`` is ``{"query": 0x…}``, the struct hash of the bank's ``CreditQuery``. The bundle must hold, and this checks in this order:

1. the query, signed with a STATEMENT key of the bank, entered in its anchored log and anchored on the chain by its hash;
2. the consent it names: opened, signed with a key certified for consents by an office other than the bank, given to this bank, in force at the
   time of the query, recorded on the chain and not withdrawn before the query was anchored;
3. the receipts of all departments, signed by them, whose root the query states;
4. each dispute of a record, signed with the subject's certified key, and its answer, as the chain has them.

The report itself stays closed: the query commits to it, and whoever holds report and salt can show that it is the one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chain import merkle
from chain.bundle import Facts, Signed
from chain.errors import Inconsistent
from chain.statements import (
    Consent,
    CreditDispute,
    CreditQuery,
    CreditRepair,
    KeyPurpose,
    Outcome,
    SubjectKeyCertificate,
    UsageReceipt,
)
from chain.words import ConsentWord, DisputeWord

CONSENT_DOMAIN = "qiaolian.consent.v1"


def check(facts: Facts, subject: Mapping[str, Any]) -> list[str]:
    """The sentences proved; ``chain.errors.Inconsistent`` otherwise."""
    query = facts.one(CreditQuery)
    query_hash = query.statement.struct_hash()
    _require(dict(subject) == {"query": "0x" + query_hash.hex()}, "subject_differs", "The query is another than the bundle says.")
    _certificates(facts)
    anchored_at, sentence = _query(facts, query, query_hash)
    return [
        sentence,
        _consent(facts, query.statement, anchored_at),
        _receipts(facts, query.statement),
        *_disputes(facts),
    ]


def _certificates(facts: Facts) -> None:
    """Exactly the certificates of the keys that signed the consent and the disputes."""
    needed = {facts.one(Consent).signer, *(each.signer for each in facts.all(CreditDispute))}
    held = {each.statement.key for each in facts.all(SubjectKeyCertificate)}
    _require(held == needed, "certificate_mismatch", "The certificates are not those of the subject's keys.")


def _query(facts: Facts, query: Signed[CreditQuery], query_hash: bytes) -> tuple[int, str]:
    bank = query.statement.bank
    _require(
        query.member == bank and query.purpose == KeyPurpose.STATEMENT,
        "wrong_signer",
        "The query is not signed by the bank it names.",
    )
    anchored_at = facts.word("CreditLedger", "queries", query_hash).value
    _require(anchored_at > 0, "query_not_anchored", "The chain does not have the query.")
    logged = facts.logged(query)
    return anchored_at, (
        f"{bank} made a one-stop credit query at {query.statement.issued_at}; the chain has it at block {anchored_at}, "
        f"and the bank's log under the anchor of block {logged.anchored_at}."
    )


def _consent(facts: Facts, query: CreditQuery, anchored_at: int) -> str:
    signed = facts.one(Consent)
    consent, certificate = signed.statement, signed.certificate
    if certificate is None:
        raise Inconsistent("consent_bad_signature", "The consent is not signed with a certified key.")
    _require(
        facts.opened(query.consent, CONSENT_DOMAIN) == consent.to_json(),
        "consent_differs",
        "The consent is not the one the query names.",
    )
    _require(
        signed.signer == consent.authority and certificate.purpose == "consent" and certificate.subject == consent.subject,
        "consent_bad_signature",
        "The consent's key is not certified for its subject's consents.",
    )
    _require(certificate.issuer != consent.bank, "consent_by_beneficiary", "The bank certified a consent to itself.")
    _require(consent.bank == query.bank, "consent_other_bank", "The consent was given to another bank.")
    begins = max(consent.not_before, certificate.not_before)
    ends = min(consent.not_after, certificate.not_after)
    _require(begins <= query.issued_at <= ends, "consent_expired", "The consent did not cover the time of the query.")
    word = ConsentWord.decode(facts.word("CreditLedger", "consents", query.consent).value)
    _require(
        0 < word.recorded_at <= anchored_at and word.authority == consent.authority,
        "consent_missing",
        "The consent was not on the chain when the query was anchored.",
    )
    _require(
        word.withdrawn_at == 0 or word.withdrawn_at >= anchored_at,
        "consent_withdrawn",
        "The consent had been withdrawn before the query was anchored.",
    )
    later = f"; it was withdrawn later, at block {word.withdrawn_at}" if word.withdrawn_at else ""
    return (
        f"The subject consented to {consent.bank} for {consent.purpose} with a key certified by {certificate.issuer}, "
        f"recorded at block {word.recorded_at}{later}."
    )


def _receipts(facts: Facts, query: CreditQuery) -> str:
    signed = facts.all(UsageReceipt)
    _require(bool(signed), "story_incomplete", "The story has no receipt.")
    leaves = [merkle.leaf_hash(each.statement.struct_hash()) for each in signed]
    _require(merkle.root_of(leaves) == query.receipts_root, "receipts_differ", "The receipts are not those of the query.")
    for each in signed:
        _require(
            bool(each.member) and each.purpose == KeyPurpose.STATEMENT,
            "wrong_signer",
            "A receipt is not signed by a department.",
        )
        _require(each.statement.outcome == Outcome.SERVED, "receipt_refused", "A receipt is of a refused call.")
        _require(each.statement.issued_at <= query.issued_at, "receipts_differ", "A receipt is younger than the query.")
    paid = sum(each.statement.amount for each in signed)
    return f"{len(signed)} departments delivered for it and signed receipts over {paid} fen: {_names(signed)}."


def _disputes(facts: Facts) -> list[str]:
    repairs = {each.statement.dispute_id: each for each in facts.all(CreditRepair)}
    sentences = []
    for signed in facts.all(CreditDispute):
        dispute, dispute_id = signed.statement, signed.statement.struct_hash()
        certificate = signed.certificate
        _require(
            certificate is not None and signed.signer == dispute.authority and certificate.purpose == "dispute",
            "dispute_bad_signature",
            "A dispute is not signed with a key certified for disputes.",
        )
        word = DisputeWord.decode(facts.word("CreditLedger", "disputes", dispute_id).value)
        _require(word.opened_at > 0 and word.department == dispute.department, "dispute_unknown", "The chain has no such dispute.")
        answer = repairs.pop(dispute_id, None)
        _require((answer is not None) == (word.answered_at > 0), "answer_differs", "A dispute's answer is not shown.")
        sentences.append(f"A record of {dispute.department} was disputed at block {word.opened_at}.")
        if answer is not None:
            sentences.append(_answer(facts, dispute_id, dispute, word, answer))
    _require(not repairs, "answer_differs", "The bundle holds an answer to a dispute it does not hold.")
    return sentences


def _answer(facts: Facts, dispute_id: bytes, dispute: CreditDispute, word: DisputeWord, answer: Signed[CreditRepair]) -> str:
    repair = answer.statement
    kept = facts.word("CreditLedger", "repairs", dispute_id).value
    _require(
        answer.member == dispute.department == repair.department and answer.purpose == KeyPurpose.STATEMENT,
        "wrong_signer",
        "An answer is not signed by the department.",
    )
    same = kept == int.from_bytes(repair.struct_hash(), "big") and repair.upheld == word.upheld
    _require(same, "answer_differs", "The chain has another answer to the dispute.")
    _require(repair.old_record == dispute.record, "answer_differs", "An answer is about another record.")
    verb = "repaired the record" if repair.upheld else "stood by the record"
    return f"{repair.department} {verb} at block {word.answered_at} (asset version {repair.asset_version})."


def _names(signed: list[Signed[UsageReceipt]]) -> str:
    return ", ".join(dict.fromkeys(each.member for each in signed))


def _require(held: bool, code: str, sentence: str) -> None:
    if not held:
        raise Inconsistent(code, sentence)
