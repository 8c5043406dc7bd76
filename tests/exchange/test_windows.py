"""Closing windows leave the provider time to claim, and the buyer has no share in what it pays."""

from __future__ import annotations

import dataclasses
import secrets
from typing import Any

import httpx
import pytest

from chain.core.errors import BadInput, QiaolianError
from chain.ethereum.deployment import CloseWindow
from chain.ethereum.ledger import Reverted
from chain.statements.trade import Agreement, Share
from exchange.agreements import countersigning, rules
from exchange.agreements import service as agreements
from tests.exchange.conftest import Market

DAY = CloseWindow(86_400, 86_400)


@pytest.mark.parametrize(
    ("window", "code"),
    [
        (CloseWindow(0, 0), "window_too_short"),
        (CloseWindow(10, 10), "window_too_short"),
        (CloseWindow(86_399, 86_400), "window_too_short"),
        (CloseWindow(86_400, 86_399), "window_too_short"),
        (CloseWindow(7_776_001, 86_400), "window_too_long"),
        (CloseWindow(86_400, 2**32 - 1), "window_too_long"),
    ],
)
def test_a_window_the_chain_would_refuse_is_refused_with_what_to_do(
    window: CloseWindow, code: str
) -> None:
    with pytest.raises(BadInput) as refused:
        rules.require_window(window, DAY)
    assert refused.value.code == code
    assert refused.value.hint


@pytest.mark.parametrize(
    "window", [DAY, CloseWindow(604_800, 604_800), CloseWindow(7_776_000, 7_776_000)]
)
def test_windows_of_a_day_to_ninety_days_are_taken(window: CloseWindow) -> None:
    rules.require_window(window, DAY)


def test_an_offer_states_seven_days_or_the_networks_longer_minimum() -> None:
    assert rules.default_window(DAY) == CloseWindow(604_800, 604_800)
    assert rules.default_window(CloseWindow(5, 1_209_600)) == CloseWindow(604_800, 1_209_600)


def test_an_offer_made_without_windows_states_seven_days(market: Market) -> None:
    body = {
        "assetId": "0x" + "22" * 32,
        "assetVersion": 1,
        "price": 5,
        "maxCap": 100,
        "maxPerCall": 5,
        "shares": [{"member": market.department.member, "basisPoints": 10_000}],
    }

    async def post(changes: dict[str, Any]) -> Any:
        transport = httpx.ASGITransport(app=market.department.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
            answer = await client.post(
                "/v1/offers", json={**body, **changes}, headers={"x-local": "clerk"}
            )
        return answer.json()

    made = market.run(post({}))
    assert (made["closeWindowBlocks"], made["closeWindowSeconds"]) == (604_800, 604_800)
    assert market.run(post({"closeWindowSeconds": 1}))["code"] == "window_too_short"
    assert market.run(post({"closeWindowBlocks": 7_776_001}))["code"] == "window_too_long"


def test_a_proposal_below_the_networks_windows_is_not_countersigned(
    market: Market, grant_id: bytes
) -> None:
    terms, agreement = proposal(market, grant_id, close_window_blocks=0, close_window_seconds=0)
    signature = market.bank.context.sign(agreement)
    with pytest.raises(QiaolianError) as refused:
        countersigning.countersign(
            market.department.context, market.bank.member, agreement, terms, signature
        )
    assert refused.value.code == "window_too_short"


def test_the_chain_opens_no_agreement_below_its_windows_or_with_a_share_for_the_buyer(
    market: Market, grant_id: bytes
) -> None:
    for changes, code in (
        ({"close_window_blocks": 1}, "window_too_short"),
        ({"close_window_seconds": 7_776_001}, "window_too_long"),
        ({"shares": (Share(market.bank.member, 10_000),)}, "buyer_has_share"),
    ):
        terms, agreement = proposal(market, grant_id, **changes)
        signatures = [node.context.sign(agreement) for node in (market.department, market.bank)]
        ledger = market.bank.context.ledger
        address, data = ledger.encode("TradeSettlement", "open", agreement, terms, *signatures)
        with pytest.raises(Reverted) as refused:
            ledger.simulate(address, data, sender=market.bank.context.transaction_address)
        assert refused.value.code == code


def test_a_buyer_has_no_share_in_what_it_pays(market: Market, grant_id: bytes) -> None:
    shares = (Share(market.department.member, 5_000), Share(market.bank.member, 5_000))
    with pytest.raises(BadInput) as refused:
        market.offer(shares=shares, buyers=(market.bank.member,))
    assert refused.value.code == "buyer_has_share"
    with pytest.raises(BadInput) as refused:
        market.propose(grant_id, cap=100, shares=shares)
    assert refused.value.code == "buyer_has_share"
    terms, agreement = proposal(market, grant_id, shares=shares)
    signature = market.bank.context.sign(agreement)
    with pytest.raises(BadInput) as refused:
        countersigning.countersign(
            market.department.context, market.bank.member, agreement, terms, signature
        )
    assert refused.value.code == "buyer_has_share"


def proposal(market: Market, grant_id: bytes, **changes: Any) -> tuple[Any, Agreement]:
    """A proposal like one the bank has made, with some terms changed; the grant's terms."""
    made = agreements.load(market.bank.context, market.open(grant_id, cap=100))
    return made.terms, dataclasses.replace(made.agreement, nonce=secrets.token_bytes(32), **changes)
