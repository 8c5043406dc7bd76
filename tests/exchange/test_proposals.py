"""Orders and proposals: a node signs what its person saw, a key names one order, and every proposal
ends at both sides.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from chain.core.errors import Conflict, Forbidden, NotFound, QiaolianError, Unavailable
from chain.outbox import enqueue, is_known, outcome
from chain.statements.members import KeyPurpose
from chain.statements.trade import Agreement, Share
from exchange.agreements import countersigning, offers, proposal_ends, proposals
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementStage, ProposalRequest
from exchange.agreements.proposal_ends import ProposalWorker
from exchange.closing import notice
from exchange.settlement import deposits
from exchange.settlement import service as settlement
from registry.grants import service as grants
from registry.pages import PageRequest
from tests.exchange.conftest import Market, Node

CAP = 1000


@pytest.fixture(scope="module")
def grant_id(market: Market) -> bytes:
    found: bytes = market.grant()
    return found


@pytest.fixture(autouse=True)
def offered(market: Market) -> None:
    """Every test begins with the department's offer at 50 fen."""
    market.offer()


def post(
    market: Market, *bodies: Any, path: str = "/v1/agreements", key: str | None = None
) -> list[httpx.Response]:
    """Requests at the bank's own node, sent at once."""

    async def send() -> list[httpx.Response]:
        headers = {"x-local": "system", **({} if key is None else {"idempotency-key": key})}
        transport = httpx.ASGITransport(app=market.bank.app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://bank", headers=headers
        ) as client:
            return await asyncio.gather(*(client.post(path, json=body) for body in bodies))

    found: list[httpx.Response] = market.run(send())
    return found


def order(market: Market, grant_id: bytes, **changes: Any) -> dict[str, Any]:
    """An order on the current offer, as the bank's own system sends it."""
    body = {"grantId": "0x" + grant_id.hex(), "cap": CAP, "offerHash": "0x" + market.seen().hex()}
    return {**body, **changes}


def stored(market: Market) -> set[str]:
    """Ids of every agreement either side has stored."""
    sides = (market.bank, market.department)
    return {
        "0x" + row.agreement_id.hex()
        for side in sides
        for row in agreements.listing(side.context, PageRequest(200)).rows
    }


def states(market: Market, agreement_id: bytes) -> list[tuple[str, str | None]]:
    """State and reason at the buyer's node and at the provider's."""
    found: list[tuple[str, str | None]] = []
    for side in (market.bank, market.department):
        try:
            view = agreements.view(side.context, agreement_id)
        except NotFound:
            found.append(("unknown", None))
        else:
            found.append((str(view.state), view.reason))
    return found


def work(market: Market) -> None:
    """One round of both nodes' proposal workers, under the chain's newest block."""
    market.settle()
    for side in (market.bank, market.department):
        market.run(ProposalWorker(side.context).round())


@contextmanager
def outbox_stopped(node: Node) -> Iterator[None]:
    """While the node's outbox process is dead; what is queued waits, and is sent by the next one."""
    node.stop_outbox()
    try:
        yield
    finally:
        node.start_outbox()


@contextmanager
def cut_after_offer(market: Market) -> Iterator[None]:
    """The line to the provider breaks once it has shown its offer: the proposal is stored and does
    not arrive.
    """

    def cut(answer: Any) -> Any:
        market.bank.peers.broken = "providerKey" in answer
        return answer

    market.bank.peers.altered = cut
    try:
        yield
    finally:
        market.bank.peers.altered, market.bank.peers.broken = None, False


def undelivered(market: Market, grant_id: bytes, **wanted: Any) -> bytes:
    """A proposal that the provider never got; its id."""
    before = stored(market)
    seen = market.seen()
    with cut_after_offer(market), pytest.raises(Unavailable):
        market.propose(grant_id, offer_hash=seen, **wanted)
    (made,) = stored(market) - before
    return bytes.fromhex(made[2:])


def answer_lost(market: Market, grant_id: bytes) -> bytes:
    """A proposal that the provider signed, while its answer did not arrive; its id."""
    before = stored(market)
    market.bank.peers.lost = 1
    with pytest.raises(Unavailable):
        market.propose(grant_id)
    (made,) = stored(market) - before
    return bytes.fromhex(made[2:])


# --- What the person saw --------------------------------------------------------------------------


