"""What persons sign on their own machines: nothing is signed that differs from what was shown."""

from __future__ import annotations

import copy
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from chain.core.canonical import dumps
from chain.core.crypto import keccak256, recover
from chain.core.errors import QiaolianError
from chain.ethereum.eip712 import Domain
from chain.statements.assets import AssetRecord
from chain.statements.commitment import commit
from chain.statements.grants import GrantTerms
from chain.statements.members import Approval, SubjectKeyCertificate
from chain.statements.property import DealTerms, StepKind
from registry.assets.rules import asset_id_of
from registry.credit.rules import check_package
from registry.credit.signing import (
    Subject,
    consent_of,
    require_certificate,
    sign_consent,
    subject_of,
)
from registry.grants import signing as officer
from registry.grants.rules import SCOPE_DOMAIN
from registry.members import signing as governor
from registry.property import signing as person
from registry.property.rules import DEAL_DOMAIN
from registry.uscc import with_check_character

BANK, OFFICE = with_check_character("91440703MA0000001"), with_check_character("11440703MA0000002")
DOMAIN = Domain(31_337, "0x" + "11" * 20)
NOW = 1_790_000_000


def code_of(attempt: Callable[[], Any]) -> str:
    with pytest.raises(QiaolianError) as caught:
        attempt()
    return caught.value.code


# --- Chief data officer ---------------------------------------------------------------------------


def described() -> dict[str, Any]:
    scope = {"columns": ["age", "area"]}
    terms = GrantTerms(
        1,
        b"a" * 32,
        1,
        OFFICE,
        BANK,
        4,
        "loans",
        "credit",
        commit(b"s" * 32, SCOPE_DOMAIN, scope),
        NOW,
        NOW + 9,
        10,
        b"n" * 32,
    )
    grant_id = "0x" + terms.struct_hash().hex()
    return {
        "grantId": grant_id,
        "terms": terms.to_json(),
        "scope": scope,
        "scopeSalt": "0x" + (b"s" * 32).hex(),
    }


def test_an_officer_signs_the_grant_that_was_shown() -> None:
    grant_id, terms = officer.reviewed(described())
    assert (
        officer.decision_of(grant_id, approved=True, reason="", now=NOW).grant_id
        == terms.struct_hash()
    )


@pytest.mark.parametrize(
    "change", [{"purpose": "advertising"}, {"maxUses": 11}, {"grantee": OFFICE}]
)
def test_terms_that_are_not_the_grants_are_not_signed(change: dict[str, Any]) -> None:
    shown = described()
    shown["terms"] |= change
    assert code_of(lambda: officer.reviewed(shown)) == "grant_differs"


def test_columns_that_the_scope_does_not_commit_to_are_not_signed() -> None:
    assert (
        code_of(lambda: officer.reviewed(described() | {"scope": {"columns": ["age"]}}))
        == "grant_differs"
    )


def test_a_grant_without_its_salt_is_malformed() -> None:
    assert code_of(lambda: officer.reviewed(described() | {"scopeSalt": None})) == "grant_malformed"


def described_with_asset(**changes: Any) -> dict[str, Any]:
    """A grant of an asset as the owner's node describes it; ``changes`` are to the asset's record."""
    metadata = {"titleZh": "从业信息", "titleEn": "Employment"}
    record = AssetRecord(
        version=1,
        holder=OFFICE,
        processor=OFFICE,
        operator=OFFICE,
        data_item="",
        name="employment",
        asset_version=1,
        grade=3,
        category="social-security",
        schema_hash=b"h" * 32,
        records_root=b"r" * 32,
        row_count=1,
        metadata_hash=sha256(dumps(metadata)).digest(),
        parents=(),
    )
    terms = GrantTerms.from_json(
        described()["terms"] | {"assetId": "0x" + asset_id_of(OFFICE, "employment").hex()}
    )
    shown = {"record": record.to_json() | changes, "metadata": metadata}
    return described() | {
        "grantId": "0x" + terms.struct_hash().hex(),
        "terms": terms.to_json(),
        "asset": shown,
    }


def test_an_officer_sees_the_title_of_the_asset_that_the_grant_is_about() -> None:
    shown = described_with_asset()
    _, terms = officer.reviewed(shown)
    asset = officer.reviewed_asset(shown, terms)
    assert asset is not None
    assert (asset.name, asset.title_zh, asset.title_en, asset.grade) == (
        "employment",
        "从业信息",
        "Employment",
        3,
    )
    assert officer.reviewed_asset(described(), terms) is None


@pytest.mark.parametrize(
    "change",
    [
        {"name": "harmless"},
        {"holder": BANK},
        {"assetVersion": 2},
        {"metadataHash": "0x" + "00" * 32},
    ],
)
def test_an_asset_that_is_not_the_grants_is_not_signed_for(change: dict[str, Any]) -> None:
    shown = described_with_asset(**change)
    _, terms = officer.reviewed(shown)
    assert code_of(lambda: officer.reviewed_asset(shown, terms)) == "grant_differs"


def test_a_title_that_the_record_does_not_commit_to_is_not_signed_for() -> None:
    shown = described_with_asset()
    shown["asset"]["metadata"]["titleEn"] = "Weather"
    _, terms = officer.reviewed(shown)
    assert code_of(lambda: officer.reviewed_asset(shown, terms)) == "grant_differs"
    del shown["asset"]["metadata"]["titleZh"]
    assert code_of(lambda: officer.reviewed_asset(shown, terms)) == "grant_malformed"


