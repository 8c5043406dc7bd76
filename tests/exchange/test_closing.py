"""Cooperative closing: final totals that both sides signed pay and refund at once; nothing is
served after them, and no money waits or is lost.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from chain.core.canonical import dumps
from chain.core.errors import Conflict, QiaolianError, Unavailable
from chain.statements.trade import FinalSettlement, UsageRequest, Voucher
from exchange.closing import notice, provider, rules, totals, worker
from exchange.closing import service as closing
from exchange.closing.model import ClosingOutcome
from exchange.closing.store import FinalSettlementRow
from exchange.metering import buyer as buyer_side
from exchange.metering import service as metering
from exchange.metering.buyer import Buyer
from exchange.metering.buyer_rules import closing_voucher
from exchange.metering.gateway import Gateway
from exchange.metering.model import ClosingVoucher, LaneState
from exchange.metering.store import GATEWAY
from exchange.proof_profile import check_lane, check_trade
from exchange.reconciliation import service as reconciliation
from exchange.settlement import bundles
from exchange.settlement import service as settlement
from registry.evidence.store import ENTRIES, PENDING
from tests.exchange.conftest import Market, Node
from tests.support.two_verifiers import verify


@pytest.fixture
def agreement_id(market: Market, grant_id: bytes) -> Iterator[bytes]:
    """An open agreement of two lanes; afterwards both nodes are as restarted, and the line is
    whole.
    """
    found: bytes = market.open(grant_id, cap=1000, lanes=2)
    yield found
    for node in (market.bank, market.department):
        node.peers.broken, node.peers.lost = False, 0
        node.restarted()


def end(market: Market, agreement_id: bytes, side: str = "bank", **how: bool) -> ClosingOutcome:
    """End the agreement from one side, impatiently."""
    patience, buyer_side.RETRY_SECONDS = buyer_side.RETRY_SECONDS, 0.1
    try:
        found: ClosingOutcome = market.run(
            closing.end(getattr(market, side).context, agreement_id, **how)
        )
    finally:
        buyer_side.RETRY_SECONDS = patience
    return found


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(QiaolianError) as caught:
        call()
    return caught.value.code


def on_chain(market: Market, agreement_id: bytes) -> Any:
    return market.department.context.ledger.settlement.agreement(agreement_id)


def settled(market: Market, agreement_id: bytes) -> Any:
    """The agreement on the chain once both sides' transactions and events are through."""
    for node in (market.department, market.bank):
        found = totals.view(node.context, agreement_id)
        assert found is not None
        if found.provider_signature is not None:
            node.done(f"final/{agreement_id.hex()}/{found.settlement.struct_hash().hex()[:16]}")
    market.settle()
    return on_chain(market, agreement_id)


def stored(node: Node, agreement_id: bytes) -> str | None:
    found = totals.view(node.context, agreement_id)
    return None if found is None else found.state


def positions(node: Node, agreement_id: bytes) -> int:
    with node.context.database.read() as session:
        query = sa.select(sa.func.count()).where(GATEWAY.c.agreement_id == agreement_id)
        return int(session.scalar(query) or 0)


def logged(node: Node, statement: Any) -> int:
    """How often a node's log names a statement."""
    digest = statement.digest(node.context.domain("TradeSettlement"))
    with node.context.database.read() as session:
        return sum(
            session.scalar(sa.select(sa.func.count()).where(table.c.digest == digest)) or 0
            for table in (ENTRIES, PENDING)
        )


# --- The way that leads to an end -----------------------------------------------------------------


@pytest.mark.parametrize("side", ["bank", "department"])
def test_either_side_ends_at_once_and_everything_delivered_is_paid(
    market: Market, agreement_id: bytes, side: str
) -> None:
    before = market.department.context.ledger.settlement.account(market.department.member)
    for number in range(5):
        market.call(agreement_id, number)
    answer = end(market, agreement_id, side)
    assert answer.way == "cooperative"
    state = settled(market, agreement_id)
    assert (state.paid, state.refunded, state.notice_at) == (250, 750, 0), (
        "the last call too, without a window"
    )
    assert state.closed_at
    after = market.department.context.ledger.settlement.account(market.department.member)
    assert after.earned - before.earned == 225, "90 %, once, though both sides sent it"
    assert answer.totals is not None
    signed = answer.totals.settlement
    assert (
        market.bank.context.ledger.settlement.final_settlement(agreement_id) == signed.struct_hash()
    )
    for node in (market.bank, market.department):
        assert stored(node, agreement_id) == "settled"
        assert logged(node, signed) == 1
    assert end(market, agreement_id, side).way == "closed"
    assert (
        market.run(reconciliation.reconcile(market.supervisor.context, agreement_id)).findings == []
    )
    assert settlement.accounts(market.bank.context).conserved is True