def test_an_order_on_an_offer_that_changed_meanwhile_is_refused_and_names_what_changed(
    market: Market, grant_id: bytes
) -> None:
    seen, before = order(market, grant_id), stored(market)
    split = (Share(market.department.member, 100), Share(market.operator.member, 9900))
    market.offer(price=500, max_per_call=500, shares=split)
    (answer,) = post(market, seen)
    assert (answer.status_code, answer.json()["code"]) == (409, "offer_changed")
    with pytest.raises(Conflict) as refused:
        market.propose(grant_id, offer_hash=bytes.fromhex(seen["offerHash"][2:]))
    changes = {change["term"]: change for change in refused.value.context["changes"]}  # type: ignore[attr-defined]
    assert set(changes) == {"price", "maxPerCall", "shares"}
    assert (changes["price"]["named"], changes["price"]["offered"]) == (50, 500)
    assert "price was 50, is 500" in refused.value.sentence
    assert stored(market) == before, "nothing was signed at either side"


def test_an_order_that_names_no_offer_states_every_term_or_is_refused(
    market: Market, grant_id: bytes
) -> None:
    seen, before = order(market, grant_id), stored(market)
    (bare,) = post(market, {name: seen[name] for name in ("grantId", "cap")})
    assert (bare.status_code, bare.json()["code"]) == (422, "offer_not_named")
    (partly,) = post(market, {"grantId": seen["grantId"], "cap": CAP, "price": 50})
    assert (partly.status_code, partly.json()["code"]) == (422, "offer_not_named")
    stated = {
        "grantId": seen["grantId"],
        "cap": CAP,
        "unit": "call",
        "price": 50,
        "maxPerCall": 50,
        "closeWindowBlocks": 3,
        "closeWindowSeconds": 5,
        "shares": [
            {"member": market.department.member, "basisPoints": 9000},
            {"member": market.operator.member, "basisPoints": 1000},
        ],
    }
    for change in ({"price": 51}, {"unit": "row"}, {"maxPerCall": 51}, {"closeWindowBlocks": 2}):
        (other,) = post(market, {**stated, **change})
        assert (other.status_code, other.json()["code"]) == (409, "offer_changed"), change
    assert stored(market) == before
    (made,) = post(market, stated)
    assert made.status_code == 201, made.text
    assert made.json()["agreement"]["price"] == "50"
    market.bank.done(made.json()["openOperation"])


def test_an_offer_this_node_never_showed_is_not_ordered_on(market: Market, grant_id: bytes) -> None:
    (answer,) = post(market, order(market, grant_id, offerHash="0x" + "77" * 32))
    assert (answer.status_code, answer.json()["code"]) == (409, "offer_changed")


def test_a_buyer_reads_its_offer_without_the_other_buyers_and_orders_on_it(
    market: Market, grant_id: bytes
) -> None:
    general = market.seen()
    market.offer(buyers=(market.bank.member, market.supervisor.member))
    (shown,) = market.run(
        offers.offers_of(market.bank.context, market.department.member, PageRequest(200))
    ).rows
    assert shown.buyers == (market.bank.member,)
    assert market.seen() == general, "whom it is made to is no term of an offer"
    market.offer(buyers=(market.supervisor.member,))
    assert (
        market.run(
            offers.offers_of(market.bank.context, market.department.member, PageRequest(200))
        ).rows
        == []
    )
    with pytest.raises(NotFound) as refused:
        market.propose(grant_id, offer_hash=general)
    assert refused.value.code == "not_offered"


# --- One key, one order ---------------------------------------------------------------------------


def test_a_key_that_comes_again_with_any_other_term_is_refused(
    market: Market, grant_id: bytes
) -> None:
    body = order(market, grant_id)
    (made,) = post(market, body, key="one-order")
    assert made.status_code == 201, made.text
    market.bank.restarted()
    (again,) = post(market, body, key="one-order")
    assert again.json()["agreementId"] == made.json()["agreementId"]
    changes: dict[str, Any] = {
        "cap": CAP + 1,
        "maxUnits": 7,
        "lanes": 2,
        "maxPerCall": 49,
        "seconds": 86_400,
        "startsAt": 5,
        "endsAt": 2**40,
        "closeWindowBlocks": 4,
        "closeWindowSeconds": 6,
        "arbiter": market.supervisor.member,
        "unit": "call",
        "price": 50,
        "shares": [{"member": market.department.member, "basisPoints": 10_000}],
        "offerHash": None,
        "grantId": "0x" + "11" * 32,
    }
    from exchange.agreements.schemas import OrderBody

    assert set(changes) == set(OrderBody.model_fields), "a key covers every field"
    stated = {name: changes[name] for name in ("unit", "price", "shares", "maxPerCall")}
    for name, value in changes.items():
        other = {**body, name: value}
        if name == "offerHash":
            other |= {**stated, "closeWindowBlocks": 3, "closeWindowSeconds": 5}
        (answer,) = post(market, other, key="one-order")
        assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_reused"), name


