"""The call protocol between two nodes: what is refused, what is repeated, what survives."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chain.context import Context
from chain.core.database import Database
from chain.core.errors import BadInput, Conflict, Forbidden, QiaolianError, Unavailable
from chain.services import Services
from chain.statements.members import KeyPurpose
from chain.statements.trade import UsageRequest, Voucher
from exchange.agreements import countersigning
from exchange.agreements import service as agreements
from exchange.closing import notice
from exchange.metering import buyer as buyer_side
from exchange.metering import service as metering
from exchange.metering.gateway import Gateway
from exchange.metering.model import CallQuery, CallStatus
from exchange.reconciliation import service as reconciliation
from exchange.settlement import deposits
from exchange.settlement import service as settlement
from tests.exchange.conftest import Market, query
from tests.support.stale_view import stale


def signed(market: Market, request: UsageRequest) -> dict[str, Any]:
    signature = market.bank.context.sign(request)
    return {"request": request.to_json(), "signature": "0x" + signature.hex()}


def last_wire(market: Market) -> dict[str, Any]:
    """The last request the bank sent, as it went over the line."""
    path, body = next(
        entry for entry in reversed(market.bank.peers.sent) if entry[0] == "/v1/peer/calls"
    )
    assert path == "/v1/peer/calls"
    item: dict[str, Any] = copy.deepcopy(body["requests"][-1])
    return item


def serve(market: Market, item: Any, caller: str | None = None) -> Any:
    """What the gateway answers to one raw item."""
    return market.run(
        metering.serve(market.department.context, caller or market.bank.member, [item])
    )[0]


def resign(market: Market, item: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The request with some fields changed and signed again by the buyer."""
    request = UsageRequest.from_json({**item["request"], **changes})
    return {**item, **signed(market, request)}


# --- Positions ------------------------------------------------------------------------------------


def test_the_same_bytes_get_the_same_answer(market: Market, agreement_id: bytes) -> None:
    market.call(agreement_id)
    item = last_wire(market)
    assert serve(market, item) == serve(market, item)
    assert market.run(Gateway.of(market.department.context).trade(agreement_id)).totals.amount == 50


def test_another_request_for_a_used_position_is_refused(
    market: Market, agreement_id: bytes
) -> None:
    market.call(agreement_id)
    answer = serve(market, resign(market, last_wire(market), expiry=2**40))
    assert answer["error"]["code"] == "position_taken"


def test_a_sequence_gap_is_refused(market: Market, agreement_id: bytes) -> None:
    market.call(agreement_id)
    assert (
        serve(market, resign(market, last_wire(market), seq=3))["error"]["code"] == "sequence_gap"
    )


@pytest.mark.parametrize(
    "changes",
    [{"acknowledgedAmount": "49"}, {"acknowledgedUnits": 0}, {"previousReceipt": "0x" + "01" * 32}],
)
def test_an_acknowledgement_other_than_the_gateways_lane_state_is_refused(
    market: Market, agreement_id: bytes, changes: dict[str, Any]
) -> None:
    market.call(agreement_id)
    market.call(agreement_id, 2)
    item = last_wire(market)
    first = resign(market, item, seq=3, **changes)
    assert serve(market, first)["error"]["code"] == "acknowledgement_differs"


def test_a_request_signed_by_another_key_is_refused(market: Market, agreement_id: bytes) -> None:
    market.call(agreement_id)
    item = last_wire(market)
    request = UsageRequest.from_json({**item["request"], "seq": 2})
    item |= {
        "request": request.to_json(),
        "signature": "0x" + market.supervisor.context.sign(request).hex(),
    }
    assert serve(market, item)["error"]["code"] == "wrong_signer"


def test_another_member_cannot_use_the_buyers_requests(market: Market, agreement_id: bytes) -> None:
    market.call(agreement_id)
    answer = serve(market, last_wire(market), caller=market.operator.member)
    assert answer["error"]["code"] == "not_buyer"


def test_a_query_other_than_the_committed_one_is_refused(
    market: Market, agreement_id: bytes
) -> None:
    market.call(agreement_id)
    item = last_wire(market)
    item["query"]["subject"] = "92440700MA4W000009"
    assert serve(market, item)["error"]["code"] == "query_differs"


