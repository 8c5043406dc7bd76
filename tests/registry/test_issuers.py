"""Only an active department certifies one-time keys. No other member can overwrite its certificate or
use it to take a home.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from chain.core.canonical import dumps
from chain.core.crypto import new_private_key
from chain.core.errors import QiaolianError, VerificationError
from chain.statements.members import KeyPurpose, SubjectKeyCertificate
from registry.credit import certificates, consents, disputes
from registry.credit.model import ConsentPackage
from registry.credit.store import CertificateRow
from registry.property import deals, proof_profile, register, titles
from tests.registry.conftest import Network
from tests.registry.test_consents import dispute_of, use
from tests.registry.test_deals import SIGNERS, StepKind, owner, put_up
from tests.support.two_verifiers import verify

COLUMNS = ("key", "identity", "certificate", "signature")
Certified = tuple[SubjectKeyCertificate, bytes]


def shown(person: Any, certified: Certified) -> dict[str, Any]:
    """What anybody can post to ``/v1/certificates/shown`` who knows a certificate and what opens
    it.
    """
    certificate, signature = certified
    return {
        "certificate": certificate.to_json(),
        "signature": "0x" + signature.hex(),
        "identity": person.identity,
        "identitySalt": "0x" + person.salt.hex(),
    }


def show(network: Network, at: str, person: Any, certified: Certified) -> Any:
    return network[at].call("POST", "/v1/certificates/shown", shown(person, certified))


def code_of(attempt: Callable[[], Any]) -> tuple[str, int]:
    with pytest.raises(QiaolianError) as caught:
        attempt()
    return caught.value.code, caught.value.status


def stored_certificate(network: Network, at: str, key: str) -> Any:
    with network[at].context.database.read() as session:
        row = session.get(CertificateRow, key)
        return None if row is None else (row.identity, row.certificate, row.signature)


# --- Who certifies --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bank", "agency", "operator", "supervisor"])
@pytest.mark.parametrize("purpose", certificates.PURPOSES)
def test_a_member_that_is_no_department_certifies_nobody(
    network: Network, person: Any, name: str, purpose: str
) -> None:
    subject = person()
    body = {
        "identity": subject.identity,
        "identitySalt": "0x" + subject.salt.hex(),
        "key": subject.address,
        "purpose": purpose,
        "notAfter": 2**40,
    }
    assert code_of(lambda: network[name].call("POST", "/v1/certificates", body, role="clerk")) == (
        "issuer_not_department",
        403,
    )
    assert stored_certificate(network, name, subject.address) is None
    assert (
        network["tax"].call("POST", "/v1/certificates", body, role="clerk")["certificate"]["issuer"]
        == network["tax"].member
    )


@pytest.mark.parametrize("name", ["agency", "operator", "supervisor"])
def test_a_bank_gets_no_record_by_a_consent_that_another_member_made_up_for_it(
    network: Network, person: Any, name: str
) -> None:
    """The helper certifies a key of its own as the firm's; the consent is on the chain, as anybody
    can put one there.
    """
    forged = person()
    package = network.consent(
        name, forged, "bank", certified=network.vouch(name, forged, "consent")
    )
    commitment = network.record_consent("operator", forged, package)
    assert code_of(lambda: use(network, package, commitment, forged.code)) == (
        "issuer_not_department",
        403,
    )
    assert code_of(
        lambda: consents.store_consent(network["bank"].context, ConsentPackage.from_json(package))
    ) == (
        "issuer_not_department",
        403,
    )


# --- What is shown --------------------------------------------------------------------------------


def test_another_certificate_of_a_certified_key_is_not_taken(network: Network, person: Any) -> None:
    subject = person()
    network.certify("tax", subject, "dispute")
    mine = stored_certificate(network, "tax", subject.address)
    thief = replace(person(), key=subject.key)
    for purpose in certificates.PURPOSES:
        for other in (thief, subject):
            code, _ = code_of(
                lambda other=other, purpose=purpose: show(
                    network, "tax", other, network.vouch("registrar", other, purpose)
                )
            )
            assert code in ("key_certified", "certificate_wrong_purpose")
    assert code_of(
        lambda: show(network, "tax", thief, network.vouch("registrar", thief, "dispute"))
    ) == ("key_certified", 409)
    assert stored_certificate(network, "tax", subject.address) == mine


def test_a_shown_certificate_may_be_shown_again_and_is_certified_no_second_time(
    network: Network, person: Any
) -> None:
    subject = person()
    certified = network.certify("registrar", subject, "dispute")
    for _ in range(2):
        assert show(network, "tax", subject, certified) == {"stored": True}
    assert stored_certificate(network, "tax", subject.address)[1] == certified[0].to_json()
    assert code_of(lambda: network.certify("tax", subject, "dispute")) == ("key_certified", 409)


@pytest.mark.parametrize("name", ["bank", "agency", "operator", "supervisor"])
def test_a_certificate_by_a_member_that_is_no_department_is_not_taken(
    network: Network, person: Any, name: str
) -> None:
    subject = person()
    assert code_of(
        lambda: show(network, "tax", subject, network.vouch(name, subject, "dispute"))
    ) == ("issuer_not_department", 403)
    assert stored_certificate(network, "tax", subject.address) is None


def test_a_certificate_of_a_suspended_office_is_not_taken(network: Network, person: Any) -> None:
    subject = person()
    certified = network.vouch("registrar", subject, "dispute")
    with network.suspended("registrar"):
        assert code_of(lambda: show(network, "tax", subject, certified)) == ("wrong_signer", 403)
    assert show(network, "tax", subject, certified) == {"stored": True}


@pytest.mark.parametrize("purpose", ["deal", "consent"])
def test_only_a_key_for_disputes_is_shown_to_another_office(
    network: Network, person: Any, purpose: str
) -> None:
    """Who buys and sells homes here, the centre certified itself; a consent carries its own
    certificate.
    """
    subject = person()
    certified = network.certify("tax", subject, purpose)
    assert code_of(lambda: show(network, "registrar", subject, certified)) == (
        "certificate_wrong_purpose",
        422,
    )


# --- Disputes -------------------------------------------------------------------------------------


def dispute(network: Network, subject: Any, asset_id: bytes) -> bytes:
    claim, salt = {"column": "Seniority", "says": 11}, bytes(32)
    statement = dispute_of(network, subject, asset_id, claim, salt)
    signature = subject.sign(statement, network.deployment)
    return disputes.raise_dispute(
        network["tax"].context,
        statement,
        signature,
        claim=claim,
        claim_salt=salt,
        subject=subject.code,
    )


@pytest.fixture
def disputable(network: Network, person: Any) -> tuple[Any, bytes]:
    subject = person()
    return subject, network.publish(
        "tax", [{"subject": subject.code, "Seniority": 9}, {"subject": "other", "Seniority": 1}]
    )


def test_a_key_certified_for_something_else_disputes_nothing(
    network: Network, disputable: tuple[Any, bytes]
) -> None:
    subject, asset_id = disputable
    network.certify("tax", subject, "consent")
    assert code_of(lambda: dispute(network, subject, asset_id)) == (
        "certificate_wrong_purpose",
        422,
    )


def test_the_key_of_an_office_suspended_since_it_was_shown_disputes_nothing(
    network: Network, disputable: tuple[Any, bytes]
) -> None:
    subject, asset_id = disputable
    show(network, "tax", subject, network.certify("registrar", subject, "dispute"))
    with network.suspended("registrar"):
        assert code_of(lambda: dispute(network, subject, asset_id)) == (
            "issuer_not_department",
            403,
        )
    assert dispute(network, subject, asset_id)


def test_a_key_whose_certificate_ended_disputes_nothing(
    network: Network, disputable: tuple[Any, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, asset_id = disputable
    network.certify("tax", subject, "dispute")
    monkeypatch.setattr(network["tax"].context, "clock", lambda: time.time() + 2 * 365 * 86_400)
    assert code_of(lambda: dispute(network, subject, asset_id)) == ("certificate_expired", 403)


# --- Homes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("issuer", ["bank", "tax"])
@pytest.mark.parametrize("purpose", certificates.PURPOSES)
def test_a_certificate_posted_by_a_stranger_makes_nobody_the_owner_of_a_home(
    network: Network, person: Any, issuer: str, purpose: str
) -> None:
    """The buyer's key is public in the deal's terms; a bank, or even another department, certifies
    it as a thief's before the registration.
    """
    deal = put_up(network, person(), person()).draw_up()
    thief = replace(person(), key=deal.sale.buyer.key)
    deal.take(*(step for step in StepKind if step < StepKind.REGISTER))
    with suppress(QiaolianError):
        show(network, "registrar", thief, network.vouch(issuer, thief, purpose))
    deal.take(StepKind.REGISTER)
    assert owner(network, deal.sale) == deal.sale.buyer.code


@pytest.mark.parametrize("other", [{"issuer": "tax"}, {"purpose": "dispute"}])
def test_a_home_goes_to_nobody_by_another_certificate_than_the_centres_own_for_deals(
    network: Network, person: Any, other: dict[str, str]
) -> None:
    """Whatever is stored under the buyer's key, for example by an older version."""
    deal = put_up(network, person(), person()).draw_up()
    thief = replace(person(), key=deal.sale.buyer.key)
    certificate, signature = network.vouch(
        other.get("issuer", "registrar"), thief, other.get("purpose", "deal")
    )

    def overwrite(session: Any) -> None:
        row = session.get_one(CertificateRow, certificate.key)
        row.identity, row.certificate, row.signature = (
            thief.identity,
            certificate.to_json(),
            signature,
        )

    registrar = network["registrar"]
    deal.take(*(step for step in StepKind if step < StepKind.REGISTER))
    own = stored_certificate(network, "registrar", certificate.key)
    registrar.context.database.write(overwrite)
    assert code_of(lambda: deal.sign(StepKind.REGISTER)) == ("subject_key_unknown", 404)
    registrar.context.database.write(
        lambda session: session.merge(
            CertificateRow(**dict(zip(COLUMNS, (certificate.key, *own), strict=True)))
        )
    )
    operation = deal.sign(StepKind.REGISTER).operation
    registrar.context.database.write(overwrite)
    registrar.done(operation)
    assert deal.word.registered_at
    assert code_of(lambda: owner(network, deal.sale)) == ("register_behind", 503)
    assert register.find_unit(registrar.context, deal.sale.number).owner == deal.sale.seller.code
    again = {"owner_key": deal.sale.seller.address, "not_after": int(time.time()) + 3600}
    assert code_of(lambda: titles.issue_title(registrar.context, deal.sale.number, **again)) == (
        "register_behind",
        503,
    )


