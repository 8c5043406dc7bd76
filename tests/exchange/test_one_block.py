"""A decision about money rests on records of one block, although the chain moves on while it is
taken.
"""

from __future__ import annotations

from exchange.agreements.proposal_ends import ProposalWorker
from exchange.closing import notice
from exchange.closing import service as closing
from exchange.metering import service as metering
from exchange.reconciliation import service as reconciliation
from exchange.settlement import service as settlement
from exchange.settlement.claims import ClaimMonitor
from exchange.settlement.rules import ClaimPolicy
from tests.exchange.conftest import Market
from tests.support.one_block import decided_on_one_block

AT_ONCE = ClaimPolicy(min_fen=1)


def test_both_sides_sign_a_proposal_by_version_grant_balance_and_time_of_one_block_each(
    market: Market, grant_id: bytes
) -> None:
    offer_hash = market.seen()
    with decided_on_one_block(market.bank.context, market.department.context):
        made = market.propose(grant_id, offer_hash=offer_hash)
    market.bank.done(made.open_operation)


def test_a_claim_is_made_by_agreement_and_lanes_of_one_block(
    market: Market, grant_id: bytes
) -> None:
    agreement_id = market.open(grant_id, lanes=2)
    for _ in range(3):
        market.call(agreement_id)
    with decided_on_one_block(market.department.context):
        made = settlement.claim(market.department.context, agreement_id)
    assert made.lanes > 0
    for operation in made.operations:
        market.department.done(operation)


def test_the_nodes_own_claims_are_due_by_agreement_and_lanes_of_one_block(
    market: Market, grant_id: bytes
) -> None:
    agreement_id = market.open(grant_id)
    for _ in range(2):
        market.call(agreement_id)
    monitor = ClaimMonitor(market.department.context, AT_ONCE)
    with decided_on_one_block(market.department.context):
        monitor.round()
    statuses = {status.agreement_id: status for status in monitor.report.statuses}
    assert statuses[agreement_id].unclaimed == 50


def test_an_agreement_closes_by_its_record_and_the_time_of_the_same_block(
    market: Market, grant_id: bytes
) -> None:
    agreement_id = market.open(grant_id)
    context = market.bank.context
    with decided_on_one_block(context):
        market.bank.done(notice.give_notice(context, agreement_id).operation)
    market.mine(10, 10)
    with decided_on_one_block(context):
        market.bank.done(notice.close(context, agreement_id).operation)


def test_final_totals_are_signed_by_agreement_and_keys_of_one_block(
    market: Market, grant_id: bytes
) -> None:
    agreement_id = market.open(grant_id)
    market.call(agreement_id)
    with decided_on_one_block(market.department.context):
        made = market.run(closing.end(market.bank.context, agreement_id))
    assert made.operation is not None
    market.bank.done(made.operation)


def test_counts_are_compared_with_lanes_and_payments_of_one_block(
    market: Market, grant_id: bytes
) -> None:
    agreement_id = market.open(grant_id, lanes=2)
    for _ in range(2):
        market.call(agreement_id)
    market.run(metering.close_lanes(market.bank.context, agreement_id))
    market.claim(agreement_id)
    with decided_on_one_block(market.supervisor.context):
        compared = market.run(reconciliation.reconcile(market.supervisor.context, agreement_id))
    assert compared.agree


def test_an_unopened_proposal_ends_by_its_record_and_the_time_of_the_same_block(
    market: Market, grant_id: bytes
) -> None:
    market.bank.stop_outbox()
    try:
        market.propose(grant_id)
        market.mine(1, 10_000)
        with decided_on_one_block(market.bank.context):
            market.run(ProposalWorker(market.bank.context).round())
    finally:
        market.bank.start_outbox()
    found = market.bank.call("GET", "/v1/agreements?limit=1", role="clerk")
    assert found["agreements"][0]["state"] == "expired"