def test_what_was_claimed_before_is_paid_once_and_nothing_is_left_to_claim(
    market: Market, agreement_id: bytes
) -> None:
    for number in range(5):
        market.call(agreement_id, number)
    market.claim(agreement_id)
    assert on_chain(market, agreement_id).acknowledged == 200
    end(market, agreement_id)
    assert settled(market, agreement_id).paid == 250
    assert (
        refused(lambda: settlement.claim(market.department.context, agreement_id))
        == "nothing_to_claim"
    )


def test_a_claim_on_its_way_and_the_closing_do_not_harm_each_other(
    market: Market, agreement_id: bytes
) -> None:
    for number in range(3):
        market.call(agreement_id, number)
    market.department.context.ledger.rpc.call("evm_setAutomine", False)
    try:
        claimed = settlement.claim(market.department.context, agreement_id).operations
        end(market, agreement_id, "department")
    finally:
        market.department.context.ledger.rpc.call("evm_setAutomine", True)
        market.department.context.ledger.rpc.call("anvil_mine", "0x1")
    state = settled(market, agreement_id)
    assert (state.paid, state.refunded) == (150, 850)
    for operation in claimed:
        code = None
        try:
            market.department.done(operation)
        except QiaolianError as error:
            code = error.code
        assert code in (None, "agreement_is_closed"), (
            "mined before or after, a final outcome either way"
        )


def test_free_sharing_ends_cooperatively_without_money(market: Market) -> None:
    market.offer(price=0, max_cap=0, max_units=100, max_per_call=0)
    try:
        agreement_id = market.open(market.grant(), cap=0, max_units=10)
        market.call(agreement_id)
        assert end(market, agreement_id).way == "cooperative"
        state = settled(market, agreement_id)
        assert (state.opened, state.paid, state.refunded) == (0, 0, 0)
        assert state.closed_at
        found = totals.view(market.department.context, agreement_id)
        assert found is not None
        assert (found.settlement.units, found.settlement.amount) == (1, 0)
    finally:
        market.offer()


def test_an_unused_agreement_is_refunded_whole(market: Market, agreement_id: bytes) -> None:
    end(market, agreement_id)
    assert settled(market, agreement_id).refunded == 1000


def test_a_closing_after_notice_needs_no_window(market: Market, agreement_id: bytes) -> None:
    market.call(agreement_id)
    notice.give_notice(market.bank.context, agreement_id)
    market.bank.done(f"notice/{agreement_id.hex()}")
    market.settle()
    assert end(market, agreement_id).way == "cooperative"
    assert settled(market, agreement_id).paid == 50


# --- Nothing is served after the provider signed --------------------------------------------------


def test_nothing_is_served_or_asked_for_after_the_totals_are_signed(
    market: Market, agreement_id: bytes
) -> None:
    market.call(agreement_id)
    path, body = market.bank.peers.sent[-1]
    assert path == "/v1/peer/calls"
    end(market, agreement_id)
    for restarted in (False, True):
        if restarted:
            market.bank.restarted()
            market.department.restarted()
        assert refused(lambda: market.call(agreement_id, 2)) == "agreement_final"
        item = body["requests"][-1]
        request = UsageRequest.from_json(
            {**item["request"], "seq": 2, "acknowledgedUnits": 1, "acknowledgedAmount": "50"}
        )
        for sent in (
            item,
            {
                **item,
                "request": request.to_json(),
                "signature": "0x" + market.bank.context.sign(request).hex(),
            },
        ):
            (answer,) = market.run(
                metering.serve(market.department.context, market.bank.member, [sent])
            )
            assert answer["error"]["code"] == "agreement_final"
    assert positions(market.department, agreement_id) == 1, "no position was taken"


