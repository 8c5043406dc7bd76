"""Consents: the subject's own one-time key, a relayer that cannot alter them, checked for every
use, withdrawn at will.
"""

from __future__ import annotations

import asyncio
import copy
import secrets
import time
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.orm import Session

from chain import outbox
from chain.core.crypto import new_private_key, sign_digest
from chain.core.errors import BadInput, Forbidden, NotFound, QiaolianError
from chain.statements.commitment import commit, consent_id, new_salt
from chain.statements.credit import Consent, ConsentRegistration, ConsentWithdrawal, CreditDispute
from chain.statements.examples import example
from chain.statements.trade import Agreement, UsageReceipt
from registry.credit import consents, disputes
from registry.credit.model import (
    ConsentPackage,
    DeliveredPart,
    ReportedDispute,
    SignedReceipt,
)
from registry.credit.rules import CLAIM_DOMAIN, combine, consent_records, require_consent
from registry.grants import service as grants
from registry.pages import PageRequest
from tests.registry.conftest import Network

RECORDS = [{"subject": f"C{index:03d}", "Seniority": index, "Job": "fixed"} for index in range(5)]


def use(network: Network, package: Any, commitment: bytes, subject: str, **changed: Any) -> None:
    """Ask as a department's gateway does."""
    context = network["tax"].context
    checked = None if package is None else consents.check_consent(context, package)
    records = context.view.proved([] if checked is None else consent_records(checked))
    asked: dict[str, Any] = {
        "commitment": "0x" + commitment.hex(),
        "subject": subject,
        "bank": network["bank"].member,
        "purpose": "credit-assessment",
        "now": int(time.time()),
    }
    require_consent(checked, records, **(asked | changed))


@pytest.fixture
def given(network: Network, person: Any) -> tuple[Any, dict[str, Any], bytes]:
    """A person, its consent to the bank, and the commitment on the chain."""
    subject = person()
    package = network.consent("registrar", subject, "bank")
    return subject, package, network.record_consent("operator", subject, package)


def test_a_recorded_consent_covers_its_bank_purpose_subject_and_time(
    network: Network, given: Any
) -> None:
    subject, package, commitment = given
    use(network, package, commitment, subject.code)
    refused: dict[str, dict[str, Any]] = {
        "consent_other_subject": {"subject": "somebody"},
        "consent_other_bank": {"bank": network["agency"].member},
        "consent_other_purpose": {"purpose": "marketing"},
        "consent_expired": {"now": int(time.time()) + 2 * 365 * 86_400},
    }
    for code, changed in refused.items():
        with pytest.raises(Forbidden) as caught:
            use(network, package, commitment, **({"subject": subject.code} | changed))
        assert caught.value.code == code
    with pytest.raises(Forbidden) as nothing:
        use(network, None, commitment, subject.code)
    assert nothing.value.code == "consent_missing"
    with pytest.raises(BadInput) as another:
        use(network, package, bytes(32), subject.code)
    assert another.value.code == "consent_malformed"


def test_a_consent_that_is_not_on_the_chain_covers_nothing(network: Network, person: Any) -> None:
    subject = person()
    package = network.consent("registrar", subject, "bank")
    consent = Consent.from_json(package["consent"])
    commitment = commit(
        bytes.fromhex(package["salt"][2:]), "qiaolian.consent.v1", consent.to_json()
    )
    with pytest.raises(Forbidden) as caught:
        use(network, package, consent_id(commitment, consent.authority), subject.code)
    assert caught.value.code == "consent_missing"


def test_a_relayer_can_neither_alter_nor_invent_a_consent(network: Network, person: Any) -> None:
    subject = person()
    registration = ConsentRegistration(
        version=1, commitment=secrets.token_bytes(32), authority=subject.address, deadline=2**40
    )
    signature = subject.sign(registration, network.deployment)
    operator = network["operator"].context
    for altered in (
        replace(registration, commitment=bytes(32)),
        replace(registration, deadline=2**39),
    ):
        with pytest.raises(Forbidden) as caught:
            consents.relay_consent(operator, altered, signature)
        assert caught.value.code == "wrong_authority"
        address, data = network.ledger.encode("CreditLedger", "recordConsent", altered, signature)
        with pytest.raises(QiaolianError):
            network.ledger.simulate(address, data, sender=operator.transaction_address)


