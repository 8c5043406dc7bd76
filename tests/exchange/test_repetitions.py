"""A repeated request for a served position gets the stored answer, unless a right was withdrawn
since. The grant's count covers everything served under it.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa

from chain.core.crypto import address_of, new_private_key, sign_digest
from chain.ethereum.eip712 import encode_code
from chain.statements.commitment import commit, consent_id, new_salt
from chain.statements.credit import Consent, ConsentRegistration, ConsentWithdrawal
from chain.statements.members import KeyPurpose
from exchange.metering import service as metering
from exchange.metering.gateway import Gateway
from exchange.metering.gateway_state import GatewayTrade
from exchange.metering.model import CallStatus, GatewayLimits
from exchange.metering.store import GATEWAY
from registry.assets import status
from registry.credit import certificates
from registry.credit import consents as credit_consents
from registry.credit.model import CONSENT_DOMAIN, ConsentPackage
from registry.credit.rules import IDENTITY_DOMAIN
from tests.exchange.conftest import Market

SUBJECT = 7


@dataclass
class Given:
    """A consent on the chain and stored by the bank."""

    market: Market
    key: bytes
    consent_id: bytes
    package: dict[str, Any]

    def withdraw(self) -> None:
        withdrawal = ConsentWithdrawal(1, self.consent_id, 2**40)
        self.market.operator.done(
            credit_consents.relay_withdrawal(
                self.market.operator.context, withdrawal, signed(self.market, self.key, withdrawal)
            )
        )
        self.market.settle()


def signed(market: Market, key: bytes, statement: Any) -> bytes:
    return sign_digest(key, statement.digest(market.bank.context.domain("CreditLedger")))


def consents(market: Market, *, seconds: int = 10_000_000) -> Given:
    """The subject consents to the bank's credit assessments."""
    key, identity, identity_salt, salt = (
        new_private_key(),
        {"code": f"92440700MA4W{SUBJECT:06d}"},
        new_salt(),
        new_salt(),
    )
    certified = certificates.certify(
        market.department.context,
        identity=identity,
        salt=identity_salt,
        key=address_of(key),
        purpose="consent",
        not_after=2**40,
    )
    now = market.bank.context.now()
    subject = commit(identity_salt, IDENTITY_DOMAIN, identity)
    consent = Consent(
        1,
        subject,
        market.bank.member,
        "credit-assessment",
        now - 60,
        now + seconds,
        address_of(key),
    )
    package = {
        "consent": consent.to_json(),
        "signature": "0x" + signed(market, key, consent).hex(),
        "salt": "0x" + salt.hex(),
        "certificate": certified.certificate.to_json(),
        "certificateSignature": "0x" + certified.signature.hex(),
        "identity": identity,
        "identitySalt": "0x" + identity_salt.hex(),
    }
    commitment = commit(salt, CONSENT_DOMAIN, consent.to_json())
    registration = ConsentRegistration(1, commitment, address_of(key), 2**40)
    market.operator.done(
        credit_consents.relay_consent(
            market.operator.context, registration, signed(market, key, registration)
        )
    )
    market.settle()
    credit_consents.store_consent(market.bank.context, ConsentPackage.from_json(package))
    return Given(market, key, consent_id(commitment, address_of(key)), package)


@pytest.fixture
def given(market: Market) -> Given:
    return consents(market)


@pytest.fixture
def agreement_id(market: Market) -> bytes:
    market.offer()
    found: bytes = market.open(market.grant(purpose="credit-assessment"))
    return found


def assess(market: Market, agreement_id: bytes, given: Given) -> Any:
    """A call under the subject's consent."""
    return market.call(
        agreement_id, SUBJECT, purpose="credit-assessment", consent="0x" + given.consent_id.hex()
    )


def last_wire(market: Market) -> dict[str, Any]:
    """The last request the bank sent, as it went over the line."""
    body = next(body for path, body in reversed(market.bank.peers.sent) if path == "/v1/peer/calls")
    item: dict[str, Any] = copy.deepcopy(body["requests"][-1])
    return item


def repeated(market: Market, item: dict[str, Any], **changes: Any) -> Any:
    """What the gateway answers to a request of the bank's that is sent again, with something beside
    it changed.
    """
    (answer,) = market.run(
        metering.serve(market.department.context, market.bank.member, [{**item, **changes}])
    )
    return json.loads(answer) if isinstance(answer, str) else answer