@pytest.mark.parametrize(
    "item",
    [
        None,
        7,
        {},
        {"request": {}},
        {"request": None, "signature": "0x"},
        {"request": {"seq": 2**70}},
        [[]],
    ],
)
def test_a_malformed_request_takes_no_position(market: Market, item: Any) -> None:
    assert serve(market, item)["error"]["status"] == 422


# --- Refusals that take the position --------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"purpose": "anti-fraud"}, "purpose_not_granted"),
        ({"columns": ("job",)}, "column_not_granted"),
        ({"columns": ("nothing",)}, "column_not_granted"),
        ({"subject": "92440700MA4W999999"}, "subject_unknown"),
    ],
)
def test_a_refused_call_costs_nothing_and_leaves_a_receipt(
    market: Market, agreement_id: bytes, changes: dict[str, Any], reason: str
) -> None:
    result = market.call(agreement_id, **changes)
    assert (result.status, result.reason, result.amount) == (CallStatus.REFUSED, reason, 0)
    assert market.call(agreement_id).seq == 2


def test_a_callers_change_is_stored_in_the_commit_of_the_record(
    market: Market, agreement_id: bytes
) -> None:
    database = market.bank.context.database
    stored: list[object] = []

    def served(number: int, **changes: Any) -> int:
        before = database.commits + database.routine_commits
        asked = query(number, **changes)
        market.run(metering.call(market.bank.context, agreement_id, asked, along=stored.append))
        return database.commits + database.routine_commits - before

    assert served(1) == 2, "the request, then the record with the caller's change"
    assert len(stored) == 1
    served(2, columns=("code",))
    assert len(stored) == 1, "a refusal delivers nothing to store along with"


def test_an_expired_request_is_refused_once_and_for_all(
    market: Market, agreement_id: bytes
) -> None:
    market.call(agreement_id)
    item, result = last_wire(market), market.call(agreement_id, 2)
    late = resign(
        market,
        item,
        seq=3,
        acknowledgedUnits=2,
        acknowledgedAmount="100",
        previousReceipt="0x" + result.receipt.hex(),
        expiry=1,
    )
    answer = serve(market, late)
    assert '"reason":"request_expired"' in answer
    market.bank.restarted()


def test_the_money_cap_holds_over_all_lanes(market: Market, grant_id: bytes) -> None:
    agreement_id = market.open(grant_id, cap=220, lanes=4)

    async def many() -> list[Any]:
        made = [
            metering.call(market.bank.context, agreement_id, query, idempotency_key=None)
            for query in queries
        ]
        return await asyncio.gather(*made)

    queries = [_query(number) for number in range(12)]
    results = market.run(many())
    served = [result for result in results if result.status == CallStatus.SERVED]
    assert len(served) == 4
    assert {result.reason for result in results} == {"", "cap_reached"}


def test_free_sharing_counts_units_and_needs_no_money(market: Market, grant_id: bytes) -> None:
    market.offer(price=0, max_cap=0, max_per_call=0, max_units=3)
    try:
        agreement_id = market.open(grant_id, cap=0, max_units=3, lanes=2)
        results = [market.call(agreement_id, number) for number in range(4)]
    finally:
        market.offer()
    assert [result.reason for result in results] == ["", "", "", "unit_cap_reached"]
    assert all(result.amount == 0 and result.receipt for result in results)
    with pytest.raises(Conflict) as refused:
        settlement.claim(market.department.context, agreement_id)
    assert refused.value.code == "nothing_to_claim"


def test_the_grants_count_is_kept_over_agreements(market: Market) -> None:
    grant_id = market.grant(max_uses=3)
    first, second = market.open(grant_id), market.open(grant_id)
    reasons = [market.call(value, 1).reason for value in (first, second, first, second)]
    assert reasons == ["", "", "", "grant_used_up"]


def test_a_revoked_grant_stops_at_the_owner_at_once(market: Market) -> None:
    grant_id = market.grant()
    agreement_id = market.open(grant_id)
    assert market.call(agreement_id).status == CallStatus.SERVED
    market.revoke(grant_id)
    assert market.call(agreement_id).reason == "grant_revoked"


def test_gateways_stop_at_notice(market: Market, agreement_id: bytes) -> None:
    market.call(agreement_id)
    notice.give_notice(market.department.context, agreement_id)
    market.department.done(f"notice/{agreement_id.hex()}")
    market.settle()
    assert market.call(agreement_id).reason == "agreement_in_notice"