def test_a_commitment_taken_first_under_another_key_leaves_the_consent_valid(
    network: Network, person: Any
) -> None:
    """Whoever sees the registration on its way registers the same commitment under a key of its
    own, at once and through the same relayer.
    """
    subject, thief = person(), person()
    package = network.consent("registrar", subject, "bank")
    consent = Consent.from_json(package["consent"])
    commitment = commit(
        bytes.fromhex(package["salt"][2:]), "qiaolian.consent.v1", consent.to_json()
    )
    squatted = ConsentRegistration(
        version=1, commitment=commitment, authority=thief.address, deadline=2**40
    )
    operator = network["operator"]
    operator.done(
        consents.relay_consent(operator.context, squatted, thief.sign(squatted, network.deployment))
    )
    consent_of_subject = network.record_consent("operator", subject, package)
    use(network, package, consent_of_subject, subject.code)
    withdrawal = ConsentWithdrawal(version=1, consent=consent_of_subject, deadline=2**40)
    with pytest.raises(Forbidden) as refused:
        consents.relay_withdrawal(
            operator.context, withdrawal, thief.sign(withdrawal, network.deployment)
        )
    assert refused.value.code == "wrong_authority"


def test_strangers_fill_a_relayers_queue_only_so_far(
    network: Network, person: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, node = person(), network["agency"]
    registration = ConsentRegistration(
        version=1, commitment=secrets.token_bytes(32), authority=subject.address, deadline=2**40
    )
    body = {
        "registration": registration.to_json(),
        "signature": "0x" + subject.sign(registration, network.deployment).hex(),
    }
    monkeypatch.setattr(consents, "MAX_QUEUED", 0)
    with pytest.raises(QiaolianError) as refused:
        node.call("POST", "/v1/consents", body)
    assert (refused.value.code, refused.value.status) == ("relay_busy", 503)
    monkeypatch.undo()
    node.done(node.call("POST", "/v1/consents", body)["operation"])


def test_a_relayers_own_backlog_shuts_no_subject_out(
    network: Network, person: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, node = person(), network["agency"]
    own = ConsentWithdrawal(version=1, consent=secrets.token_bytes(32), deadline=2**40)
    arguments = [own, subject.sign(own, network.deployment)]
    registration = ConsentRegistration(
        version=1, commitment=secrets.token_bytes(32), authority=subject.address, deadline=2**40
    )
    signature = subject.sign(registration, network.deployment)
    sender = node.context.transaction_address

    def owe(session: Session) -> None:
        for number in range(20):
            outbox.enqueue(
                session,
                sender=sender,
                operation_id=f"own/{number}",
                contract="CreditLedger",
                function="withdrawConsent",
                arguments=arguments,
            )

    monkeypatch.setattr(consents, "MAX_QUEUED", 1)
    node.context.database.write(owe)
    node.done(consents.relay_consent(node.context, registration, signature))


def test_a_withdrawn_consent_covers_nothing_more(network: Network, given: Any) -> None:
    subject, package, commitment = given
    withdrawal = ConsentWithdrawal(version=1, consent=commitment, deadline=2**40)
    operator = network["operator"]
    stranger = sign_digest(
        new_private_key(), withdrawal.digest(network.deployment.domain("CreditLedger"))
    )
    with pytest.raises(Forbidden) as forged:
        consents.relay_withdrawal(operator.context, withdrawal, stranger)
    assert forged.value.code == "wrong_authority"
    with pytest.raises(NotFound):
        consents.relay_withdrawal(
            operator.context, replace(withdrawal, consent=bytes(32)), stranger
        )
    use(network, package, commitment, subject.code)
    operator.done(
        consents.relay_withdrawal(
            operator.context, withdrawal, subject.sign(withdrawal, network.deployment)
        )
    )
    network.sync()
    with pytest.raises(Forbidden) as caught:
        use(network, package, commitment, subject.code)
    assert caught.value.code == "consent_withdrawn"


def _other_key(package: dict[str, Any]) -> None:
    package["signature"] = "0x" + sign_digest(new_private_key(), bytes(32)).hex()


def _other_identity(package: dict[str, Any]) -> None:
    package["identity"] = {**package["identity"], "code": "P000000000000"}


def _longer(package: dict[str, Any]) -> None:
    package["consent"]["notAfter"] += 86_400


def _other_certificate(package: dict[str, Any]) -> None:
    package["certificate"]["purpose"] = "deal"


def _own_certificate(package: dict[str, Any]) -> None:
    package["certificateSignature"] = package["signature"]


@pytest.mark.parametrize(
    "change", [_other_key, _other_identity, _longer, _other_certificate, _own_certificate]
)
def test_a_changed_consent_is_refused_also_after_the_true_one_was_seen(
    network: Network, given: Any, change: Any
) -> None:
    subject, package, commitment = given
    use(network, package, commitment, subject.code)
    changed = copy.deepcopy(package)
    change(changed)
    with pytest.raises(QiaolianError) as caught:
        use(network, changed, commitment, subject.code)
    assert caught.value.code in ("consent_bad_signature", "consent_malformed")


@pytest.mark.parametrize(
    "package", [{}, [], "consent", {"consent": None}, {"consent": {"version": 1e400}}, 7]
)
def test_what_is_no_package_is_malformed(network: Network, package: Any) -> None:
    with pytest.raises(BadInput) as caught:
        use(network, package, bytes(32), "nobody")
    assert caught.value.code == "consent_malformed"


def test_a_bank_cannot_certify_its_own_consents_and_keeps_only_those_given_to_it(
    network: Network, person: Any, given: Any
) -> None:
    subject, package = person(), ConsentPackage.from_json(given[1])
    certified = network.consent(
        "bank", subject, "bank", certified=network.vouch("bank", subject, "consent")
    )
    with pytest.raises(Forbidden) as own:
        consents.store_consent(network["bank"].context, ConsentPackage.from_json(certified))
    assert own.value.code == "consent_by_beneficiary"
    with pytest.raises(Forbidden) as other:
        consents.store_consent(network["agency"].context, package)
    assert other.value.code == "consent_other_bank"
    assert consents.store_consent(network["bank"].context, package) == given[2]
    assert consents.stored_package(network["bank"].context, given[2]) == package
    (held,) = (
        held
        for held in consents.held(network["bank"].context, PageRequest(200)).rows
        if held.status.consent_id == given[2]
    )
    assert (held.package, held.status.withdrawn_at) == (package, 0)
    assert held.status.recorded_at > 0
    with pytest.raises(NotFound) as unknown:
        consents.stored_package(network["bank"].context, bytes(32))
    assert unknown.value.code == "consent_unknown"


def test_a_suspended_offices_certificates_count_no_longer(network: Network, person: Any) -> None:
    subject = person()
    package = network.consent("registrar", subject, "bank")
    commitment = network.record_consent("operator", subject, package)
    use(network, package, commitment, subject.code)
    with network.suspended("registrar"):
        with pytest.raises(Forbidden) as caught:
            use(network, package, commitment, subject.code)
        assert caught.value.code == "consent_bad_signature"
    use(network, package, commitment, subject.code)


# --- Disputes -------------------------------------------------------------------------------------


def dispute_of(
    network: Network, subject: Any, asset_id: bytes, claim: dict[str, Any], salt: bytes
) -> CreditDispute:
    from registry.assets.serving import record_commitment

    record, _ = record_commitment(network["tax"].context, asset_id, 1, subject.code)
    fields: dict[str, Any] = {
        "version": 1,
        "department": network["tax"].member,
        "asset_id": asset_id,
        "record": record,
        "claim": commit(salt, CLAIM_DOMAIN, claim),
        "authority": subject.address,
        "raised_at": int(time.time()),
    }
    return CreditDispute(**fields)


def rights(network: Network, subject: Any, asset_id: bytes) -> tuple[bytes, dict[str, Any]]:
    """The bank's grant for the asset, and the subject's consent: what it takes to see the record
    itself.
    """
    grant_id = network.request_grant("bank", "tax", asset_id, ["Seniority"])
    network.decide("tax", grant_id)
    person = type(subject)(subject.code)
    package = network.consent("registrar", person, "bank")
    network.record_consent("operator", person, package)
    return grant_id, package


def seek(
    network: Network, caller: str, grant_id: bytes, package: Any, subject: str, **changed: Any
) -> list[dict[str, Any]]:
    """What the department's node reports to a member's node of disputes."""
    body = {
        "subject": subject,
        "columns": ["Seniority"],
        "purpose": "credit-assessment",
        "grantId": "0x" + grant_id.hex(),
        "consent": package,
    }
    answer = network["tax"].answer(
        "POST", "/v1/peer/disputes", body | changed, {"x-member": network[caller].member}
    )
    found: list[dict[str, Any]] = asyncio.run(answer)["disputes"]
    return found


def disputes_seen(network: Network, subject: Any, asset_id: bytes) -> list[dict[str, Any]]:
    return seek(network, "bank", *rights(network, subject, asset_id), subject.code)


def test_disputes_are_told_to_nobody_who_may_not_see_the_record(
    network: Network, person: Any
) -> None:
    """A dispute shows values of the record, so it takes what the record takes: a live grant of the
    caller's own and the subject's consent.
    """
    subject, other = person(), person()
    asset_id = network.publish(
        "tax",
        [
            {"subject": subject.code, "Seniority": 9, "Debt": 5},
            {"subject": other.code, "Seniority": 1, "Debt": 7},
        ],
    )
    grant_id, package = rights(network, subject, asset_id)
    assert seek(network, "bank", grant_id, package, subject.code) == []
    refusals: dict[str, dict[str, Any]] = {
        "grant_of_others": {"caller": "agency"},
        "grant_unknown": {"grantId": "0x" + "77" * 32},
        "column_not_granted": {"columns": ["Debt"]},
        "purpose_not_granted": {"purpose": "anti-fraud"},
        "consent_other_subject": {"subject": other.code},
        "consent_malformed": {"consent": {}},
    }
    for code, changed in refusals.items():
        caller, asked = changed.pop("caller", "bank"), {"subject": subject.code, **changed}
        with pytest.raises(QiaolianError) as refused:
            seek(network, caller, grant_id, package, asked.pop("subject"), **asked)
        assert refused.value.code == code
    revocation, signature = network.revocation("tax", grant_id)
    network["tax"].done(grants.revoke(network["tax"].context, grant_id, revocation, signature))
    with pytest.raises(Forbidden) as revoked:
        seek(network, "bank", grant_id, package, subject.code)
    assert revoked.value.code == "grant_revoked"


def test_a_disputed_record_is_repaired_and_both_values_are_shown(
    network: Network, person: Any
) -> None:
    subject = person()
    asset_id = network.publish(
        "tax", [{"subject": subject.code, "Seniority": 9}, {"subject": "other", "Seniority": 1}]
    )
    network.certify("tax", subject, "dispute")
    claim, salt = {"column": "Seniority", "says": 11}, new_salt()
    statement = dispute_of(network, subject, asset_id, claim, salt)
    tax = network["tax"]
    submitted = {"claim": claim, "claim_salt": salt, "subject": subject.code}
    with pytest.raises(QiaolianError):
        disputes.raise_dispute(
            tax.context, statement, sign_digest(new_private_key(), bytes(32)), **submitted
        )
    with pytest.raises(QiaolianError):
        disputes.raise_dispute(
            tax.context,
            statement,
            subject.sign(statement, network.deployment),
            **(submitted | {"subject": "other"}),
        )
    dispute_id = disputes.raise_dispute(
        tax.context, statement, subject.sign(statement, network.deployment), **submitted
    )
    tax.done(f"dispute/{dispute_id.hex()}")
    waiting = disputes.unanswered(tax.context)
    (row,) = [
        item
        for item in disputes.list_disputes(tax.context, PageRequest(200)).rows
        if item.dispute_id == dispute_id
    ]
    assert row.claim == claim
    disputes.answer(tax.context, dispute_id, new_record={"subject": subject.code, "Seniority": 11})
    assert disputes.unanswered(tax.context) == waiting - 1

    def answered() -> Any:
        tax.sync()
        return network.ledger.credit.dispute(dispute_id).answered_at

    tax.done(f"repair/{dispute_id.hex()}")
    assert answered()
    (reported,) = disputes_seen(network, subject, asset_id)
    assert (reported["answered"], reported["upheld"], reported["before"], reported["after"]) == (
        True,
        True,
        {"Seniority": 9},
        {"Seniority": 11},
    )
    receipt = SignedReceipt(example(UsageReceipt), b"", example(Agreement), b"")
    part = DeliveredPart(tax.member, asset_id, {"Seniority": 9}, receipt)
    dispute = ReportedDispute.from_json(reported)
    assert combine(subject.code, [part], [dispute]) != combine(subject.code, [part], [])
