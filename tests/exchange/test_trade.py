"""The whole trade against the real contracts: agreement, calls, claim, closing, refund,
reconciliation.
"""

from __future__ import annotations

import pytest

from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide, AgreementStage
from exchange.closing import notice
from exchange.metering import records
from exchange.metering.model import CallStatus
from exchange.reconciliation import service as reconciliation
from exchange.settlement import earnings
from exchange.settlement import service as settlement
from exchange.usage import service as usage
from exchange.usage.model import Period
from registry.pages import PageRequest
from tests.exchange.conftest import Market, NewDatabase
from tests.support.postgresql import PostgresServer


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def new_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> NewDatabase:
    """The trade passes on each kind of database that a node takes."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path_factory.mktemp('database')}/node.db"
    server: PostgresServer = request.getfixturevalue("postgresql")
    return server.new_database


def test_a_trade_pays_for_what_was_delivered_and_refunds_the_rest(
    market: Market, grant_id: bytes
) -> None:
    before = market.department.context.ledger.settlement.account(market.department.member)
    agreement_id = market.open(grant_id, cap=1000, lanes=2)
    assert agreements.load(market.department.context, agreement_id).state == "open"
    results = [market.call(agreement_id, number, key=f"call-{number}") for number in range(10)]
    assert [result.status for result in results] == [CallStatus.SERVED] * 10
    assert results[7].content == {"record": {"seniority": 7, "age": "30-39"}}
    assert sum(result.amount for result in results) == 500

    counted = usage.by_agreement(market.department.context, [agreement_id])[agreement_id]
    assert (counted.served, counted.refused, counted.amount) == (10, 0, 500)
    ever = Period(0, 2**40)
    report = usage.report(market.department.context, market.asset_id, ever)
    assert {row.column for row in report.columns} == {"seniority", "age"}
    answered = records.answered_calls(
        market.department.context, PageRequest(50), agreement_id, since=0, until=2**40
    )
    assert sum(row.amount for row in answered.rows) == 500

    first = settlement.claim(market.department.context, agreement_id)
    for operation in first.operations:
        market.department.done(operation)
    market.settle()
    state = market.department.context.ledger.settlement.agreement(agreement_id)
    assert state.acknowledged == 450, "the last call of the lane is not acknowledged yet"
    (row,) = earnings.listing(market.department.context, PageRequest(10)).rows
    assert (row.counts.amount, row.claimed, row.unacknowledged) == (500, 450, 50)
    assert earnings.totals(market.department.context).claimed == 450

    market.run(notice.acknowledge_all(market.bank.context, agreement_id))
    notice.give_notice(market.bank.context, agreement_id)
    market.bank.done(f"notice/{agreement_id.hex()}")
    market.settle()
    for operation in settlement.claim(market.department.context, agreement_id).operations:
        market.department.done(operation)
    market.mine(5, 20)
    notice.close(market.bank.context, agreement_id)
    market.bank.done(f"close/{agreement_id.hex()}")
    market.settle()

    state = market.department.context.ledger.settlement.agreement(agreement_id)
    assert (state.opened, state.paid, state.refunded) == (1000, 500, 500)
    after = market.department.context.ledger.settlement.account(market.department.member)
    assert after.earned - before.earned == 450, "90 % of 500 fen"
    compared = market.run(reconciliation.reconcile(market.supervisor.context, agreement_id))
    assert compared.findings == []
    assert settlement.accounts(market.bank.context).conserved is True
    assert agreements.view(market.department.context, agreement_id).state == "closed"
    counts = agreements.counts(market.department.context, AgreementSide.PROVIDER)
    assert (counts[AgreementStage.OPEN], counts[AgreementStage.CLOSED]) == (0, 1)
    assert not any(agreements.counts(market.department.context, AgreementSide.BUYER).values())
    (latest,) = records.gateway_calls(
        market.department.context, PageRequest(1), agreement_id, results[-1].lane
    ).rows
    assert (latest.seq, latest.status) == (results[-1].seq, CallStatus.SERVED)