def test_a_stale_view_serves_nothing_and_takes_no_position(
    market: Market, agreement_id: bytes
) -> None:
    market.call(agreement_id)
    patience, buyer_side.RETRY_SECONDS = buyer_side.RETRY_SECONDS, 0.0
    try:
        with stale(market.department.context.view), pytest.raises(Unavailable) as refused:
            market.call(agreement_id, 2, key="stale")
    finally:
        buyer_side.RETRY_SECONDS = patience
    assert (refused.value.code, refused.value.context["cause"]) == (
        "call_outstanding",
        "chain_view_stale",
    )
    assert market.call(agreement_id, 2, key="stale").seq == 2


# --- Repetition, loss, restarts -------------------------------------------------------------------


def test_the_same_key_gives_the_same_result_and_is_paid_once(
    market: Market, agreement_id: bytes
) -> None:
    first = market.call(agreement_id, 4, key="once")
    assert market.call(agreement_id, 4, key="once") == first
    market.bank.restarted()
    assert market.call(agreement_id, 4, key="once") == first
    with pytest.raises(Conflict) as refused:
        market.call(agreement_id, 5, key="once")
    assert refused.value.code == "idempotency_key_reused"


def test_two_callers_with_one_key_get_one_call(market: Market, agreement_id: bytes) -> None:
    async def both() -> list[Any]:
        made = [
            metering.call(market.bank.context, agreement_id, _query(1), idempotency_key="both")
            for _ in range(3)
        ]
        return await asyncio.gather(*made)

    assert {item.seq for item in market.run(both())} == {1}


def test_a_lost_answer_is_asked_for_again_and_paid_once(
    market: Market, agreement_id: bytes
) -> None:
    market.bank.peers.lost = 1
    result = market.call(agreement_id, 3, key="lost")
    assert (result.seq, result.status) == (1, CallStatus.SERVED)
    assert market.run(Gateway.of(market.department.context).trade(agreement_id)).totals.amount == 50


def test_a_request_left_open_by_a_crash_is_finished_by_the_next_process(
    market: Market, agreement_id: bytes
) -> None:
    market.bank.peers.lost = 1
    patience, buyer_side.RETRY_SECONDS = buyer_side.RETRY_SECONDS, 0.0
    try:
        with pytest.raises(Unavailable):
            market.call(agreement_id, 3, key="crash")
    finally:
        buyer_side.RETRY_SECONDS = patience
    market.bank.restarted()
    market.department.restarted()
    assert market.call(agreement_id, 5).seq == 2
    assert market.call(agreement_id, 3, key="crash").seq == 1


def test_a_gateway_that_restarts_goes_on_where_it_was(market: Market, agreement_id: bytes) -> None:
    for number in range(3):
        market.call(agreement_id, number)
        market.department.restarted()
    assert market.call(agreement_id).seq == 4
    assert (
        market.run(Gateway.of(market.department.context).trade(agreement_id)).totals.amount == 200
    )


def put_back(market: Market, path: Path) -> Context:
    """The bank's node over a copy of its database as it is now, to continue from later as from an old
    backup.
    """
    with (
        sqlite3.connect(market.bank.context.database.engine.url.database) as now,
        sqlite3.connect(path) as copy_,
    ):
        now.backup(copy_)
    return dataclasses.replace(
        market.bank.context, database=Database(f"sqlite:///{path}"), services=Services()
    )


def test_a_buyer_restored_from_an_old_backup_signs_no_used_position_again(
    market: Market, agreement_id: bytes, tmp_path: Path
) -> None:
    market.call(agreement_id)
    old = put_back(market, tmp_path / "old.db")
    market.call(agreement_id, 2)
    sent = len(market.bank.peers.sent)
    for _ in range(2):
        with pytest.raises(Conflict) as refused:
            market.run(metering.call(old, agreement_id, _query(3)))
        assert refused.value.code == "lane_behind_provider"
    assert len(market.bank.peers.sent) == sent, "nothing was signed and sent"
    new = put_back(market, tmp_path / "new.db")
    assert market.run(metering.call(new, agreement_id, _query(3))).seq == 3
    market.bank.restarted()


