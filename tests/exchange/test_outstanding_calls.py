"""Calls that end without an answer: each names its key, and ends delivered, or unbilled and known."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from chain.core.errors import Conflict, NotFound, QiaolianError, RefusedBy, Refuser, Unavailable
from chain.statements.trade import RequestWithdrawal, UsageReceipt, UsageRequest
from exchange.closing import notice
from exchange.metering import batcher
from exchange.metering import buyer as buyer_side
from exchange.metering import service as metering
from exchange.metering.gateway import Gateway
from exchange.metering.model import CallOutstanding, CallResult, CallStatus
from exchange.metering.store import BUYER, GATEWAY
from exchange.reconciliation import service as reconciliation
from nodes.answers import HttpAnswer, peer_refusal
from nodes.problems import problem
from registry.evidence.store import ENTRIES, PENDING
from registry.pages import PageRequest
from tests.exchange.conftest import Market
from tests.support.stale_view import stale


@pytest.fixture
def agreement_id(market: Market, grant_id: bytes) -> bytes:
    found: bytes = market.open(grant_id, cap=1000)
    market.run(buyer_side.Buyer.of(market.bank.context).trade(found))
    return found


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buyer_side, "RETRY_SECONDS", 0.0)


def refusal(member: str, status: int, code: str) -> QiaolianError:
    error = QiaolianError(code, "Refused.")
    error.status = status
    page = HttpAnswer(status, "text/html", b"<html>")
    gate = HttpAnswer(status, "application/problem+json", problem(error, member=member)[1])
    return peer_refusal(member, "10.0.0.5:8443", gate if code else page)


@contextmanager
def in_the_way(market: Market, status: int, code: str) -> Iterator[None]:
    """What a peer's gate answers to every exchange of calls; without a code, what a proxy before it
    does.
    """
    market.bank.peers.refusal = refusal(market.department.member, status, code)
    try:
        yield
    finally:
        market.bank.peers.refusal = None


def outstanding(
    market: Market, agreement_id: bytes, number: int = 1, key: str | None = None
) -> CallOutstanding:
    with pytest.raises(CallOutstanding) as caught:
        market.call(agreement_id, number, key=key)
    return caught.value


def key_of(error: QiaolianError) -> str:
    key = error.context["idempotencyKey"]
    assert isinstance(key, str)
    assert key in error.hint
    return key


def fetch(market: Market, key: str) -> CallResult:
    found: CallResult = market.run(metering.fetch(market.bank.context, key))
    return found


def withdraw(market: Market, key: str) -> CallResult:
    found: CallResult = market.run(metering.withdraw(market.bank.context, key))
    return found


def billed(market: Market, agreement_id: bytes) -> int:
    amount: int = market.run(
        Gateway.of(market.department.context).trade(agreement_id)
    ).totals.amount
    return amount


REFUSALS = [
    (401, "token_expired"),
    (401, "token_replayed"),
    (403, "member_suspended"),
    (403, ""),
    (404, "path_unknown"),
    (409, "some_conflict"),
    (413, "body_too_large"),
    (422, "json_not_unicode"),
    (429, ""),
    (500, "internal_error"),
    (502, ""),
    (503, "chain_view_stale"),
]
PROXY_CODES = {403: "proxy_forbidden", 429: "proxy_busy", 502: "proxy_bad_gateway"}


# --- Every ending names its key -------------------------------------------------------------------


@pytest.mark.parametrize(("status", "code"), REFUSALS)
def test_what_a_transport_or_token_check_says_is_no_refusal_of_the_call(
    market: Market, agreement_id: bytes, status: int, code: str
) -> None:
    with in_the_way(market, status, code):
        error = outstanding(market, agreement_id)
    assert (error.status, error.context["cause"]) == (503, code or PROXY_CODES[status])
    kind = Refuser.PEER if code else Refuser.PROXY
    assert error.refused_by == RefusedBy(kind, market.department.member, "10.0.0.5:8443")
    assert fetch(market, key_of(error)).status == CallStatus.SERVED
    assert billed(market, agreement_id) == 50


@pytest.mark.parametrize(("status", "code"), REFUSALS)
def test_a_call_that_its_caller_was_told_to_have_failed_is_never_billed_by_the_next(
    market: Market, agreement_id: bytes, status: int, code: str
) -> None:
    with in_the_way(market, status, code):
        key = key_of(outstanding(market, agreement_id, 1))
    assert market.call(agreement_id, 2).seq == 2
    assert billed(market, agreement_id) == 50
    ended = fetch(market, key)
    assert (ended.status, ended.reason, ended.amount) == (CallStatus.REFUSED, "withdrawn", 0)


def test_timeouts_and_cut_lines_name_the_key(market: Market, agreement_id: bytes) -> None:
    market.bank.peers.broken = True
    try:
        error = outstanding(market, agreement_id)
        with pytest.raises(Unavailable) as blocked:
            market.call(agreement_id, 2)
    finally:
        market.bank.peers.broken = False
    assert (blocked.value.code, blocked.value.context["outstandingKey"]) == (
        "lane_blocked",
        key_of(error),
    )
    assert withdraw(market, key_of(error)).reason == "withdrawn"
    market.bank.peers.lost = 1
    assert key_of(outstanding(market, agreement_id, 3, "mine")) == "mine"
    assert (fetch(market, "mine").status, billed(market, agreement_id)) == (CallStatus.SERVED, 50)


def test_an_error_answer_of_the_gateway_leaves_the_request_outstanding(
    market: Market, agreement_id: bytes
) -> None:
    market.bank.peers.altered = lambda _value: {
        "answers": [{"error": {"code": "not_buyer", "detail": "No.", "status": 403}}]
    }
    try:
        error = outstanding(market, agreement_id)
    finally:
        market.bank.peers.altered = None
    assert error.context["cause"] == "not_buyer"
    assert withdraw(market, key_of(error)).content is not None, (
        "the gateway had served it all the same"
    )


def test_an_answer_that_halts_the_lane_names_the_key_and_is_told_again(
    market: Market, agreement_id: bytes
) -> None:
    def forged(value: Any) -> Any:
        value["answers"][0]["receipt"]["amount"] = "500"
        return value

    market.bank.peers.altered = forged
    try:
        with pytest.raises(Conflict) as halted:
            market.call(agreement_id, key="halts")
    finally:
        market.bank.peers.altered = None
    assert (halted.value.code, halted.value.context["idempotencyKey"]) == (
        "answer_wrong_signer",
        "halts",
    )
    for again in (fetch, withdraw):
        with pytest.raises(Conflict) as caught:
            again(market, "halts")
        assert (caught.value.code, caught.value.context["idempotencyKey"]) == (
            "answer_wrong_signer",
            "halts",
        )


def test_a_failure_inside_this_node_names_the_key(
    market: Market, agreement_id: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("unexpected")

    with monkeypatch.context() as broken:
        broken.setattr(batcher, "store_completed", fails)
        error = outstanding(market, agreement_id)
    assert error.context["cause"] == "internal_error"
    assert (fetch(market, key_of(error)).status, billed(market, agreement_id)) == (
        CallStatus.SERVED,
        50,
    )


def test_a_call_whose_client_went_away_is_found_in_the_list(
    market: Market, agreement_id: bytes
) -> None:
    async def cancelled() -> None:
        call = asyncio.ensure_future(
            metering.call(market.bank.context, agreement_id, market.query(1))
        )
        while not metering.calls(
            market.bank.context, PageRequest(), agreement_id=agreement_id
        ).rows:
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        lane = (await buyer_side.Buyer.of(market.bank.context).trade(agreement_id)).lanes[0]
        async with lane.lock:
            return

    market.run(cancelled())
    (listed,) = metering.calls(market.bank.context, PageRequest(), agreement_id=agreement_id).rows
    assert listed.status == "served"
    assert fetch(market, listed.key).content is not None


@pytest.mark.parametrize("again", ["fetched", "withdrawn", "next"])
def test_a_restart_leaves_an_unanswered_request_to_its_caller(
    market: Market, agreement_id: bytes, again: str
) -> None:
    with in_the_way(market, 401, "token_expired"):
        key = key_of(outstanding(market, agreement_id))
    market.bank.restarted()
    market.department.restarted()
    (listed,) = metering.calls(
        market.bank.context, PageRequest(), agreement_id=agreement_id, outcome="outstanding"
    ).rows
    assert listed.key == key
    if again == "fetched":
        assert (fetch(market, key).status, billed(market, agreement_id)) == (CallStatus.SERVED, 50)
    elif again == "withdrawn":
        assert (withdraw(market, key).reason, billed(market, agreement_id)) == ("withdrawn", 0)
    else:
        assert (market.call(agreement_id, 2).seq, fetch(market, key).reason) == (2, "withdrawn")


def test_an_unknown_key_is_refused(market: Market) -> None:
    for again in (fetch, withdraw):
        with pytest.raises(NotFound) as caught:
            again(market, "never used")
        assert caught.value.code == "call_unknown"


# --- Withdrawal -----------------------------------------------------------------------------------


def test_a_withdrawn_request_is_a_receipt_of_zero_units_kept_in_both_logs(
    market: Market, agreement_id: bytes
) -> None:
    with in_the_way(market, 401, "token_expired"):
        key = key_of(outstanding(market, agreement_id))
    result = withdraw(market, key)
    assert (result.status, result.reason, result.units, result.amount) == (
        CallStatus.REFUSED,
        "withdrawn",
        0,
        0,
    )
    digests = []
    for node, table in ((market.bank, BUYER), (market.department, GATEWAY)):
        with node.context.database.read() as session:
            row = session.execute(
                sa.select(table).where(table.c.agreement_id == agreement_id)
            ).one()
            logged = {
                item
                for log in (ENTRIES, PENDING)
                for item in session.scalars(sa.select(log.c.digest))
            }
        statement = RequestWithdrawal.from_json(json.loads(row.withdrawal))
        assert statement.request == row.request_hash
        digests.append(statement.digest(node.context.domain("TradeSettlement")))
        assert digests[-1] in logged
    assert digests[0] == digests[1]
    assert withdraw(market, key) == result


def test_a_request_served_before_its_withdrawal_is_delivered_and_owed(
    market: Market, agreement_id: bytes
) -> None:
    market.bank.peers.lost = 1
    result = withdraw(market, key_of(outstanding(market, agreement_id)))
    assert (result.status, result.amount) == (CallStatus.SERVED, 50)
    assert result.content is not None


def test_a_lost_answer_to_a_withdrawal_is_asked_for_again(
    market: Market, agreement_id: bytes
) -> None:
    with in_the_way(market, 401, "token_expired"):
        key = key_of(outstanding(market, agreement_id))
    market.bank.peers.lost = 1
    with pytest.raises(CallOutstanding):
        withdraw(market, key)
    market.bank.restarted()
    assert fetch(market, key).reason == "withdrawn"
    assert (market.call(agreement_id, 2).seq, billed(market, agreement_id)) == (2, 50)


def test_a_key_withdrawn_by_its_caller_stays_used_and_one_withdrawn_by_the_node_asks_anew(
    market: Market, agreement_id: bytes
) -> None:
    with in_the_way(market, 401, "token_expired"):
        outstanding(market, agreement_id, 1, "by caller")
    withdraw(market, "by caller")
    assert market.call(agreement_id, 1, key="by caller").reason == "withdrawn"
    with in_the_way(market, 401, "token_expired"):
        outstanding(market, agreement_id, 1, "by node")
    market.call(agreement_id, 2)
    again = market.call(agreement_id, 1, key="by node")
    assert (again.status, again.seq) == (CallStatus.SERVED, 4)
    assert market.call(agreement_id, 1, key="by node") == again
    assert billed(market, agreement_id) == 100


def test_a_withdrawal_works_under_an_old_view(market: Market, agreement_id: bytes) -> None:
    with in_the_way(market, 401, "token_expired"):
        key = key_of(outstanding(market, agreement_id))
    with stale(market.department.context.view):
        assert withdraw(market, key).reason == "withdrawn"


def test_closing_withdraws_what_nobody_waits_for(market: Market, agreement_id: bytes) -> None:
    market.call(agreement_id)
    with in_the_way(market, 401, "token_expired"):
        key = key_of(outstanding(market, agreement_id, 2))
    (signed,) = market.run(notice.acknowledge_all(market.bank.context, agreement_id))
    assert (signed.voucher.seq, signed.voucher.acknowledged_amount) == (2, 50)
    assert fetch(market, key).reason == "withdrawn"
    compared = market.run(reconciliation.reconcile(market.supervisor.context, agreement_id))
    assert compared.agree, compared.findings


@pytest.mark.parametrize("forged", ["another request", "another signer", "no statement"])
def test_a_forged_withdrawal_takes_no_position(
    market: Market, agreement_id: bytes, forged: str
) -> None:
    with in_the_way(market, 401, "token_expired"):
        key = key_of(outstanding(market, agreement_id))
    item = next(
        body for path, body in reversed(market.bank.peers.sent) if path == "/v1/peer/calls"
    )["requests"][0]
    request = UsageRequest.from_json(item["request"])
    named = request.struct_hash() if forged != "another request" else bytes(32)
    statement = RequestWithdrawal(1, agreement_id, 0, 1, named, 1)
    signer = market.supervisor if forged == "another signer" else market.bank
    item |= {
        "withdrawal": statement.to_json(),
        "withdrawalSignature": "0x" + signer.context.sign(statement).hex(),
    }
    if forged == "no statement":
        item["withdrawal"] = {"version": 1}
    (answer,) = market.run(metering.serve(market.department.context, market.bank.member, [item]))
    assert answer["error"]["status"] in (403, 422)
    assert fetch(market, key).status == CallStatus.SERVED


@pytest.mark.parametrize("code", ["body_too_large", ""])
def test_one_request_that_a_gate_or_proxy_refuses_fails_none_beside_it(
    market: Market, grant_id: bytes, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    agreement_id = market.open(grant_id, cap=1000, lanes=4)
    line, post = market.bank.peers, market.bank.peers.post

    async def too_large(member: str, path: str, body: Any, **more: Any) -> Any:
        if (
            path == "/v1/peer/calls"
            and b"92440700MA4W000003" in body
            and b'"withdrawal"' not in body
        ):
            raise refusal(member, 413, code)
        return await post(member, path, body, **more)

    monkeypatch.setattr(line, "post", too_large)

    async def many() -> list[Any]:
        asked = [
            metering.call(market.bank.context, agreement_id, market.query(number))
            for number in range(4)
        ]
        return await asyncio.gather(*asked, return_exceptions=True)

    ended = market.run(many())
    assert [isinstance(item, CallOutstanding) for item in ended] == [False, False, False, True]
    for number in (0, 1, 2, 4, 5):
        assert market.call(agreement_id, number).status == CallStatus.SERVED
    assert billed(market, agreement_id) == 8 * 50


# --- The way of a person --------------------------------------------------------------------------


def test_the_api_names_the_key_fetches_and_withdraws(market: Market, agreement_id: bytes) -> None:
    async def check() -> None:
        transport = httpx.ASGITransport(app=market.bank.app)
        headers = {"x-local": "system", "idempotency-key": "order/1"}
        body = {
            "agreementId": "0x" + agreement_id.hex(),
            "subject": "92440700MA4W000001",
            "columns": ["age"],
            "purpose": "statistics",
        }
        async with httpx.AsyncClient(
            transport=transport, base_url="http://bank", headers=headers
        ) as client:
            with in_the_way(market, 401, "token_expired"):
                failed = await client.post("/v1/calls", json=body)
                (row,) = (
                    await client.post(
                        "/v1/calls/batch", json={"calls": [{**body, "key": "order/1"}]}
                    )
                ).json()["results"]
            assert (failed.status_code, failed.json()["code"]) == (503, "call_outstanding")
            assert (row["outcome"], row["reason"], row["idempotencyKey"]) == (
                "failed",
                "call_outstanding",
                "order/1",
            )
            listed = (
                await client.get(
                    "/v1/calls",
                    params={"outcome": "outstanding", "agreementId": body["agreementId"]},
                )
            ).json()
            assert [call["idempotencyKey"] for call in listed["calls"]] == ["order/1"]
            withdrawn = (await client.post("/v1/calls/order%2F1/withdraw")).json()
            assert (withdrawn["outcome"], withdrawn["reason"], withdrawn["amount"]) == (
                "refused",
                "withdrawn",
                0,
            )
            assert (await client.get("/v1/calls/order/1")).json() == withdrawn
            refused = await client.post("/v1/calls", json=body)
            assert (refused.status_code, refused.json()["code"]) == (403, "withdrawn")

    market.run(check())


def test_a_refusal_of_the_gateway_itself_is_final_and_signed(
    market: Market, agreement_id: bytes
) -> None:
    result = market.call(agreement_id, purpose="anti-fraud", key="refused")
    assert (result.status, result.reason) == (CallStatus.REFUSED, "purpose_not_granted")
    assert fetch(market, "refused") == withdraw(market, "refused") == result
    with market.bank.context.database.read() as session:
        row = session.execute(sa.select(BUYER).where(BUYER.c.idempotency_key == "refused")).one()
    assert UsageReceipt.from_json(json.loads(row.receipt)).reason == "purpose_not_granted"