def test_a_certificate_posted_by_a_stranger_keeps_no_owner_from_a_title(
    network: Network, person: Any
) -> None:
    owner = person()
    sale = put_up(network, owner, person())
    thief = replace(person(), key=owner.key)
    with suppress(QiaolianError):
        show(network, "registrar", thief, network.vouch("bank", thief, "deal"))
    again = titles.issue_title(
        network["registrar"].context,
        sale.number,
        owner_key=owner.address,
        not_after=int(time.time()) + 3600,
    )
    assert again.statement.owner_key == owner.address


def test_a_statement_key_of_nobody_certifies_nobody(network: Network, person: Any) -> None:
    subject = person()
    certificate, _ = network.vouch("tax", subject, "dispute")
    stranger = replace(subject, key=new_private_key()).sign(certificate, network.deployment)
    assert code_of(lambda: show(network, "tax", subject, (certificate, stranger))) == (
        "wrong_signer",
        403,
    )
    token = network["tax"].sign(certificate, KeyPurpose.TOKEN)
    assert code_of(lambda: show(network, "tax", subject, (certificate, token))) == (
        "wrong_signer",
        403,
    )


def bundle_of(network: Network, deal: Any) -> bytes:
    network["registrar"].anchor()
    return dumps(
        network["registrar"].call("GET", f"/v1/deals/0x{deal.id.hex()}/bundle", role="officer")
    )