@pytest.mark.parametrize(
    "shown",
    [
        {},
        {"lanes": 5},
        {"lanes": {"0": {}}},
        {"lanes": {"0": None}},
        "a request of somebody else's",
    ],
)
def test_a_provider_that_shows_no_request_of_the_buyers_own_stops_nothing(
    market: Market, agreement_id: bytes, shown: Any
) -> None:
    market.call(agreement_id)
    market.bank.restarted()
    if isinstance(shown, str):
        request = dataclasses.replace(UsageRequest.from_json(last_wire(market)["request"]), seq=99)
        signature = market.department.context.sign(request)
        shown = {
            "lanes": {
                "0": {
                    "request": {"request": request.to_json(), "signature": "0x" + signature.hex()}
                }
            }
        }
    market.bank.peers.altered = lambda value: value if "answers" in value else shown
    try:
        assert market.call(agreement_id, 2).seq == 2
    finally:
        market.bank.peers.altered = None


def test_a_retry_after_revocation_voids_the_receipt(market: Market) -> None:
    grant_id = market.grant()
    agreement_id = market.open(grant_id)
    market.call(agreement_id)
    market.bank.peers.lost = 1
    patience, buyer_side.RETRY_SECONDS = buyer_side.RETRY_SECONDS, 0.0
    try:
        with pytest.raises(Unavailable):
            market.call(agreement_id, 2, key="void")
    finally:
        buyer_side.RETRY_SECONDS = patience
    market.revoke(grant_id)
    result = market.call(agreement_id, 2, key="void")
    assert (result.status, result.reason, result.amount) == (CallStatus.VOID, "grant_revoked", 0)
    assert market.run(Gateway.of(market.department.context).trade(agreement_id)).totals.amount == 50
    market.department.restarted()
    market.bank.restarted()
    market.run(notice.acknowledge_all(market.bank.context, agreement_id))
    compared = market.run(reconciliation.reconcile(market.supervisor.context, agreement_id))
    assert compared.agree, compared.findings


def test_a_request_with_a_salt_of_another_length_is_no_request(
    market: Market, agreement_id: bytes
) -> None:
    """HMAC pads a salt with zeros: the longer ones would open the same commitment."""
    market.call(agreement_id)
    item = last_wire(market)
    for salt in (item["salt"][:-2], item["salt"] + "00", item["salt"] + "00" * 8):
        answer = serve(market, {**item, "salt": salt})
        found = json.loads(answer) if isinstance(answer, str) else answer
        assert found["error"]["code"] == "field_malformed"


# --- A provider that cheats -----------------------------------------------------------------------


def _altered(edit: Callable[[dict[str, Any]], None]) -> Callable[[Any], Any]:
    def apply(value: Any) -> Any:
        edit(value["answers"][0])
        return value

    return apply


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda answer: answer["receipt"].update(amount="500"), "answer_wrong_signer"),
        (lambda answer: answer["content"]["record"].update(seniority=99), "response_differs"),
        (lambda answer: answer.update(signature="0x" + "11" * 65), "signature_malformed"),
        (lambda answer: answer.update(salt=answer["salt"][:-2]), "answer_malformed"),
        (lambda answer: answer.update(salt=answer["salt"] + "00"), "answer_malformed"),
        (lambda answer: answer.update(salt=answer["salt"] + "00" * 8), "answer_malformed"),
        (lambda answer: answer.clear(), "answer_malformed"),
    ],
)
def test_an_answer_that_contradicts_the_records_halts_the_lane(
    market: Market, agreement_id: bytes, edit: Callable[[dict[str, Any]], None], code: str
) -> None:
    market.call(agreement_id)
    market.bank.peers.altered = _altered(edit)
    try:
        with pytest.raises(QiaolianError) as refused:
            market.call(agreement_id, 2)
    finally:
        market.bank.peers.altered = None
    assert refused.value.code == code
    with pytest.raises(Conflict) as halted:
        market.call(agreement_id, 3)
    assert halted.value.code == "lane_halted"
    market.bank.restarted()
    with pytest.raises(Conflict):
        market.call(agreement_id, 3)


# --- Vouchers and claims --------------------------------------------------------------------------


