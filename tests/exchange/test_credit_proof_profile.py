"""The bundle of a credit query: a bank with modified code can forge neither consents nor
deliveries.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from chain.bundle.claims import Report
from chain.core.canonical import dumps
from chain.core.crypto import address_of, new_private_key
from chain.core.errors import QiaolianError, VerificationError
from chain.statements.commitment import commit, consent_id, new_salt
from chain.statements.credit import Consent, ConsentRegistration, CreditDispute
from chain.statements.members import KeyPurpose, SubjectKeyCertificate
from chain.statements.trade import Agreement, Share, UsageOutcome
from exchange.reports import service as reports
from registry.assets import publication
from registry.assets.model import Description, Publication
from registry.credit import calls, consents, export, proof_profile, queries
from registry.credit.model import (
    CONSENT_DOMAIN,
    CreditReport,
    DeliveredPart,
    ReportedDispute,
    SignedReceipt,
)
from registry.credit.rules import IDENTITY_DOMAIN
from registry.credit.store import CertificateRow, DisputeRow, StoredConsentRow
from registry.evidence import anchors, checkpoints
from registry.evidence import log as evidence_log
from tests.exchange.conftest import Market, Node
from tests.exchange.test_reports import SUBJECT, Subject, ask, owed
from tests.support.two_verifiers import verify

PURPOSE = "credit-assessment"
PURPOSES = {"credit-assessment": True, "statistics": False}
DESCRIPTION = Description("人员", "People", "For tests", 2, "people")
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def subject(market: Market) -> Subject:
    return Subject(market)


@pytest.fixture(scope="module")
def agreement_id(market: Market) -> bytes:
    market.offer()
    found: bytes = market.open(market.grant(purpose=PURPOSE), cap=10_000)
    return found


@pytest.fixture(scope="module")
def reported(market: Market, subject: Subject, agreement_id: bytes) -> dict[str, Any]:
    """A true report of two calls, with a dispute in it: what its bundle is made from, and the
    bundle.
    """
    consent, _ = subject.consents(), subject.disputes()
    made = ask(market, agreement_id, consent).json()
    row = queries.find_report(market.bank.context, bytes.fromhex(made["queryId"][2:]))
    return {
        "consent": consent,
        "parts": [part_of(receipt) for receipt in row.receipts or ()],
        "bundle": bundle_of(market, row),
    }


def part_of(receipt: SignedReceipt) -> DeliveredPart:
    """What ``record_report`` is given for one receipt."""
    agreement = receipt.agreement
    return DeliveredPart(agreement.provider, agreement.asset_id, {}, receipt)


def bundle_of(market: Market, made: CreditReport) -> bytes:
    """The bundle of a query, once the chain has it and the bank's log is anchored."""
    context = market.bank.context
    market.bank.done(made.operation)
    checkpoints.make_checkpoint(context)
    if anchors.anchor_if_due(context, at_once=True):
        market.bank.done(f"anchor/{evidence_log.LOG_EPOCH}/{evidence_log.log_size(context)}")
    market.settle()
    anchors.complete_anchors(context)
    return export.bundle(context, made.query_id)


def checked(market: Market, bundle: bytes) -> Report:
    return verify(bundle, market.trust, {"credit": proof_profile.check})


def claimed(
    market: Market,
    consent: str,
    parts: list[DeliveredPart],
    code: str,
    disputes: Sequence[ReportedDispute] = (),
) -> None:
    """The bank signs and anchors a query over what it put together; a verifier refuses the bundle
    with this code.
    """
    made = queries.record_report(
        market.bank.context,
        subject=new_salt().hex(),
        consent=bytes.fromhex(consent[2:]),
        parts=parts,
        disputes=disputes,
    )
    bundle = bundle_of(market, made)
    with pytest.raises(VerificationError) as refused:
        checked(market, bundle)
    assert refused.value.code == code


# --- A true report --------------------------------------------------------------------------------


def test_a_query_shows_who_certified_who_delivered_and_under_what_and_says_what_it_does_not_show(
    market: Market, reported: dict[str, Any]
) -> None:
    report = checked(market, reported["bundle"])
    department, bank = market.department.member, market.bank.member
    assert any(f"certified by {department}" in name for name in report.proved)
    receipts = f"{department} delivered to {bank} and signed 2 receipts over 100 fen, under agreements for {PURPOSE} that the chain had opened."
    assert receipts in report.proved
    assert report.limits[1:] == (proof_profile.RESULT_NOT_SHOWN, proof_profile.DISPUTES_NOT_SHOWN)


