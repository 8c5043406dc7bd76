"""The one-stop report: paid once, under the subject's consent, with disputes and repairs. A refused
report stores nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from chain.core.crypto import address_of, new_private_key, sign_digest
from chain.statements.commitment import commit, new_salt
from chain.statements.credit import Consent, ConsentRegistration, CreditDispute
from exchange.metering.gateway import Gateway
from registry.assets import serving
from registry.credit import certificates, queries
from registry.credit import consents as credit_consents
from registry.credit import disputes as credit_disputes
from registry.credit.model import CONSENT_DOMAIN, ConsentPackage
from registry.credit.rules import CLAIM_DOMAIN, IDENTITY_DOMAIN
from registry.pages import PageRequest
from tests.exchange.conftest import Market

SUBJECT = "92440700MA4W000007"


@dataclass
class Subject:
    """A firm whose keys the department certifies."""

    market: Market
    code: str = SUBJECT

    def certified(self, purpose: str, office: Any) -> tuple[bytes, dict[str, Any]]:
        """A one-time key and what shows whose it is."""
        key, salt, identity = new_private_key(), new_salt(), {"code": self.code}
        certified = certificates.certify(
            office.context,
            identity=identity,
            salt=salt,
            key=address_of(key),
            purpose=purpose,
            not_after=2**40,
        )
        shown = {
            "certificate": certified.certificate.to_json(),
            "certificateSignature": "0x" + certified.signature.hex(),
        }
        return key, {
            **shown,
            "identity": identity,
            "identitySalt": "0x" + salt.hex(),
            "subject": commit(salt, IDENTITY_DOMAIN, identity),
        }

    def signed(self, key: bytes, statement: Any) -> bytes:
        return sign_digest(key, statement.digest(self.market.bank.context.domain("CreditLedger")))

    def consents(self) -> str:
        """A consent on the chain, stored by the bank; its commitment."""
        operator, bank = self.market.operator, self.market.bank
        key, shown = self.certified("consent", self.market.department)
        now = bank.context.now()
        consent = Consent(
            1,
            shown.pop("subject"),
            bank.member,
            "credit-assessment",
            now - 60,
            now + 10_000_000,
            address_of(key),
        )
        salt = new_salt()
        package = {
            **shown,
            "consent": consent.to_json(),
            "signature": "0x" + self.signed(key, consent).hex(),
            "salt": "0x" + salt.hex(),
        }
        registration = ConsentRegistration(
            1, commit(salt, CONSENT_DOMAIN, consent.to_json()), address_of(key), 2**40
        )
        operator.done(
            credit_consents.relay_consent(
                operator.context, registration, self.signed(key, registration)
            )
        )
        self.market.settle()
        return (
            "0x"
            + credit_consents.store_consent(bank.context, ConsentPackage.from_json(package)).hex()
        )

    def disputes(self) -> bytes:
        """A dispute of its record at the department; the dispute id."""
        department = self.market.department
        key, _ = self.certified("dispute", department)
        record, _ = serving.record_commitment(
            department.context, self.market.asset_id, 1, self.code
        )
        claim, salt = {"column": "seniority", "should": "12"}, new_salt()
        dispute = CreditDispute(
            version=1,
            asset_id=self.market.asset_id,
            record=record,
            claim=commit(salt, CLAIM_DOMAIN, claim),
            department=department.member,
            authority=address_of(key),
            raised_at=department.context.now(),
        )
        signature = self.signed(key, dispute)
        made = credit_disputes.raise_dispute(
            department.context, dispute, signature, claim=claim, claim_salt=salt, subject=self.code
        )
        department.done(f"dispute/{made.hex()}")
        self.market.settle()
        return made


@pytest.fixture(scope="module")
def subject(market: Market) -> Subject:
    return Subject(market)


@pytest.fixture(scope="module")
def agreement_id(market: Market) -> bytes:
    market.offer()
    found: bytes = market.open(market.grant(purpose="credit-assessment"), cap=10_000)
    return found


def ask(
    market: Market, agreement_id: bytes, consent: str, *, key: str | None = None, **changes: Any
) -> httpx.Response:
    body = {
        "subject": SUBJECT,
        "consentId": consent,
        "parts": [
            {"agreementId": "0x" + agreement_id.hex(), "columns": columns}
            for columns in (["seniority"], ["age"])
        ],
    }

    async def send() -> httpx.Response:
        headers = {"x-local": "system", **({} if key is None else {"idempotency-key": key})}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=market.bank.app),
            base_url="http://bank",
            headers=headers,
        ) as client:
            return await client.post("/v1/reports", json={**body, **changes})

    found: httpx.Response = market.run(asyncio.wait_for(send(), 60))
    return found


def owed(market: Market, agreement_id: bytes) -> int:
    amount: int = market.run(
        Gateway.of(market.department.context).trade(agreement_id)
    ).totals.amount
    return amount


def test_a_report_is_paid_once_under_its_key_and_anchored(
    market: Market, subject: Subject, agreement_id: bytes
) -> None:
    consent = subject.consents()
    made = [ask(market, agreement_id, consent, key="report-1") for _ in range(2)]
    assert [item.status_code for item in made] == [201, 201], made[0].text
    records = [record["record"] for record in made[0].json()["report"]["records"]]
    assert records == [{"seniority": 7}, {"age": "30-39"}]
    assert made[0].json() == made[1].json(), "one query is signed and anchored"
    assert owed(market, agreement_id) == 2 * 50
    assert len(queries.list_queries(market.bank.context, PageRequest(200)).rows) == 1
    market.bank.done(made[0].json()["operation"])
    anchored = market.bank.context.ledger.credit.query_anchored_at(
        bytes.fromhex(made[0].json()["queryId"][2:])
    )
    assert anchored > 0


def test_a_key_stands_for_the_whole_report(
    market: Market, subject: Subject, agreement_id: bytes
) -> None:
    consent, parts = (
        subject.consents(),
        [{"agreementId": "0x" + agreement_id.hex(), "columns": ["seniority"]}],
    )
    assert ask(market, agreement_id, consent, key="report-whole").status_code == 201
    before = owed(market, agreement_id)
    for changes in (
        {"parts": parts},
        {"parts": parts * 3},
        {"subject": "92440700MA4W000008"},
        {"purpose": "statistics"},
    ):
        other = ask(market, agreement_id, consent, key="report-whole", **changes)
        assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused"), changes
    other = ask(market, agreement_id, subject.consents(), key="report-whole")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert owed(market, agreement_id) == before


def test_a_disputed_record_is_shown_as_such_and_its_repair_beside_what_was_delivered(
    market: Market, subject: Subject, agreement_id: bytes
) -> None:
    consent, dispute_id = subject.consents(), subject.disputes()
    disputed = ask(market, agreement_id, consent).json()["report"]
    assert [record["disputed"] for record in disputed["records"]] == [True, True]
    repaired = {"code": SUBJECT, "seniority": 12, "job": "fixed", "age": 37}
    market.department.done(
        credit_disputes.answer(market.department.context, dispute_id, new_record=repaired).operation
    )
    market.settle()
    shown = ask(market, agreement_id, consent).json()["report"]
    assert (shown["records"][0]["record"], shown["records"][0]["repaired"]) == (
        {"seniority": 7},
        {"seniority": 12},
    )
    assert [record["disputed"] for record in shown["records"]] == [False, False]


def test_a_report_without_the_subjects_own_consent_is_refused_and_leaves_no_query(
    market: Market, subject: Subject, agreement_id: bytes
) -> None:
    consent, before = (
        subject.consents(),
        len(queries.list_queries(market.bank.context, PageRequest(200)).rows),
    )
    amount = owed(market, agreement_id)
    refused = {
        "consent_unknown": {"consentId": "0x" + "77" * 32},
        "consent_other_subject": {"subject": "92440700MA4W000008"},
        "purpose_not_granted": {"purpose": "statistics"},
    }
    for code, changes in refused.items():
        answer = ask(market, agreement_id, consent, **changes)
        assert (answer.status_code in (403, 404), answer.json()["code"]) == (True, code)
    assert len(queries.list_queries(market.bank.context, PageRequest(200)).rows) == before
    assert owed(market, agreement_id) == amount