def trade(market: Market, agreement_id: bytes) -> GatewayTrade:
    found: GatewayTrade = market.run(Gateway.of(market.department.context).trade(agreement_id))
    return found


def lane_after(market: Market, agreement_id: bytes) -> tuple[int, int, str]:
    """The totals, the grant's count and how the last position ended, in memory and on disk alike."""
    with market.department.context.database.read() as session:
        rows = session.execute(
            sa.select(GATEWAY.c.status, GATEWAY.c.amount)
            .where(GATEWAY.c.agreement_id == agreement_id)
            .order_by(GATEWAY.c.seq)
        )
        ending, amount = list(rows)[-1]
    known = trade(market, agreement_id)
    assert (known.totals.amount, known.lanes[0].status) == (amount, ending)
    return amount, known.quota.served, ending


# --- What a buyer sends beside its signed request -------------------------------------------------


def _with(part: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda package: {**package, part: value}


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda package: None, "consent_missing"),
        (lambda package: {}, "consent_malformed"),
        (lambda package: "a consent", "consent_malformed"),
        (lambda package: [[package]], "consent_malformed"),
        (_with("salt", "0x" + "00" * 32), "consent_malformed"),
        (_with("salt", None), "consent_malformed"),
        (_with("identity", 5), "consent_malformed"),
        (_with("consent", {}), "consent_malformed"),
    ],
)
def test_a_served_place_asked_for_without_its_consent_is_an_error_and_changes_nothing(
    market: Market,
    agreement_id: bytes,
    given: Given,
    edit: Callable[[dict[str, Any]], Any],
    code: str,
) -> None:
    assess(market, agreement_id, given)
    item, before = last_wire(market), lane_after(market, agreement_id)
    assert repeated(market, item, consent=edit(given.package))["error"]["code"] == code
    assert lane_after(market, agreement_id) == before == (50, 1, CallStatus.SERVED)
    assert repeated(market, item)["content"] is not None, (
        "the whole request again gets the answer again"
    )


def test_a_served_place_asked_for_with_another_consent_is_an_error_and_changes_nothing(
    market: Market, agreement_id: bytes, given: Given
) -> None:
    assess(market, agreement_id, given)
    item, other = last_wire(market), consents(market)
    other.withdraw()
    assert repeated(market, item, consent=other.package)["error"]["code"] == "consent_malformed"
    assert lane_after(market, agreement_id) == (50, 1, CallStatus.SERVED)


def test_a_grants_count_and_the_books_hold_however_often_places_are_asked_for_without_their_consent(
    market: Market, given: Given
) -> None:
    agreement_id = market.open(market.grant(purpose="credit-assessment", max_uses=3), cap=10_000)
    results = []
    for _ in range(6):
        results.append(assess(market, agreement_id, given))
        repeated(market, last_wire(market), consent=None)
    assert [result.reason for result in results] == [
        "",
        "",
        "",
        "grant_used_up",
        "grant_used_up",
        "grant_used_up",
    ]
    assert lane_after(market, agreement_id) == (150, 3, CallStatus.REFUSED)


@pytest.mark.parametrize(
    "changes",
    [
        {"signature": "0x" + "11" * 65},
        {"salt": "0x" + "00" * 32},
        {"query": {}},
        {"query": None},
        {"request": None},
    ],
)
def test_a_served_place_asked_for_with_anything_else_changed_is_an_error_and_changes_nothing(
    market: Market, agreement_id: bytes, given: Given, changes: dict[str, Any]
) -> None:
    assess(market, agreement_id, given)
    assert "error" in repeated(market, last_wire(market), **changes)
    assert lane_after(market, agreement_id) == (50, 1, CallStatus.SERVED)


def test_a_consent_that_a_purpose_does_not_need_voids_nothing(market: Market, given: Given) -> None:
    agreement_id = market.open(market.grant())
    given.withdraw()
    market.call(agreement_id, SUBJECT, consent="0x" + given.consent_id.hex())
    assert repeated(market, last_wire(market))["content"] is not None
    assert lane_after(market, agreement_id) == (50, 1, CallStatus.SERVED)