def test_a_call_under_way_is_in_the_totals_or_is_not_made(
    market: Market, agreement_id: bytes, ask: Any
) -> None:
    async def both() -> list[Any]:
        calls = [
            metering.call(market.bank.context, agreement_id, ask(number)) for number in range(6)
        ]
        return await asyncio.gather(
            *calls, closing.end(market.bank.context, agreement_id), return_exceptions=True
        )

    *calls, answer = market.run(both())
    assert answer.way == "cooperative"
    served = [call for call in calls if not isinstance(call, BaseException)]
    assert all(call.code == "agreement_final" for call in calls if isinstance(call, QiaolianError))
    assert settled(market, agreement_id).paid == 50 * len(served)
    assert positions(market.department, agreement_id) == len(served)


# --- Lost answers, crashes ------------------------------------------------------------------------


def test_a_lost_answer_is_asked_for_again_and_closes_once(
    market: Market, agreement_id: bytes
) -> None:
    market.call(agreement_id)
    market.bank.peers.lost = 1
    assert refused(lambda: end(market, agreement_id, notice=False)) == "peer_timeout"
    assert (stored(market.bank, agreement_id), stored(market.department, agreement_id)) == (
        "proposed",
        "signed",
    )
    assert refused(lambda: market.call(agreement_id, 2)) == "agreement_final"
    market.bank.restarted()
    market.department.restarted()
    assert end(market, agreement_id).way in ("cooperative", "closed")
    assert settled(market, agreement_id).paid == 50
    assert positions(market.department, agreement_id) == 1


def test_totals_stored_before_a_crash_are_sent_by_the_next_process(
    market: Market, agreement_id: bytes
) -> None:
    market.call(agreement_id)
    market.bank.peers.broken = True
    assert refused(lambda: end(market, agreement_id, notice=False)) == "peer_unreachable"
    market.bank.peers.broken = False
    market.bank.restarted()
    assert stored(market.bank, agreement_id) == "proposed"
    first = totals.view(market.bank.context, agreement_id)
    again = end(market, agreement_id).totals
    assert first is not None
    assert again is not None
    assert again.settlement == first.settlement, "the same bytes"
    assert settled(market, agreement_id).paid == 50


def test_a_buyers_worker_asks_again_after_a_crash_and_closes_once(
    market: Market, agreement_id: bytes
) -> None:
    market.call(agreement_id)
    market.bank.peers.broken = True
    assert refused(lambda: end(market, agreement_id, notice=False)) == "peer_unreachable"
    market.bank.restarted()
    now = 0.0
    repeating = worker.ClosingWorker(market.bank.context, clock=lambda: now)
    market.run(repeating.round())
    assert stored(market.bank, agreement_id) == "proposed"
    market.bank.peers.broken = False
    market.run(repeating.round())
    assert stored(market.bank, agreement_id) == "proposed", (
        "a provider that does not answer is left alone for a while"
    )
    now = worker.MAX_PAUSE
    market.run(repeating.round())
    assert stored(market.bank, agreement_id) == "signed"
    assert settled(market, agreement_id).paid == 50