def test_nothing_that_shows_issuer_delivery_or_agreement_can_be_left_out(
    market: Market, reported: dict[str, Any]
) -> None:
    for section in ("statements", "storage", "keys"):
        for index in range(len(json.loads(reported["bundle"])[section])):
            value = json.loads(reported["bundle"])
            del value[section][index]
            with pytest.raises(VerificationError):
                checked(market, dumps(value))


# --- Receipts -------------------------------------------------------------------------------------


def invented(
    market: Market,
    part: DeliveredPart,
    *,
    agreement: Agreement | None = None,
    signer: Any = None,
) -> DeliveredPart:
    """A receipt that nobody gave: another number of units, signed by the bank or a helper, under
    this or another agreement.
    """
    true = part.receipt
    agreement = agreement or true.agreement
    receipt = replace(
        true.receipt,
        agreement_id=agreement.struct_hash(),
        units=7,
        outcome=int(UsageOutcome.SERVED),
    )
    signed = (signer or market.bank).context.sign
    agreement_signature = (
        true.agreement_signature if agreement == true.agreement else signed(agreement)
    )
    made = SignedReceipt(receipt, signed(receipt), agreement, agreement_signature)
    return replace(part, receipt=made)


def between(market: Market, part: DeliveredPart, provider: Any) -> Agreement:
    """An agreement like the true one, with another provider."""
    key = provider.context.signers[KeyPurpose.STATEMENT].address
    return replace(
        part.receipt.agreement,
        provider=provider.member,
        provider_key=key,
        nonce=new_salt(),
    )


def test_a_receipt_that_the_bank_signed_itself_is_no_departments(
    market: Market, reported: dict[str, Any]
) -> None:
    part = reported["parts"][0]
    claimed(market, reported["consent"], [invented(market, part)], "receipt_by_beneficiary")
    of_itself = invented(market, part, agreement=between(market, part, market.bank))
    claimed(market, reported["consent"], [of_itself], "provider_not_department")


def test_a_receipt_that_another_bank_signed_for_it_is_no_departments(
    market: Market, reported: dict[str, Any]
) -> None:
    part, helper = reported["parts"][0], market.settlement_bank
    claimed(market, reported["consent"], [invented(market, part, signer=helper)], "wrong_signer")
    under_theirs = invented(market, part, agreement=between(market, part, helper), signer=helper)
    claimed(market, reported["consent"], [under_theirs], "provider_not_department")


def test_an_agreement_that_the_chain_never_opened_shows_no_delivery(
    market: Market, reported: dict[str, Any]
) -> None:
    """A department could sign one secretly."""
    part, department = reported["parts"][0], market.department
    secret = invented(market, part, agreement=between(market, part, department), signer=department)
    claimed(market, reported["consent"], [secret], "agreement_not_open")


def bought(buyer: Any, agreement_id: bytes, served: Any, part: DeliveredPart) -> DeliveredPart:
    """A true receipt of another call, as a part of a report."""
    signed = reports.agreements.load(buyer.context, agreement_id)  # type: ignore[attr-defined]
    receipt, signature = reports._receipt(buyer.context, agreement_id, served.lane, served.seq)
    made = SignedReceipt(receipt, signature, signed.agreement, signed.provider_signature)
    return replace(part, receipt=made)


def test_a_call_for_another_purpose_is_no_part_of_a_credit_query(
    market: Market, reported: dict[str, Any]
) -> None:
    other = market.open(market.grant(purpose="statistics"), cap=1000)
    part = bought(market.bank, other, market.call(other, 7), reported["parts"][0])
    claimed(market, reported["consent"], [part], "agreement_other_purpose")


def test_another_buyers_call_is_no_part_of_a_credit_query(
    market: Market, reported: dict[str, Any]
) -> None:
    theirs = replace(market, bank=market.operator)
    theirs.deposit(market.operator.member, 1000, "theirs")
    theirs.settle()
    theirs.offer(
        shares=(Share(market.department.member, 10_000),)
    )  # a buyer has no share in what it pays
    other = theirs.open(theirs.grant(purpose="statistics"), cap=1000)
    market.offer()
    part = bought(market.operator, other, theirs.call(other, 7), reported["parts"][0])
    claimed(market, reported["consent"], [part], "agreement_other_buyer")