def test_of_two_orders_at_once_under_one_key_one_is_made_and_the_other_refused(
    market: Market, grant_id: bytes
) -> None:
    body, before = order(market, grant_id), stored(market)
    answers = post(market, body, {**body, "arbiter": market.supervisor.member}, key="two-at-once")
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    assert len(stored(market) - before) == 1


def test_a_withdrawal_order_stands_for_one_amount_also_after_the_chain_refused_it(
    market: Market,
) -> None:
    context = market.bank.context
    first = deposits.withdraw(context, amount=10**12, order="too-much")
    with pytest.raises(QiaolianError) as refused:
        market.bank.done(first)
    assert refused.value.code == "not_enough_free"
    with pytest.raises(Conflict) as reused:
        deposits.withdraw(context, amount=1, order="too-much")
    assert reused.value.code == "idempotency_key_reused"
    assert deposits.withdraw(context, amount=10**12, order="too-much") != first


# --- Before anything is signed --------------------------------------------------------------------


def drafted(market: Market, wanted: ProposalRequest, nonce: bytes, *, chain_time: int) -> Agreement:
    """The agreement that the bank's node would sign for an order."""
    context = market.bank.context
    order = market.run(proposals._order(context, wanted, nonce))
    key = context.signers[KeyPurpose.STATEMENT].address
    return proposals._draft(order, now=context.now(), chain_time=chain_time, buyer_key=key)