# --- Governor -------------------------------------------------------------------------------------


def proposal() -> dict[str, Any]:
    arguments = {"member": BANK, "reason": "unpaid-penalty"}
    data = governor.call_data("suspend", arguments)
    approval = Approval(1, keccak256(data), 7, NOW)
    return {
        "function": "suspend",
        "arguments": arguments,
        "callData": "0x" + data.hex(),
        "approval": approval.to_json(),
    }


def test_a_governor_signs_the_call_that_was_described() -> None:
    data, approval = governor.reviewed(proposal())
    assert approval.call_hash == keccak256(data)


@pytest.mark.parametrize(
    "change",
    [
        {"function": "remove"},
        {"arguments": {"member": OFFICE, "reason": "unpaid-penalty"}},
        {"callData": "0x" + governor.call_data("lift", {"member": BANK}).hex()},
        {"approval": Approval(1, b"\0" * 32, 7, NOW).to_json()},
    ],
)
def test_a_call_other_than_the_described_one_is_not_signed(change: dict[str, Any]) -> None:
    assert code_of(lambda: governor.reviewed(proposal() | change)) == "proposal_differs"


@pytest.mark.parametrize("missing", ["function", "arguments", "approval"])
def test_a_proposal_that_lacks_a_part_is_not_signed(missing: str) -> None:
    shown = proposal()
    del shown[missing]
    assert code_of(lambda: governor.reviewed(shown)) == "proposal_malformed"


# --- Data subject ---------------------------------------------------------------------------------


def certified(of: Subject, **changes: Any) -> dict[str, Any]:
    values = {
        "issuer": OFFICE,
        "subject": of.commitment,
        "key": of.key.address,
        "purpose": "consent",
    }
    made = SubjectKeyCertificate(
        version=1, not_before=NOW - 60, not_after=NOW + 9, **{**values, **changes}
    )
    return {
        "certificate": made.to_json(),
        "signature": "0x" + Subject({"code": "office"}).key.sign(made, DOMAIN).hex(),
    }


def test_a_signed_consent_is_a_package_its_bank_accepts() -> None:
    subject = Subject({"code": "92440703MD00000168"})
    certificate = certified(subject)
    require_certificate(certificate, subject, purpose="consent")
    consent = consent_of(subject, bank=BANK, purpose="credit", now=NOW)
    signed = sign_consent(subject, consent, certificate, domain=DOMAIN, now=NOW)
    checked = check_package(signed.package, consent_domain=DOMAIN, certificate_domain=DOMAIN)
    assert checked.consent_id == signed.consent_id
    assert recover(signed.registration.digest(DOMAIN), signed.signature) == subject.key.address


@pytest.mark.parametrize(
    "change", [{"key": "0x" + "22" * 20}, {"subject": b"x" * 32}, {"purpose": "deal"}]
)
def test_a_certificate_of_another_key_subject_or_purpose_is_not_used(
    change: dict[str, Any],
) -> None:
    subject = Subject({"code": "92440703MD00000168"})
    assert (
        code_of(
            lambda: require_certificate(certified(subject, **change), subject, purpose="consent")
        )
        == "certificate_mismatch"
    )


def test_a_request_file_makes_its_subject_again_with_its_own_key_only() -> None:
    subject = Subject({"code": "92440703MD00000168", "kind": "sole-trader"})
    request = subject.request(purpose="consent")
    assert subject_of(request, subject.key).commitment == subject.commitment
    assert code_of(lambda: subject_of(request, Subject({}).key)) == "key_differs"
    assert (
        code_of(lambda: subject_of({"key": subject.key.address}, subject.key))
        == "request_malformed"
    )


# --- Seller and buyer -----------------------------------------------------------------------------


def drawn() -> dict[str, Any]:
    content = {"unit": "440703-000001", "price": "98000000"}
    salt = b"c" * 32
    seller, buyer = "0x" + "aa" * 20, "0x" + "bb" * 20
    terms = DealTerms(
        1,
        b"u" * 32,
        seller,
        buyer,
        BANK,
        "",
        OFFICE,
        BANK,
        OFFICE,
        commit(salt, DEAL_DOMAIN, content),
        NOW,
        b"n" * 32,
    )
    return {
        "dealId": "0x" + terms.struct_hash().hex(),
        "terms": terms.to_json(),
        "content": content,
        "contentSalt": "0x" + salt.hex(),
    }


def test_a_sellers_key_signs_the_sellers_step_of_the_deal_shown() -> None:
    terms, content = person.reviewed(drawn())
    assert content["price"] == "98000000"
    step = person.step_for(terms, "0x" + "aa" * 20)
    assert step is StepKind.SELLER
    assert person.step_of(terms, step, now=NOW).deal_id == terms.struct_hash()
    assert code_of(lambda: person.step_for(terms, "0x" + "cc" * 20)) == "wrong_party"


def test_a_price_the_deal_does_not_commit_to_is_not_signed() -> None:
    shown = copy.deepcopy(drawn())
    shown["content"]["price"] = "97000000"
    assert code_of(lambda: person.reviewed(shown)) == "deal_differs"


def test_terms_that_are_not_the_deals_are_not_signed() -> None:
    shown = copy.deepcopy(drawn())
    shown["terms"]["expiresAt"] = NOW + 1
    assert code_of(lambda: person.reviewed(shown)) == "deal_differs"