def test_a_buyers_worker_opens_the_lanes_again_when_the_provider_does_not_sign(
    market: Market, agreement_id: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    market.call(agreement_id)
    market.bank.peers.broken = True
    assert refused(lambda: end(market, agreement_id, notice=False)) == "peer_unreachable"
    market.bank.peers.broken = False

    async def refuse(*_: object, **__: object) -> Any:
        raise Conflict("provider_key_changed", "The agreement pins another key.")

    with monkeypatch.context() as patch:
        patch.setattr(market.bank.peers, "post", refuse)
        market.run(worker.ClosingWorker(market.bank.context).round())
    assert stored(market.bank, agreement_id) == "refused"
    market.call(agreement_id, 2)


def test_a_provider_whose_commit_fails_has_signed_nothing_and_serves_on(
    market: Market, agreement_id: bytes
) -> None:
    market.call(agreement_id)
    body = proposal(market, agreement_id)
    engine = market.department.context.database.engine
    fails = "CREATE TRIGGER full BEFORE INSERT ON exchange_final_settlement BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
    with sqlite3.connect(engine.url.database) as connection:
        connection.execute(fails)
    try:
        with pytest.raises(sa.exc.IntegrityError):
            countersign(market, body)
    finally:
        with sqlite3.connect(engine.url.database) as connection:
            connection.execute("DROP TRIGGER full")
    assert stored(market.department, agreement_id) is None
    assert logged(market.department, body["settlement"]) == 0
    market.call(agreement_id, 2)


def test_a_buyer_that_hangs_up_while_the_provider_signs_gets_the_same_signature_later(
    market: Market, agreement_id: bytes
) -> None:
    market.call(agreement_id)
    body = proposal(market, agreement_id)
    context = market.department.context
    trade = market.run(Gateway.of(context).trade(agreement_id))

    async def hang_up() -> None:
        task = asyncio.ensure_future(provider.countersign(context, market.bank.member, **body))
        while not trade.final:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    market.run(hang_up())
    first = countersign(market, body)
    assert stored(market.department, agreement_id) == "signed"
    assert first == countersign(market, body)
    assert logged(market.department, body["settlement"]) == 1
    assert trade.final


def test_an_unanswered_closing_falls_back_to_notice_and_the_money_is_still_claimed(
    market: Market, agreement_id: bytes
) -> None:
    for number in range(3):
        market.call(agreement_id, number)
    market.bank.peers.broken = True
    answer = end(market, agreement_id)
    assert answer.refusal is not None
    assert (answer.way, answer.refusal.code) == ("notice", "peer_unreachable")
    assert answer.operation is not None
    market.bank.done(answer.operation)
    market.settle()
    market.claim(agreement_id)
    market.mine(5, 20)
    market.bank.done(notice.close(market.bank.context, agreement_id).operation)
    market.settle()
    assert on_chain(market, agreement_id).paid == 100, (
        "all but the last call, which only the next signature acknowledges"
    )
    assert stored(market.bank, agreement_id) == "lapsed"


# --- Refusals -------------------------------------------------------------------------------------


def proposal(
    market: Market,
    agreement_id: bytes,
    edit: Callable[[FinalSettlement], FinalSettlement] | None = None,
) -> dict[str, Any]:
    """What the buyer's node sends, with edited totals signed by the buyer."""
    trade = market.run(Buyer.of(market.bank.context).trade(agreement_id))
    heads = {lane.number: lane.state for lane in trade.lanes if lane.state.seq}
    settled_by = rules.final_settlement(agreement_id, heads)
    settled_by = edit(settled_by) if edit else settled_by
    vouchers = [closing_voucher(agreement_id, number, head) for number, head in heads.items()]
    sign = market.bank.context.sign
    return {
        "settlement": settled_by,
        "signature": sign(settled_by),
        "vouchers": [ClosingVoucher(voucher, sign(voucher)) for voucher in vouchers],
    }


def countersign(market: Market, body: dict[str, Any], caller: str | None = None) -> Any:
    return market.run(
        provider.countersign(market.department.context, caller or market.bank.member, **body)
    )


def lane_edit(**changes: Any) -> Callable[[FinalSettlement], FinalSettlement]:
    """Change the first lane's total, and the sums with it."""

    def edit(totals: FinalSettlement) -> FinalSettlement:
        first = dataclasses.replace(totals.lanes[0], **changes)
        lanes = (first, *totals.lanes[1:])
        sums = {
            "units": sum(lane.units for lane in lanes),
            "amount": sum(lane.amount for lane in lanes),
        }
        return dataclasses.replace(totals, lanes=lanes, **sums)

    return edit


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lane_edit(amount=0), "final_totals_differ"),
        (lane_edit(amount=49), "final_totals_differ"),
        (lane_edit(amount=51), "final_totals_differ"),
        (lane_edit(units=0), "final_totals_differ"),
        (lane_edit(seq=2), "final_totals_differ"),
        (lane_edit(lane=1), "final_totals_differ"),
        (
            lambda totals: dataclasses.replace(totals, lanes=(), units=0, amount=0),
            "final_totals_differ",
        ),
        (lambda totals: dataclasses.replace(totals, amount=0), "final_totals_differ"),
        (lambda totals: dataclasses.replace(totals, version=2), "wrong_version"),
    ],
)
def test_totals_other_than_the_providers_receipts_are_not_signed_and_service_goes_on(
    market: Market,
    agreement_id: bytes,
    edit: Callable[[FinalSettlement], FinalSettlement],
    code: str,
) -> None:
    market.call(agreement_id)
    assert refused(lambda: countersign(market, proposal(market, agreement_id, edit))) == code
    assert stored(market.department, agreement_id) is None
    market.call(agreement_id, 2)
    assert positions(market.department, agreement_id) == 2


def test_both_totals_are_named_where_they_differ(market: Market, agreement_id: bytes) -> None:
    market.call(agreement_id)
    with pytest.raises(Conflict) as caught:
        countersign(market, proposal(market, agreement_id, lane_edit(amount=49)))
    assert "1 units and 49 fen" in caught.value.sentence
    assert "1 units and 50 fen" in caught.value.sentence
    assert caught.value.hint


