"""Whatever is billed fits into an answer, whatever is asked fits into a request, and subjects
cannot be enumerated.
"""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import Iterator
from typing import Any

import pytest

from chain.core.errors import BadInput, Unavailable
from exchange.metering import buyer as buyer_side
from exchange.metering import service as metering
from exchange.metering import usage_exchange
from exchange.metering.gateway import Gateway
from exchange.metering.model import CallStatus, GatewayLimits
from registry.credit.rules import MAX_CONSENT_BYTES, check_package, require_identity
from registry.credit.store import StoredConsentRow
from registry.pages import PageRequest
from tests.exchange.conftest import Market
from tests.support.node import sources_of


@pytest.fixture
def agreement_id(market: Market, grant_id: bytes) -> bytes:
    found: bytes = market.open(grant_id, cap=1000, lanes=4)
    return found


@pytest.fixture
def limited(market: Market) -> Iterator[Any]:
    """Restarts the department's gateway with limits of its own."""
    services = market.department.context.services

    def start(**limits: int) -> None:
        services.put(GatewayLimits(**limits))
        market.department.restarted()

    yield start
    services.drop(GatewayLimits)
    market.department.restarted()


def together(market: Market, agreement_id: bytes, numbers: list[int]) -> list[Any]:
    """Calls that are ready at one moment and travel in one exchange."""

    async def all_() -> list[Any]:
        return list(
            await asyncio.gather(
                *(
                    metering.call(market.bank.context, agreement_id, market.query(number))
                    for number in numbers
                )
            )
        )

    found: list[Any] = market.run(all_())
    return found


def billed(market: Market, agreement_id: bytes) -> int:
    amount: int = market.run(
        Gateway.of(market.department.context).trade(agreement_id)
    ).totals.amount
    return amount


# --- Answers --------------------------------------------------------------------------------------


def test_an_answer_over_the_gateways_limit_is_refused_unbilled_and_the_lane_goes_on(
    market: Market, agreement_id: bytes, limited: Any
) -> None:
    limited(answer_bytes=10)
    result = market.call(agreement_id)
    assert (result.status, result.reason, result.amount) == (
        CallStatus.REFUSED,
        "answer_too_large",
        0,
    )
    limited(answer_bytes=10_000)
    assert market.call(agreement_id).status == CallStatus.SERVED
    assert billed(market, agreement_id) == 50


def test_a_lane_that_waits_for_an_answer_no_node_accepts_is_voided_and_goes_on(
    market: Market, agreement_id: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buyer_side, "RETRY_SECONDS", 0.0)
    market.call(agreement_id)
    market.bank.peers.lost = 1
    with pytest.raises(Unavailable):
        market.call(agreement_id, 2, key="too large")
    with monkeypatch.context() as smaller:
        smaller.setattr(usage_exchange, "MAX_EXCHANGE_BYTES", 100)
        result = market.run(metering.fetch(market.bank.context, "too large"))
    assert (result.status, result.reason, result.amount) == (CallStatus.VOID, "answer_too_large", 0)
    assert market.call(agreement_id, 3).status == CallStatus.SERVED
    assert billed(market, agreement_id) == 100