def test_a_voucher_lower_than_what_was_delivered_is_refused(
    market: Market, agreement_id: bytes
) -> None:
    first = market.call(agreement_id)
    market.call(agreement_id, 2)
    voucher = Voucher(1, agreement_id, 0, 1, 1, 50, first.receipt)
    with pytest.raises(Conflict) as refused:
        market.run(
            metering.accept_voucher(
                market.department.context,
                market.bank.member,
                voucher,
                market.bank.context.sign(voucher),
            )
        )
    assert refused.value.code == "voucher_not_higher"


def test_only_the_provider_claims_and_nothing_twice(market: Market, agreement_id: bytes) -> None:
    market.call(agreement_id)
    market.call(agreement_id)
    with pytest.raises(Forbidden) as refused:
        settlement.claim(market.bank.context, agreement_id)
    assert refused.value.code == "not_provider"
    market.claim(agreement_id)
    with pytest.raises(Conflict) as nothing:
        settlement.claim(market.department.context, agreement_id)
    assert nothing.value.code == "nothing_to_claim"


def test_closing_before_a_notice_or_within_its_window_is_refused(
    market: Market, agreement_id: bytes
) -> None:
    with pytest.raises(Conflict) as unannounced:
        notice.close(market.bank.context, agreement_id)
    assert unannounced.value.code == "no_notice"
    market.bank.done(notice.give_notice(market.bank.context, agreement_id).operation)
    market.settle()
    with pytest.raises(Conflict) as refused:
        notice.close(market.bank.context, agreement_id)
    assert refused.value.code == "window_open"


def test_a_bank_reference_counts_once(market: Market) -> None:
    context = market.settlement_bank.context
    deposits.confirm_deposit(context, member=market.bank.member, amount=5, reference="twice")
    deposits.confirm_deposit(context, member=market.bank.member, amount=5, reference="twice")
    with pytest.raises(Conflict) as refused:
        deposits.confirm_deposit(context, member=market.bank.member, amount=6, reference="twice")
    assert refused.value.code == "idempotency_key_reused"
    with pytest.raises(Forbidden):
        deposits.confirm_deposit(
            market.bank.context, member=market.bank.member, amount=5, reference="own"
        )


# --- Agreements -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"cap": 0}, "no_cap"),
        ({"cap": 1000, "ends_at": 5}, "end_before_start"),
        ({"cap": 1000, "lanes": 0}, "wrong_lane"),
        ({"cap": 1000, "lanes": 257}, "wrong_lane"),
        ({"cap": 1000, "price": 49}, "offer_not_met"),
        ({"cap": 1_000_001}, "offer_not_met"),
        ({"cap": 1000, "seconds": 10_000_001}, "offer_not_met"),
        ({"cap": 1000, "close_window_blocks": 2}, "offer_not_met"),
        ({"cap": 1000, "close_window_blocks": 0}, "window_too_short"),
        ({"cap": 1000, "close_window_seconds": 1}, "window_too_short"),
        ({"cap": 1000, "close_window_seconds": 7_776_001}, "window_too_long"),
    ],
)
def test_an_agreement_outside_the_rules_or_the_offer_is_refused(
    market: Market, grant_id: bytes, wanted: dict[str, Any], code: str
) -> None:
    with pytest.raises(QiaolianError) as refused:
        market.propose(grant_id, **wanted)
    assert refused.value.code == code


def test_a_split_that_is_not_whole_is_refused(market: Market) -> None:
    from chain.statements.trade import Share

    with pytest.raises(BadInput) as refused:
        market.offer(shares=(Share(market.department.member, 9999),))
    assert refused.value.code == "shares_not_whole"


def test_a_proposal_is_signed_by_the_node_that_sends_it(
    market: Market, agreement_id: bytes
) -> None:
    stored = agreements.load(market.bank.context, agreement_id)
    assert stored.terms is not None
    with pytest.raises(Forbidden) as refused:
        countersigning.countersign(
            market.department.context,
            market.operator.member,
            stored.agreement,
            stored.terms,
            stored.buyer_signature,
        )
    assert refused.value.code == "not_buyer"
    assert market.bank.context.signers[KeyPurpose.STATEMENT].address == stored.agreement.buyer_key


def _query(number: int) -> CallQuery:
    return CallQuery(f"92440700MA4W{number:06d}", ("seniority", "age"), "statistics")