def test_totals_are_taken_from_the_buyer_under_its_pinned_key_with_every_voucher(
    market: Market, agreement_id: bytes
) -> None:
    market.call(agreement_id)
    body = proposal(market, agreement_id)
    assert refused(lambda: countersign(market, body, market.operator.member)) == "not_buyer"
    forged = {**body, "signature": market.department.context.sign(body["settlement"])}
    assert refused(lambda: countersign(market, forged)) == "wrong_signer"
    assert refused(lambda: countersign(market, {**body, "vouchers": []})) == "vouchers_differ"
    twice = {**body, "vouchers": body["vouchers"] * 2}
    assert refused(lambda: countersign(market, twice)) == "vouchers_differ"
    voucher: Voucher = dataclasses.replace(body["vouchers"][0].voucher, acknowledged_amount=49)
    lower = {**body, "vouchers": [ClosingVoucher(voucher, market.bank.context.sign(voucher))]}
    assert refused(lambda: countersign(market, lower)) == "acknowledgement_differs"
    forged = {
        **body,
        "vouchers": [
            ClosingVoucher(body["vouchers"][0].voucher, market.department.context.sign(voucher))
        ],
    }
    assert refused(lambda: countersign(market, forged)) == "wrong_signer"
    assert stored(market.department, agreement_id) is None


def test_a_refusal_opens_the_buyers_lanes_again(market: Market, agreement_id: bytes) -> None:
    market.call(agreement_id)
    lane = market.run(Buyer.of(market.bank.context).trade(agreement_id)).lanes[0]
    right, lane.state = lane.state, dataclasses.replace(lane.state, amount=0)
    assert refused(lambda: end(market, agreement_id, notice=False)) == "final_totals_differ"
    lane.state = right
    found = totals.view(market.bank.context, agreement_id)
    assert found is not None
    assert (found.state, found.reason) == ("refused", "final_totals_differ")
    market.call(agreement_id, 2)
    market.bank.restarted()
    market.call(agreement_id, 3)
    assert end(market, agreement_id).way == "cooperative"
    assert settled(market, agreement_id).paid == 150


def test_signed_totals_are_not_replaced_by_others(market: Market, agreement_id: bytes) -> None:
    market.call(agreement_id)
    body = proposal(market, agreement_id)
    first = countersign(market, body)
    assert countersign(market, body) == first, "the same totals get the same signature"
    other = proposal(market, agreement_id, lane_edit(amount=0))
    assert refused(lambda: countersign(market, other)) == "final_settlement_exists"


def test_only_the_parties_see_or_ask(market: Market, agreement_id: bytes) -> None:
    assert refused(lambda: end(market, agreement_id, "supervisor")) == "not_party"
    outsider = market.operator.member
    assert (
        refused(lambda: market.run(closing.requested(market.bank.context, outsider, agreement_id)))
        == "not_provider"
    )
    assert refused(lambda: totals.shown(market.bank.context, outsider, agreement_id)) == "not_party"
    assert (
        refused(lambda: totals.shown(market.bank.context, market.bank.member, agreement_id))
        == "final_settlement_unknown"
    )


def test_a_halted_lane_is_not_closed_over(market: Market, agreement_id: bytes) -> None:
    lane = market.run(Buyer.of(market.bank.context).trade(agreement_id)).lanes[1]
    lane.halted = "receipt_wrong_amount"
    assert refused(lambda: end(market, agreement_id, notice=False)) == "lane_halted"
    assert stored(market.bank, agreement_id) is None


# --- Rules ----------------------------------------------------------------------------------------

HEADS = st.dictionaries(
    st.integers(0, 255),
    st.builds(
        LaneState,
        seq=st.integers(0, 2**32),
        units=st.integers(0, 2**40),
        amount=st.integers(0, 2**60),
        receipt=st.just(b"\x01" * 32),
        request=st.just(b"\x02" * 32),
    ),
    max_size=8,
)


@given(HEADS)
def test_the_totals_are_the_sum_of_the_used_lanes_in_order(heads: dict[int, LaneState]) -> None:
    totals = rules.final_settlement(b"\x07" * 32, heads)
    used = {number: head for number, head in heads.items() if head.seq}
    assert [lane.lane for lane in totals.lanes] == sorted(used)
    assert totals.units == sum(head.units for head in used.values())
    assert totals.amount == sum(head.amount for head in used.values())
    rules.require_final_settlement(totals, heads)


