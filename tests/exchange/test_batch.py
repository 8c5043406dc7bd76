"""Many calls in one request: each ends on its own, in its place, and a key counts once wherever it
is used.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from exchange.metering.gateway import Gateway
from exchange.metering.schemas import MAX_BATCH_CALLS
from tests.exchange.conftest import Market


@pytest.fixture(scope="module")
def agreement_id(market: Market) -> bytes:
    market.offer()
    found: bytes = market.open(market.grant(), cap=100_000, lanes=4)
    return found


def call(agreement_id: bytes, number: int = 1, **changes: Any) -> dict[str, Any]:
    """One call of the bank's own system."""
    asked = {
        "agreementId": "0x" + agreement_id.hex(),
        "subject": f"92440700MA4W{number:06d}",
        "columns": ["seniority"],
        "purpose": "statistics",
    }
    return {**asked, **changes}


def post(
    market: Market, *bodies: Any, path: str = "/v1/calls/batch", key: str | None = None
) -> list[httpx.Response]:
    """Requests at the bank's own node, sent at once."""

    async def send() -> list[httpx.Response]:
        headers = {"x-local": "system", **({} if key is None else {"idempotency-key": key})}
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=market.bank.app),
            base_url="http://bank",
            headers=headers,
        ) as client:
            return await asyncio.gather(*(client.post(path, json=body) for body in bodies))

    found: list[httpx.Response] = market.run(send())
    return found


def batch(market: Market, *calls: Any) -> list[dict[str, Any]]:
    (answer,) = post(market, {"calls": list(calls)})
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def owed(market: Market, agreement_id: bytes) -> int:
    amount: int = market.run(
        Gateway.of(market.department.context).trade(agreement_id)
    ).totals.amount
    return amount


def test_each_call_of_a_batch_ends_on_its_own_and_in_its_place(
    market: Market, agreement_id: bytes
) -> None:
    before = owed(market, agreement_id)
    results = batch(
        market,
        call(agreement_id, 3),
        call(agreement_id, 999),
        call(agreement_id, operation="dance"),
        call(bytes(32)),
        call(agreement_id, agreementId="0x12"),
        call(agreement_id, columns=["seniority", "seniority"]),
        call(agreement_id, purpose="advertising"),
        call(agreement_id, 4),
    )
    answered = [(result["outcome"], result["reason"]) for result in results]
    assert answered == [
        ("served", ""),
        ("refused", "subject_unknown"),
        ("failed", "query_malformed"),
        ("failed", "unknown_agreement"),
        ("failed", "field_malformed"),
        ("failed", "query_malformed"),
        ("refused", "purpose_not_granted"),
        ("served", ""),
    ]
    assert [results[index]["record"] for index in (0, 7)] == [{"seniority": 3}, {"seniority": 4}]
    assert owed(market, agreement_id) == before + 2 * 50


def test_a_key_used_twice_in_a_batch_is_one_call_and_of_two_queries_one_is_refused(
    market: Market, agreement_id: bytes
) -> None:
    before = owed(market, agreement_id)
    same = batch(market, *(call(agreement_id, 5, key="twice") for _ in range(3)))
    assert same[0] == same[1] == same[2]
    other = batch(market, call(agreement_id, 6, key="either"), call(agreement_id, 7, key="either"))
    assert sorted((item["outcome"], item["reason"]) for item in other) == [
        ("failed", "idempotency_key_reused"),
        ("served", ""),
    ]
    assert owed(market, agreement_id) == before + 2 * 50


def test_two_requests_at_once_under_one_key_with_other_bodies_are_one_call_and_one_conflict(
    market: Market, agreement_id: bytes
) -> None:
    before = owed(market, agreement_id)
    answers = post(
        market, call(agreement_id, 8), call(agreement_id, 9), path="/v1/calls", key="at-once"
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert (
        next(answer for answer in answers if answer.status_code == 409).json()["code"]
        == "idempotency_key_reused"
    )
    assert owed(market, agreement_id) == before + 50


def test_an_agreement_ordered_twice_under_one_key_is_one_agreement_and_locks_its_cap_once(
    market: Market,
) -> None:
    order = {
        "grantId": "0x" + market.grant().hex(),
        "cap": 700,
        "offerHash": "0x" + market.seen().hex(),
    }
    account = market.department.context.ledger.settlement.account
    before = account(market.bank.member).locked
    made = post(market, order, order, path="/v1/agreements", key="order-7") + post(
        market, order, path="/v1/agreements", key="order-7"
    )
    assert {item.status_code for item in made} == {201}, made[0].text
    (agreement,) = {item.json()["agreementId"] for item in made}
    market.bank.done(made[0].json()["openOperation"])
    assert account(market.bank.member).locked == before + 700
    (other,) = post(market, {**order, "cap": 701}, path="/v1/agreements", key="order-7")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    (without,) = post(market, order, path="/v1/agreements")
    assert without.json()["agreementId"] != agreement


def test_a_grant_asked_for_twice_under_one_key_is_one_grant(market: Market) -> None:
    wanted = {
        "assetId": "0x" + market.asset_id.hex(),
        "owner": market.department.member,
        "operations": 4,
        "scene": "credit",
        "purpose": "statistics",
        "columns": ["age"],
        "notBefore": 1,
        "notAfter": 2**40,
        "maxUses": 5,
    }
    made = post(market, wanted, wanted, path="/v1/grants", key="ask-7") + post(
        market, wanted, path="/v1/grants", key="ask-7"
    )
    assert {item.status_code for item in made} == {202}, made[0].text
    assert len({item.json()["grantId"] for item in made}) == 1
    market.bank.done(made[0].json()["operation"])
    (other,) = post(market, {**wanted, "maxUses": 6}, path="/v1/grants", key="ask-7")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")


def test_the_largest_batch_is_served_whole_and_a_larger_one_not_at_all(
    market: Market, agreement_id: bytes
) -> None:
    before = owed(market, agreement_id)
    assert (
        post(market, {"calls": [call(agreement_id)] * (MAX_BATCH_CALLS + 1)})[0].status_code == 422
    )
    assert post(market, {"calls": []})[0].status_code == 422
    assert owed(market, agreement_id) == before
    results = batch(market, *(call(agreement_id, number % 40) for number in range(MAX_BATCH_CALLS)))
    assert [result["record"]["seniority"] for result in results] == [
        number % 40 for number in range(MAX_BATCH_CALLS)
    ]
    assert len({(result["lane"], result["seq"]) for result in results}) == MAX_BATCH_CALLS
    assert owed(market, agreement_id) == before + MAX_BATCH_CALLS * 50