def test_waiting_until_consent_and_grant_have_run_out_voids_nothing(
    market: Market, agreement_id: bytes, given: Given
) -> None:
    assess(market, agreement_id, given)
    context, item = market.department.context, last_wire(market)
    clock, context.clock = context.clock, lambda: 2**39
    try:
        assert repeated(market, item)["content"] is not None
    finally:
        context.clock = clock
    assert lane_after(market, agreement_id) == (50, 1, CallStatus.SERVED)


# --- What is really withdrawn ---------------------------------------------------------------------


def test_a_consent_withdrawn_since_voids_the_receipt_of_the_whole_request_only(
    market: Market, agreement_id: bytes, given: Given
) -> None:
    assess(market, agreement_id, given)
    item = last_wire(market)
    given.withdraw()
    assert repeated(market, item, consent=None)["error"]["code"] == "consent_missing"
    assert lane_after(market, agreement_id) == (50, 1, CallStatus.SERVED)
    voided = repeated(market, item)
    assert voided["void"]["reason"] == "consent_withdrawn"
    assert lane_after(market, agreement_id) == (0, 1, CallStatus.VOID), (
        "nothing is owed; the answer had left, so its use stays counted"
    )
    market.department.restarted()
    assert repeated(market, item) == voided
    assert lane_after(market, agreement_id) == (0, 1, CallStatus.VOID)


def test_a_void_gives_no_use_of_the_grant_back(market: Market) -> None:
    agreement_id = market.open(market.grant(max_uses=1))
    market.call(agreement_id)
    item = last_wire(market)
    for reason in (encode_code("disputed"), None):
        market.supervisor.done(
            status.set_hold(market.supervisor.context, market.asset_id, reason=reason)
        )
        market.settle()
        assert repeated(market, item)["void"]["reason"] == "asset_held", "a signed void is final"
    market.bank.restarted()
    with market.department.context.database.read() as session:
        assert (
            session.scalar(sa.select(GATEWAY.c.void).where(GATEWAY.c.agreement_id == agreement_id))
            is not None
        )
    other = market.open(trade(market, agreement_id).agreement.grant_id)
    assert market.call(other).reason == "grant_used_up"
    market.department.restarted()
    assert market.call(other).reason == "grant_used_up"


# --- One grant, several agreements ----------------------------------------------------------------


@pytest.mark.parametrize("restarts", [False, True])
def test_a_grants_count_holds_over_calls_of_several_agreements_at_one_moment(
    market: Market, ask: Callable[..., Any], restarts: bool
) -> None:
    grant_id = market.grant(max_uses=3)
    both = [market.open(grant_id, lanes=4) for _ in range(2)]
    assert [market.call(value).status for value in both] == [CallStatus.SERVED] * 2
    if restarts:
        market.department.restarted()

    async def at_once() -> list[Any]:
        return await asyncio.gather(
            *(metering.call(market.bank.context, value, ask()) for value in both for _ in range(4))
        )

    results = market.run(at_once())
    assert sorted(result.reason for result in results) == ["", *["grant_used_up"] * 7]
    uses = trade(market, both[0]).quota
    assert uses is trade(market, both[1]).quota
    assert (uses.served, uses.reserved) == (3, 0)


def test_a_call_that_fails_gives_its_reserved_use_back(market: Market) -> None:
    grant_id = market.grant(max_uses=1)
    first, second = market.open(grant_id), market.open(grant_id)
    gateway = Gateway.of(market.department.context)
    gateway._state.limits = GatewayLimits(answer_bytes=10)
    assert market.call(first).reason == "answer_too_large"
    gateway._state.limits = GatewayLimits()
    assert market.call(second).status == CallStatus.SERVED


# --- Last: it ends the bank's key -----------------------------------------------------------------


def test_a_buyer_that_ends_its_own_key_gets_no_use_of_the_grant_back(market: Market) -> None:
    agreement_id = market.open(market.grant())
    market.call(agreement_id)
    item, fingerprint = (
        last_wire(market),
        market.bank.context.signers[KeyPurpose.STATEMENT].fingerprint,
    )
    market.governance.execute("endKey", fingerprint, encode_code("retired"))
    market.settle()
    assert repeated(market, item)["void"]["reason"] == "key_ended"
    assert lane_after(market, agreement_id) == (0, 1, CallStatus.VOID)