@given(HEADS, st.integers(0, 255), st.sampled_from(["seq", "units", "amount"]))
def test_any_other_total_is_refused(heads: dict[int, LaneState], lane: int, field: str) -> None:
    totals = rules.final_settlement(b"\x07" * 32, heads)
    head = heads.get(lane, LaneState())
    other = {
        **heads,
        lane: dataclasses.replace(head, **{"seq": head.seq or 1, field: getattr(head, field) + 1}),
    }
    with pytest.raises(Conflict):
        rules.require_final_settlement(totals, other)


# --- Proof ----------------------------------------------------------------------------------------

CHECKERS = {"trade": check_trade, "lane": check_lane}


@pytest.fixture(scope="module")
def closed(market: Market, grant_id: bytes) -> tuple[bytes, bytes, bytes]:
    """An agreement that ended cooperatively, with the bundles of its last call and of its lane."""
    agreement_id = market.open(grant_id, cap=1000)
    for number in range(3):
        market.call(agreement_id, number)
    end(market, agreement_id)
    settled(market, agreement_id)
    market.anchor()
    context = market.department.context
    return (
        agreement_id,
        bundles.trade_bundle(context, agreement_id, 0, 3),
        bundles.lane_bundle(context, agreement_id, 0),
    )


def test_bundles_show_the_cooperative_closing(
    market: Market, closed: tuple[bytes, bytes, bytes]
) -> None:
    for made in closed[1:]:
        report = verify(made, market.trust, CHECKERS)
        assert any(
            "Both sides signed final totals of 3 units and 150 fen" in claim
            for claim in report.proved
        )
        assert any("150 were paid and 850 refunded" in claim for claim in report.proved)


def of_kind(value: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [statement for statement in value["statements"] if statement["type"] == kind]


def drop_one_signature(value: dict[str, Any]) -> None:
    value["statements"].remove(of_kind(value, "FinalSettlement")[0])


def other_amount(value: dict[str, Any]) -> None:
    of_kind(value, "FinalSettlement")[0]["message"]["amount"] = "149"


@pytest.mark.parametrize(
    ("edit", "codes"),
    [
        (drop_one_signature, {"final_settlement_differs"}),
        (other_amount, {"signer_unknown"}),
    ],
)
def test_a_bundle_with_other_final_totals_is_refused(
    market: Market,
    closed: tuple[bytes, bytes, bytes],
    edit: Callable[[dict[str, Any]], None],
    codes: set[str],
) -> None:
    value = json.loads(closed[1])
    edit(value)
    assert refused(lambda: verify(dumps(value), market.trust, CHECKERS)) in codes


def test_totals_that_both_signed_but_the_chain_did_not_take_are_no_proof(
    market: Market, closed: tuple[bytes, bytes, bytes]
) -> None:
    """Two parties that sign other totals afterwards cannot pass them off as what the chain closed
    by.
    """
    value = json.loads(closed[1])
    for entry in of_kind(value, "FinalSettlement"):
        entry["message"]["amount"] = entry["message"]["lanes"][0]["amount"] = "140"
    totals = FinalSettlement.from_json(of_kind(value, "FinalSettlement")[0]["message"])
    for entry, node in zip(
        of_kind(value, "FinalSettlement"), (market.department, market.bank), strict=True
    ):
        entry["signature"] = "0x" + node.context.sign(totals).hex()
    assert (
        refused(lambda: verify(dumps(value), market.trust, CHECKERS)) == "final_settlement_differs"
    )


def test_the_supervisor_sees_the_way_an_agreement_ended(
    market: Market, closed: tuple[bytes, bytes, bytes]
) -> None:
    with market.department.context.database.read() as session:
        row = session.get_one(FinalSettlementRow, closed[0])
    assert (
        market.supervisor.context.ledger.settlement.final_settlement(closed[0])
        == row.settlement_hash
    )


def test_the_chain_view_must_be_fresh_to_sign(market: Market, agreement_id: bytes) -> None:
    market.call(agreement_id)
    body = proposal(market, agreement_id)
    view = market.department.context.view
    view.stop()
    stale, view.stale_seconds = view.stale_seconds, 0.0
    try:
        with pytest.raises(Unavailable):
            countersign(market, body)
        assert stored(market.department, agreement_id) is None
    finally:
        view.stale_seconds = stale
        view.start(wait_seconds=60)
    market.call(agreement_id, 2)