def test_a_cap_beyond_the_free_balance_is_refused_by_both_sides_before_they_sign(
    market: Market, grant_id: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    market.offer(max_cap=10**9)
    before = stored(market)
    monkeypatch.setattr(proposals, "VIEW_SECONDS", 0.0)
    with pytest.raises(Conflict) as refused:
        market.propose(grant_id, cap=10**9)
    assert refused.value.code == "not_enough_free"
    assert "new idempotency key" in refused.value.hint
    # A buyer whose own node does not look is refused by the provider's.
    terms = grants.load(market.bank.context, grant_id).terms
    wanted = ProposalRequest(grant_id=grant_id, cap=10**9, offer_hash=market.seen())
    agreement = drafted(market, wanted, bytes(32), chain_time=0)
    with pytest.raises(Conflict) as also:
        countersigning.countersign(
            market.department.context,
            market.bank.member,
            agreement,
            terms,
            market.bank.context.sign(agreement),
        )
    assert also.value.code == "not_enough_free"
    assert stored(market) == before


def test_a_provider_signs_nothing_that_could_be_opened_some_day_and_nothing_ahead_of_its_view(
    market: Market, grant_id: bytes
) -> None:
    bank, department = market.bank.context, market.department.context
    terms = grants.load(bank, grant_id).terms
    wanted = ProposalRequest(grant_id=grant_id, cap=CAP, offer_hash=market.seen())
    years = 10 * 365 * 86_400

    def asked(chain_time: int, height: int) -> str:
        agreement = drafted(market, wanted, bytes(31) + b"\1", chain_time=chain_time)
        with pytest.raises(QiaolianError) as refused:
            countersigning.countersign(
                department, bank.member, agreement, terms, bank.sign(agreement), height=height
            )
        return refused.value.code

    assert asked(bank.now() + years, 0) == "open_before_too_late"
    assert asked(0, 10**9) == "chain_view_behind"


# --- Ends -----------------------------------------------------------------------------------------


def test_the_providers_refusal_ends_the_proposal_and_a_repetition_says_the_same(
    market: Market, grant_id: bytes
) -> None:
    seen = market.seen()
    before = stored(market)
    with cut_after_offer(market), pytest.raises(Unavailable):
        market.propose(grant_id, key="refused-order", offer_hash=seen)
    (made,) = stored(market) - before
    agreement_id = bytes.fromhex(made[2:])
    assert states(market, agreement_id) == [("proposed", None), ("unknown", None)]
    market.offer(price=500, max_per_call=500)
    with pytest.raises(Conflict) as refused:
        market.run(proposals.resume(market.bank.context, agreement_id))
    assert refused.value.code == "offer_not_met"
    view = agreements.view(market.bank.context, agreement_id)
    assert (view.state, view.reason) == ("failed", "offer_not_met")
    assert "price" in (view.reason_text or "")
    assert view.state_since is not None
    with pytest.raises(Conflict) as ended:
        market.run(proposals.resume(market.bank.context, agreement_id))
    assert (ended.value.code, ended.value.context["reason"]) == ("proposal_ended", "offer_not_met")
    with pytest.raises(Conflict) as again:
        market.propose(grant_id, key="refused-order", offer_hash=seen)
    assert (again.value.code, "new idempotency key" in again.value.hint) == ("offer_not_met", True)


def test_a_proposal_the_provider_signed_is_not_undone_by_a_later_offer_when_the_answer_was_lost(
    market: Market, grant_id: bytes
) -> None:
    agreement_id = answer_lost(market, grant_id)
    assert states(market, agreement_id) == [("proposed", None), ("signed", None)]
    market.offer(price=500, max_per_call=500)
    made = market.run(proposals.resume(market.bank.context, agreement_id))
    market.bank.done(made.open_operation)
    market.settle()
    assert states(market, agreement_id) == [("open", None), ("open", None)]


def test_an_opening_that_the_chain_refuses_fails_at_both_sides_with_the_chains_code(
    market: Market,
) -> None:
    grant_id = market.grant()
    with outbox_stopped(market.bank):
        made = market.propose(grant_id)
        market.revoke(grant_id)
        revoked = market.department.context
        with revoked.database.read() as session:
            operations = [
                row.operation_id for row in session.query(_calls()) if row.function == "revoke"
            ]
        market.department.done(operations[-1])
    agreement_id = made.agreement_id
    with pytest.raises(QiaolianError):
        market.bank.done(made.open_operation)
    assert agreements.view(market.bank.context, agreement_id).state == "failed", "shown at once"
    market.department.peers.broken = True
    market.bank.peers.broken = True
    work(market)
    assert states(market, agreement_id) == [("failed", "grant_not_live"), ("signed", None)]
    market.bank.peers.broken = market.department.peers.broken = False
    work(market)
    assert states(market, agreement_id) == [("failed", "grant_not_live")] * 2
    with pytest.raises(Conflict) as ended:
        market.run(proposals.resume(market.bank.context, agreement_id))
    assert ended.value.code == "proposal_ended"


def _calls() -> Any:
    from chain.outbox.store import OutboxCall

    return OutboxCall


def test_a_withdrawn_proposal_is_not_sent_and_ends_at_both_sides(
    market: Market, grant_id: bytes
) -> None:
    bank = market.bank.context
    with outbox_stopped(market.bank):
        made = market.propose(grant_id)
        agreement_id = made.agreement_id
        assert states(market, agreement_id) == [("signed", None)] * 2
        assert market.run(proposal_ends.withdraw(bank, agreement_id)).state == "withdrawn"
        assert market.run(proposal_ends.withdraw(bank, agreement_id)).state == "withdrawn"
    # The next outbox process sends what was queued before this deposit, and would have sent the
    # opening first.
    other = market.propose(grant_id)
    market.bank.done(other.open_operation)
    with bank.database.read() as session:
        taken_back = outcome(session, made.open_operation)
    assert (taken_back.state, taken_back.code, taken_back.tx_hash) == (
        "reverted",
        "cancelled",
        None,
    )
    work(market)
    assert states(market, agreement_id) == [("withdrawn", "withdrawn_by_buyer")] * 2
    assert bank.ledger.settlement.agreement(agreement_id).opened_at == 0
    with pytest.raises(Conflict) as ended:
        market.run(proposals.resume(bank, agreement_id))
    assert ended.value.code == "proposal_ended"


def test_a_withdrawn_proposal_that_the_provider_opens_is_open_at_both_sides(
    market: Market, grant_id: bytes
) -> None:
    with outbox_stopped(market.bank):
        made = market.propose(grant_id)
        agreement_id = made.agreement_id
        market.run(proposal_ends.withdraw(market.bank.context, agreement_id))
    work(market)
    assert states(market, agreement_id) == [("withdrawn", "withdrawn_by_buyer")] * 2
    department = market.department.context
    signed = agreements.load(department, agreement_id)
    arguments = [signed.agreement, signed.terms, signed.provider_signature, signed.buyer_signature]

    def send(session: Any) -> None:
        enqueue(
            session,
            sender=department.transaction_address,
            operation_id=made.open_operation,
            contract="TradeSettlement",
            function="open",
            arguments=arguments,
        )

    department.database.write(send)
    market.department.done(made.open_operation)
    work(market)
    assert states(market, agreement_id) == [("open", None)] * 2
    with pytest.raises(Conflict) as refused:
        market.run(proposal_ends.withdraw(market.bank.context, agreement_id))
    assert refused.value.code == "agreement_open"
    with pytest.raises(Forbidden) as other:
        market.run(proposal_ends.withdraw(department, agreement_id))
    assert other.value.code == "not_buyer"


def test_an_opening_on_its_way_to_the_chain_cannot_be_withdrawn(
    market: Market, grant_id: bytes
) -> None:
    rpc, bank = market.department.context.ledger.rpc, market.bank.context
    rpc.call("evm_setAutomine", False)
    try:
        made = market.propose(grant_id)
        agreement_id = made.agreement_id
        _wait_signed(bank, made.open_operation)
        with pytest.raises(Conflict) as refused:
            market.run(proposal_ends.withdraw(bank, agreement_id))
        assert refused.value.code == "opening_sent"
    finally:
        rpc.call("evm_setAutomine", True)
        rpc.call("anvil_mine", "0x1")
    market.bank.done(made.open_operation)
    work(market)
    assert states(market, agreement_id) == [("open", None)] * 2


def _wait_signed(context: Any, operation: str) -> None:
    import time

    deadline = time.monotonic() + 60
    while True:
        with context.database.read() as session:
            if outcome(session, operation).state in ("signed", "sent"):
                return
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_withdrawal_while_the_provider_signs_is_reported_and_sends_nothing(
    market: Market, grant_id: bytes
) -> None:
    agreement_id = answer_lost(market, grant_id)
    bank = market.bank.context

    def withdraw_first(answer: Any) -> Any:
        """The answer with the signature arrives after its proposal was withdrawn here."""
        with bank.database.read() as session:
            assert not is_known(session, agreements.open_operation(agreement_id))
        withdrawal = threading.Thread(
            target=lambda: asyncio.run(proposal_ends.withdraw(bank, agreement_id))
        )
        withdrawal.start()
        withdrawal.join()
        return answer

    market.bank.peers.altered = withdraw_first
    try:
        with pytest.raises(Conflict) as ended:
            market.run(proposals.resume(bank, agreement_id))
    finally:
        market.bank.peers.altered = None
    assert ended.value.code == "proposal_ended"
    with bank.database.read() as session:
        assert not is_known(session, agreements.open_operation(agreement_id))
    work(market)
    assert states(market, agreement_id) == [("withdrawn", "withdrawn_by_buyer")] * 2


def test_only_the_buyer_reports_an_end_and_only_ends_that_it_can_know(
    market: Market, grant_id: bytes
) -> None:
    agreement_id = answer_lost(market, grant_id)
    department = market.department.context
    reports = {
        (market.operator.member, "withdrawn", ""): "not_party",
        (market.bank.member, "closed", "x"): "end_malformed",
        (market.bank.member, "failed", "No Code!"): "end_malformed",
    }
    for (member, state, reason), code in reports.items():
        with pytest.raises(QiaolianError) as refused:
            proposal_ends.record_reported_end(
                department, member, agreement_id, AgreementStage(state), reason
            )
        assert refused.value.code == code
    assert states(market, agreement_id)[1] == ("signed", None)
    made = market.run(proposals.resume(market.bank.context, agreement_id))
    market.bank.done(made.open_operation)
    market.settle()
    # A buyer that lies about an open agreement changes nothing.
    proposal_ends.record_reported_end(
        department, market.bank.member, agreement_id, AgreementStage.WITHDRAWN, ""
    )
    assert states(market, agreement_id) == [("open", None)] * 2


# --- Nothing is sent that must fail ---------------------------------------------------------------


def test_notice_claim_and_close_send_nothing_that_the_chain_would_refuse(
    market: Market, grant_id: bytes
) -> None:
    bank, department = market.bank.context, market.department.context
    proposed = undelivered(market, grant_id)

    def code_of(call: Any, context: Any, agreement_id: bytes) -> str:
        with pytest.raises(Conflict) as refused:
            call(context, agreement_id)
        return refused.value.code

    assert code_of(notice.give_notice, bank, proposed) == "agreement_not_open"
    assert code_of(notice.close, bank, proposed) == "agreement_not_open"
    with bank.database.read() as session:
        assert not is_known(session, f"notice/{proposed.hex()}")
        assert not is_known(session, f"close/{proposed.hex()}")
    agreement_id = market.open(grant_id)
    market.bank.done(notice.give_notice(bank, agreement_id).operation)
    market.settle()
    again = notice.give_notice(department, agreement_id)
    assert (again.operation, again.done_at is not None) == (None, True)
    market.mine(5, 20)
    market.bank.done(notice.close(bank, agreement_id).operation)
    market.settle()
    assert notice.close(bank, agreement_id).operation == f"close/{agreement_id.hex()}"
    assert notice.close(department, agreement_id).operation is None
    assert code_of(notice.give_notice, department, agreement_id) == "agreement_is_closed"
    assert code_of(settlement.claim, department, agreement_id) == "nothing_to_claim"


# --- Too late (last: the chain's clock goes ahead) ------------------------------------------------


def test_a_proposal_not_opened_in_time_expires_at_both_sides_by_the_chains_time(
    market: Market, grant_id: bytes
) -> None:
    signed, never_arrived = answer_lost(market, grant_id), undelivered(market, grant_id)
    withdrawn = undelivered(market, grant_id)
    market.run(proposal_ends.withdraw(market.bank.context, withdrawn))
    work(market)
    assert states(market, signed) == [("proposed", None), ("signed", None)], "not yet"
    assert _reported(market, withdrawn) is None, "the provider could still get it and sign"
    market.mine(1, proposals.OPEN_SECONDS + 60)
    work(market)
    assert states(market, signed) == [("expired", "not_opened_in_time")] * 2
    assert states(market, never_arrived) == [("expired", "not_opened_in_time"), ("unknown", None)]
    assert states(market, withdrawn) == [("withdrawn", "withdrawn_by_buyer"), ("unknown", None)]
    assert _reported(market, withdrawn) is not None, "nothing is left to report"
    with pytest.raises(Conflict) as ended:
        market.run(proposals.resume(market.bank.context, signed))
    assert ended.value.code == "proposal_ended"


def _reported(market: Market, agreement_id: bytes) -> int | None:
    found: int | None = agreements.find(market.bank.context, agreement_id).reported_at
    return found


# --- Both sides show the same ---------------------------------------------------------------------


def ending(market: Market, grant_id: bytes, number: int) -> bytes:
    """A proposal that ends while something is broken; each number in another way."""
    bank = market.bank.context
    ways = (undelivered, answer_lost, lambda *_: market.propose(grant_id).agreement_id)
    agreement_id: bytes = ways[number % 3](market, grant_id)
    if number % 2:
        market.bank.peers.broken = True
        try:
            market.run(proposal_ends.withdraw(bank, agreement_id))
        finally:
            market.bank.peers.broken = False
    return agreement_id


@pytest.mark.parametrize(
    "count", [24, pytest.param(1_000, marks=pytest.mark.long)], ids=["some", "many"]
)
def test_after_faults_both_sides_show_the_same_end_within_30_seconds(
    market: Market, count: int
) -> None:
    """Requests and answers are lost, proposals are withdrawn or run out while the provider cannot
    be reached for a day; 30 seconds after it is back both nodes show the same.
    """
    grant_id, clock = market.grant(), [0.0]
    day = [float(2**step) for step in range(18)]
    with outbox_stopped(market.bank):
        made = [ending(market, grant_id, number) for number in range(count)]
        market.mine(1, proposals.OPEN_SECONDS + 1)
        workers = [
            ProposalWorker(side.context, clock=lambda: clock[0])
            for side in (market.bank, market.department)
        ]

        def rounds(times: Iterable[float]) -> None:
            for clock[0] in times:
                for worker in workers:
                    market.run(worker.round())

        market.bank.peers.broken = market.department.peers.broken = True
        rounds(day)
        market.bank.peers.broken = market.department.peers.broken = False
        rounds(day[-1] + seconds for seconds in range(1, 31, 4))
        assert not any(worker.has_work for worker in workers)
    for agreement_id in made:
        buyer, provider = states(market, agreement_id)
        assert buyer in (("withdrawn", "withdrawn_by_buyer"), ("expired", "not_opened_in_time"))
        assert provider in (buyer, ("unknown", None)), "unknown where it never arrived"