def test_a_receipt_comes_with_the_agreement_it_names(
    market: Market, reported: dict[str, Any]
) -> None:
    first = reported["parts"][0]
    other = replace(first.receipt, agreement=between(market, first, market.bank))
    with pytest.raises(QiaolianError) as refused:
        queries.record_report(
            market.bank.context,
            subject=SUBJECT,
            consent=bytes.fromhex(reported["consent"][2:]),
            parts=[replace(first, receipt=other)],
            disputes=[],
        )
    assert refused.value.code == "report_malformed"


def test_a_report_buys_nothing_from_a_member_that_is_no_department(
    market: Market, subject: Subject, agreement_id: bytes
) -> None:
    sold = replace(market, department=market.operator)
    wanted = Publication(
        "people",
        "people",
        DESCRIPTION,
        dict.fromkeys(("seniority", "age", "job", "code"), "keep"),
        purposes=PURPOSES,
    )
    made = publication.publish(sold.department.context, wanted)
    sold.department.done(made.operation)
    sold.asset_id = made.asset_id
    sold.settle()
    sold.offer(shares=(Share(market.operator.member, 10_000),))
    theirs = sold.open(sold.grant(purpose=PURPOSE), cap=1000)
    before = owed(market, agreement_id)
    parts = [reports.ReportPart(value, ("seniority",)) for value in (agreement_id, theirs)]
    consent = bytes.fromhex(subject.consents()[2:])
    with pytest.raises(QiaolianError) as refused:
        market.run(
            reports.make(
                market.bank.context,
                subject=SUBJECT,
                consent=consent,
                purpose=PURPOSE,
                parts=parts,
                key="theirs",
            )
        )
    assert (refused.value.code, owed(market, agreement_id)) == ("provider_not_department", before)


# --- Consents -------------------------------------------------------------------------------------


def made_up(market: Market, helper: Any) -> str:
    """A consent under a key that a helping member certified as the firm's; on the chain and
    stored by the bank. Its commitment.
    """
    key, salt, identity_salt, identity = (
        new_private_key(),
        new_salt(),
        new_salt(),
        {"code": SUBJECT},
    )
    person, now = commit(identity_salt, IDENTITY_DOMAIN, identity), market.bank.context.now()
    certificate = SubjectKeyCertificate(
        1, helper.member, person, address_of(key), "consent", now - 60, 2**40
    )
    consent = Consent(
        1, person, market.bank.member, PURPOSE, now - 60, now + 10_000_000, address_of(key)
    )
    commitment = commit(salt, CONSENT_DOMAIN, consent.to_json())
    registration = ConsentRegistration(1, commitment, address_of(key), 2**40)
    consent_hash = consent_id(commitment, address_of(key))
    signed = Subject(market).signed
    package = {
        "consent": consent.to_json(),
        "signature": "0x" + signed(key, consent).hex(),
        "salt": "0x" + salt.hex(),
        "certificate": certificate.to_json(),
        "certificateSignature": "0x" + helper.context.sign(certificate).hex(),
        "identity": identity,
        "identitySalt": "0x" + identity_salt.hex(),
    }
    market.operator.done(
        consents.relay_consent(market.operator.context, registration, signed(key, registration))
    )
    market.settle()
    market.bank.context.database.write(
        lambda session: session.add(
            StoredConsentRow(
                commitment=consent_hash,
                subject=SUBJECT,
                authority=address_of(key),
                package=package,
            )
        )
    )
    return "0x" + consent_hash.hex()


@pytest.mark.parametrize("name", ["settlement_bank", "operator", "supervisor"])
def test_a_consent_made_up_with_another_members_help_opens_no_record(
    market: Market, agreement_id: bytes, name: str
) -> None:
    before = owed(market, agreement_id)
    answer = ask(market, agreement_id, made_up(market, getattr(market, name)))
    assert (answer.status_code, answer.json()["code"]) == (403, "issuer_not_department")
    assert owed(market, agreement_id) == before


@pytest.mark.parametrize("name", ["settlement_bank", "operator", "supervisor"])
def test_a_consent_made_up_with_another_members_help_convinces_no_verifier(
    market: Market, reported: dict[str, Any], name: str
) -> None:
    claimed(
        market,
        made_up(market, getattr(market, name)),
        reported["parts"][:1],
        "issuer_not_department",
    )