def test_a_registered_deal_shows_that_departments_certified_taxed_and_registered(
    network: Network, person: Any
) -> None:
    deal = put_up(network, person(), person()).draw_up()
    deal.take(*StepKind)
    report = verify(bundle_of(network, deal), network.trust, {"property": proof_profile.check})
    assert (
        f"{network['registrar'].member}, a department, certified the one-time keys of seller and buyer."
        in report.proved
    )


def test_a_deal_taxed_by_an_agency_convinces_no_verifier(
    network: Network, person: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parties run code of their own, and the chain asks a role of the registration centre
    alone.
    """
    monkeypatch.setattr(deals, "_require_roles", lambda context, terms: None)
    deal = put_up(network, person(), person()).draw_up(tax_authority=network["agency"].member)
    for step in StepKind:
        by = "agency" if step is StepKind.TAX else SIGNERS.get(step, "agency")
        made = (
            deal.submit(step)
            if step in (StepKind.SELLER, StepKind.BUYER)
            else deal.sign(step, by=by)
        )
        network[by].done(made.operation)
        network.sync()
    assert deal.word.registered_at
    with pytest.raises(VerificationError) as refused:
        verify(bundle_of(network, deal), network.trust, {"property": proof_profile.check})
    assert refused.value.code == "party_role_wrong"