def test_answers_that_do_not_fit_into_one_exchange_come_in_several(
    market: Market, agreement_id: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    market.call(agreement_id)
    monkeypatch.setattr(usage_exchange, "MAX_EXCHANGE_BYTES", 1)
    sent = len(market.bank.peers.sent)
    results = together(market, agreement_id, [1, 2, 3, 4])
    assert [result.status for result in results] == [CallStatus.SERVED] * 4
    assert len(market.bank.peers.sent) - sent >= 4
    assert billed(market, agreement_id) == 5 * 50


UNSPEAKABLE = [
    float("nan"),
    float("inf"),
    "\ud800",
    2**53,
    b"bytes",
    datetime.date(2026, 1, 1),
    object(),
]


@pytest.mark.parametrize(
    "value",
    UNSPEAKABLE,
    ids=[type(item).__name__ + str(index) for index, item in enumerate(UNSPEAKABLE)],
)
def test_a_value_that_json_cannot_hold_is_refused_and_breaks_no_neighbour(
    market: Market, agreement_id: bytes, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = sources_of(market.department.context)["people"]
    monkeypatch.setitem(source.lookup("92440700MA4W000002"), "seniority", value)
    results = together(market, agreement_id, [1, 2, 3, 4])
    assert [result.status for result in results] == [
        CallStatus.SERVED,
        CallStatus.REFUSED,
        CallStatus.SERVED,
        CallStatus.SERVED,
    ]
    assert billed(market, agreement_id) == 150


def test_a_source_that_fails_serves_nothing_and_bills_nothing(
    market: Market, agreement_id: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_self: Any, _key: str) -> Any:
        raise RuntimeError("the disk is gone")

    with monkeypatch.context() as broken:
        broken.setattr(type(sources_of(market.department.context)["people"]), "lookup", fails)
        refused = market.call(agreement_id)
    assert (refused.status, refused.amount) == (CallStatus.REFUSED, 0)
    assert market.call(agreement_id).status == CallStatus.SERVED
    assert billed(market, agreement_id) == 50


# --- Requests -------------------------------------------------------------------------------------


def test_a_consent_that_no_call_can_carry_is_refused_where_it_is_taken_in() -> None:
    with pytest.raises(BadInput) as taken:
        check_package(
            {"identity": {"photo": "x" * MAX_CONSENT_BYTES}},
            consent_domain=None,
            certificate_domain=None,
        )  # type: ignore[arg-type]
    with pytest.raises(BadInput) as certified:
        require_identity({"code": "A1", "photo": "x" * 16_000})
    assert (taken.value.code, certified.value.code) == ("consent_too_large", "identity_too_large")


def test_a_consent_too_large_to_send_stops_before_signing_and_the_lane_serves_others(
    market: Market, agreement_id: bytes
) -> None:
    stored = StoredConsentRow(
        commitment=b"\7" * 32,
        subject="92440700MA4W000001",
        authority="0x" + "11" * 20,
        package={"photo": "x" * 9_900_000},
    )
    market.bank.context.database.write(lambda session: session.merge(stored))
    with pytest.raises(BadInput) as refused:
        market.call(agreement_id, 1, consent="0x" + "07" * 32)
    assert refused.value.code == "consent_too_large"
    assert metering.calls(market.bank.context, PageRequest(), agreement_id=agreement_id).rows == []
    assert [item.status for item in together(market, agreement_id, [2, 3, 4])] == [
        CallStatus.SERVED
    ] * 3


def test_a_query_that_json_cannot_hold_stops_before_signing(
    market: Market, agreement_id: bytes
) -> None:
    with pytest.raises(BadInput) as refused:
        market.call(agreement_id, subject="\ud800")
    assert refused.value.code == "query_malformed"
    assert market.call(agreement_id).seq == 1


# --- Unknown subjects -----------------------------------------------------------------------------


def test_unknown_subjects_are_limited_by_grant_also_over_agreements_and_a_restart(
    market: Market, limited: Any
) -> None:
    limited(unknown_subjects=3)
    grant_id, other = market.grant(), market.grant()
    first, second, elsewhere = market.open(grant_id), market.open(grant_id), market.open(other)
    asked = [
        market.call(value, 900 + index).reason for index, value in enumerate((first, second, first))
    ]
    assert asked == ["subject_unknown"] * 3
    refused = [market.call(first, 1), market.call(second, 999)]
    assert [(result.reason, result.amount) for result in refused] == [
        ("too_many_unknown_subjects", 0)
    ] * 2
    market.department.restarted()
    assert market.call(second, 1).reason == "too_many_unknown_subjects"
    assert market.call(elsewhere, 1).status == CallStatus.SERVED
    reported = metering.unknown_subjects(market.department.context)
    (row,) = [refusals for refusals in reported if refusals.grant_id == grant_id]
    assert (row.refusals, (row.refused_until or 0) > row.last_at) == (3, True)


def test_within_one_exchange_known_subjects_after_the_limit_are_refused_like_unknown_ones(
    market: Market, limited: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(unknown_subjects=1)
    agreement_id = market.open(market.grant(), lanes=4)
    market.run(buyer_side.Buyer.of(market.bank.context).trade(agreement_id))
    monkeypatch.setattr(buyer_side, "RETRY_SECONDS", 0.0)
    market.bank.peers.refusal, before = (
        Unavailable("peer_unreachable", "No line."),
        len(market.bank.peers.sent),
    )

    async def signed() -> None:
        asked = [
            metering.call(market.bank.context, agreement_id, market.query(number))
            for number in (1, 901, 2, 902)
        ]
        await asyncio.gather(*asked, return_exceptions=True)

    try:
        market.run(signed())
    finally:
        market.bank.peers.refusal = None
    items = {
        request["query"]["subject"][-3:]: request
        for _, body in market.bank.peers.sent[before:]
        for request in body["requests"]
    }
    one_exchange = [items[number] for number in ("001", "901", "002", "902")]
    answers = market.run(
        metering.serve(market.department.context, market.bank.member, one_exchange)
    )
    reasons = [json.loads(answer)["receipt"]["reason"] for answer in answers]
    assert reasons == [
        "",
        "subject_unknown",
        "too_many_unknown_subjects",
        "too_many_unknown_subjects",
    ]


def test_an_unknown_subject_takes_a_use_of_the_grant_and_costs_nothing(market: Market) -> None:
    agreement_id = market.open(market.grant(max_uses=2))
    assert [market.call(agreement_id, number).reason for number in (901, 902)] == [
        "subject_unknown"
    ] * 2
    market.department.restarted()
    result = market.call(agreement_id, 1)
    assert (result.reason, result.amount) == ("grant_used_up", 0)