@contextmanager
def suspended(market: Market, node: Node) -> Iterator[None]:
    market.governance.execute("suspend", node.member, b"test".ljust(32, b"\0"))
    market.settle()
    try:
        yield
    finally:
        market.governance.execute("lift", node.member)
        market.settle()


def test_a_consent_certified_by_an_issuer_suspended_before_the_query_convinces_no_verifier(
    market: Market, reported: dict[str, Any]
) -> None:
    with suspended(market, market.department):
        claimed(market, reported["consent"], reported["parts"][1:], "issuer_not_department")
    assert checked(market, reported["bundle"])


def test_an_issuer_suspended_twice_since_is_shown_as_it_was(
    market: Market, reported: dict[str, Any]
) -> None:
    for _ in range(2):
        market.mine(1, 1)
        with suspended(market, market.department):
            pass
    again = export.bundle(
        market.bank.context, bytes.fromhex(json.loads(reported["bundle"])["subject"]["query"][2:])
    )
    assert checked(market, again).proved[1:] == checked(market, reported["bundle"]).proved[1:]


# --- Disputes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["settlement_bank", "operator", "supervisor"])
def test_a_dispute_made_up_with_another_members_help_convinces_no_verifier(
    market: Market, reported: dict[str, Any], name: str
) -> None:
    """The chain takes a dispute under any key: only its issuer can name its owner."""
    helper, relayer, key, now = (
        getattr(market, name),
        market.operator,
        new_private_key(),
        market.bank.context.now(),
    )
    dispute = CreditDispute(
        1, market.department.member, market.asset_id, new_salt(), new_salt(), address_of(key), now
    )
    certificate = SubjectKeyCertificate(
        1, helper.member, new_salt(), address_of(key), "dispute", now - 60, 2**40
    )
    signature = Subject(market).signed(key, dispute)
    relayer.done(
        calls.send_call(
            relayer.context, f"made-up/{key.hex()}", "raiseDispute", [dispute, signature]
        )
    )
    market.settle()
    made = ReportedDispute(
        department=market.department.member,
        asset_id=market.asset_id,
        before={},
        after=None,
        statement=dispute,
        signature=signature,
        certificate=certificate,
        certificate_signature=helper.context.sign(certificate),
        repair=None,
        repair_signature=None,
    )
    claimed(market, reported["consent"], reported["parts"][:1], "issuer_not_department", [made])


def dispute_and_certificate(market: Market, dispute_id: bytes) -> list[dict[str, Any]]:
    """What shows a dispute in a bundle: its certificate and itself."""
    with market.department.context.database.read() as session:
        row = session.get_one(DisputeRow, dispute_id)
        certified = session.get_one(CertificateRow, row.authority)
    return [
        {
            "type": "SubjectKeyCertificate",
            "message": certified.certificate,
            "signature": "0x" + certified.signature.hex(),
        },
        {"type": "CreditDispute", "message": row.dispute, "signature": "0x" + row.signature.hex()},
    ]


def edited_disputes(bundle: bytes, instead: Sequence[dict[str, Any]]) -> bytes:
    """A bundle without its dispute and the certificate of the key that signed it; with others
    instead.
    """
    value = json.loads(bundle)
    (dispute,) = (shown for shown in value["statements"] if shown["type"] == "CreditDispute")
    authority = dispute["message"]["authority"]
    value["statements"] = [
        shown
        for shown in value["statements"]
        if shown is not dispute and shown["message"].get("key") != authority
    ]
    value["statements"] += instead
    return dumps(value)


def test_a_dispute_left_out_or_put_in_another_s_place_differs_from_what_the_query_was_made_with(
    market: Market, subject: Subject, reported: dict[str, Any]
) -> None:
    """The query commits to its disputes: a bank shows none fewer, none of later, and none of
    another person.
    """
    own = dispute_and_certificate(market, subject.disputes())
    others = dispute_and_certificate(market, Subject(market, "92440700MA4W000008").disputes())
    whole = json.loads(reported["bundle"])["statements"]
    for forged in (
        edited_disputes(reported["bundle"], []),
        edited_disputes(reported["bundle"], own),
        edited_disputes(reported["bundle"], others),
        dumps({**json.loads(reported["bundle"]), "statements": [*whole, *others]}),
    ):
        with pytest.raises(VerificationError) as refused:
            checked(market, forged)
        assert refused.value.code == "disputes_differ"
