"""Flows, hours and the clearing book: what the chain's events add up to, and closing a day."""

from __future__ import annotations

import dataclasses

import pytest
from sqlalchemy.orm import Session

from chain.core.errors import (
    BadInput,
    Conflict,
    Forbidden,
    NotFound,
    Unavailable,
)
from chain.core.zone import DAY_SECONDS, local_day
from chain.ethereum.records import AccountRecord, GrantRecord
from chain.statements.examples import example
from chain.statements.trade import Agreement
from exchange import projection
from exchange.clearing import rules as clearing_rules
from exchange.clearing import service as clearing
from exchange.clearing.model import (
    ENTRY_KINDS,
    AccountSums,
    ChainComparison,
    DayState,
    DayTotals,
    MovementKind,
    Position,
)
from exchange.reconciliation import runs
from exchange.reconciliation.model import LaneCount, RunState
from exchange.reconciliation.rules import ANSWER_SECONDS, rights_findings
from exchange.settlement import bundles
from exchange.supervision import service as supervision
from exchange.supervision.rules import MAX_SUM, LaneTotals
from exchange.supervision.trace import RecordKind, trace
from registry.evidence import log
from registry.pages import PageRequest
from tests.exchange.conftest import Market

PROVED = AccountRecord(deposited=100, withdrawn=30, free=60, locked=10, earned=5, spent=5)
BOOK = DayTotals({MovementKind.DEPOSITED: 100, MovementKind.WITHDRAWN: 30})
SUMS = AccountSums(deposited=100, earned=5, spent=5, withdrawn=30)


@pytest.fixture
def traded(market: Market) -> Market:
    """A market in which the bank paid for three calls."""
    market.offer()
    agreement = market.open(market.grant())
    for number in (1, 2, 3):
        market.call(agreement, number)
    market.call(agreement, 4)
    market.claim(agreement)
    return market


def test_flows_and_hours_are_what_the_chain_settled(traded: Market) -> None:
    context = traded.supervisor.context
    found = supervision.flows(context, days=2)
    (flow,) = [flow for flow in found.rows if flow.asset_id == traded.asset_id]
    assert (flow.provider, flow.buyer) == (traded.department.member, traded.bank.member)
    assert (flow.calls, flow.units, flow.amount) == (3, 3, 150)
    assert (found.calls, found.amount) == (3, 150)
    months = supervision.flows(context, days=90)
    assert (months.rows, months.first_day[-2:]) == (found.rows, "01")
    hours = supervision.hours(context, number=24 * 40)
    assert sum(counts.calls for counts in hours) == 3
    assert sum(counts.paid for counts in hours) == 150
    assert sum(counts.opened for counts in hours) >= 1


def test_an_event_taken_again_counts_once(traded: Market) -> None:
    context = traded.supervisor.context
    before = supervision.flows(context, days=2), clearing.days(context)
    first = context.ledger.deployment.deployed_at
    blocks = context.view.logs(first, context.ledger.height()).blocks
    events = [event for block in blocks for event in context.ledger.decode_logs(block)]
    assert any(event.name == "Claimed" and event.timestamp for event in events)
    context.database.write(lambda session: projection.apply(session, events, context))
    assert (supervision.flows(context, days=2), clearing.days(context)) == before


def test_a_member_without_the_role_is_shown_nothing_of_the_network(traded: Market) -> None:
    bank = traded.bank.context
    for refused, code in (
        (lambda: supervision.flows(bank, days=1), "not_network_watcher"),
        (lambda: supervision.hours(bank), "not_network_watcher"),
        (lambda: clearing.days(bank), "not_book_keeper"),
        (lambda: clearing.day(bank, "2026-11-30"), "not_book_keeper"),
    ):
        with pytest.raises(Forbidden) as error:
            refused()
        assert error.value.code == code


@pytest.mark.parametrize("days", [0, -1, 367])
def test_a_period_is_a_day_to_a_year(traded: Market, days: int) -> None:
    with pytest.raises(BadInput) as error:
        supervision.flows(traded.supervisor.context, days=days)
    assert error.value.code == "period_malformed"


def test_a_day_is_closed_once_after_its_end_and_its_entries_are_in_the_log(traded: Market) -> None:
    operator = traded.operator.context
    today = local_day(operator.view.head.timestamp)
    with pytest.raises(Conflict) as running:
        clearing.close_day(operator, today, person="one")
    assert running.value.code == "day_running"
    traded.mine(1, 2 * DAY_SECONDS)
    open_days = sorted(
        day.day
        for day in clearing.days(operator)
        if day.state is DayState.OPEN and day.totals.entries
    )
    if len(open_days) > 1:
        with pytest.raises(Conflict) as early:
            clearing.close_day(operator, open_days[-1], person="one")
        assert early.value.code == "earlier_day_open"
    for day in open_days:
        assert clearing.close_day(operator, day, person="one").proposed_by == "one"
        with pytest.raises(Forbidden) as alone:
            clearing.close_day(operator, day, person="one")
        assert alone.value.code == "second_person_needed"
        closing = clearing.close_day(operator, day, person="two").closing
        assert closing is not None
        kinds = {digest: kind for kind, digest in operator.database.write(_entries)}
        assert kinds[closing.digest] == clearing.ENTRY_KIND
    last = clearing.day(operator, open_days[-1])
    assert last.state is DayState.CLOSED
    assert last.closing is not None
    assert last.closing.closing == last.closing_balance
    positions = clearing.positions(operator, open_days[-1])
    assert sum(one.closing for one in positions) == last.closing_balance
    net = {one.member: one.net for one in positions}
    assert sum(net.values()) == 0
    assert net[traded.department.member] == -net[traded.bank.member] * 9 // 10 > 0
    with pytest.raises(Conflict) as twice:
        clearing.close_day(operator, open_days[-1], person="one")
    assert twice.value.code == "day_closed"


def _entries(session: Session) -> list[tuple[str, bytes]]:
    log.integrate_pending(session)
    return log.entries_since(session, 0)


def test_only_the_operator_closes_a_day(traded: Market) -> None:
    with pytest.raises(Forbidden) as error:
        clearing.close_day(traded.supervisor.context, "2026-11-30", person="one")
    assert error.value.code == "not_operator"


@pytest.mark.parametrize("day", ["", "2026-13-01", "2026-02-30", "30.11.2026", "2026-11-30 "])
def test_a_day_is_a_date(traded: Market, day: str) -> None:
    with pytest.raises(BadInput) as error:
        clearing.day(traded.operator.context, day)
    assert error.value.code == "day_malformed"


def test_the_book_lists_every_movement_of_a_day(traded: Market) -> None:
    context = traded.supervisor.context
    day = next(day for day in clearing.days(context) if day.totals.entries)
    rows = clearing.entries(context, day.day, PageRequest(200)).rows
    assert len(rows) == day.totals.entries
    for kind in ENTRY_KINDS:
        assert sum(row.amount for row in rows if row.kind is kind) == day.totals.amount(kind)
    positions, totals = clearing.positions(context, day.day), day.totals
    for name, expected in (
        ("deposited", totals.amount(MovementKind.DEPOSITED)),
        ("earned", totals.earned),
        ("spent", totals.earned),
        ("withdrawn", totals.amount(MovementKind.WITHDRAWN)),
    ):
        assert sum(getattr(one, name) for one in positions) == expected


def test_a_transaction_is_traced_to_the_events_that_its_block_is_proved_to_have(
    traded: Market,
) -> None:
    context = traded.supervisor.context
    first, head = context.ledger.deployment.deployed_at, context.ledger.height()
    block = next(
        block
        for block in reversed(context.view.logs(first, head).blocks)
        if any(event.name == "Claimed" for event in context.ledger.decode_logs(block))
    )
    (transaction,) = context.view.outcomes(block.height)
    found = trace(context, "0x" + transaction.hex())
    assert found.found[0].kind is RecordKind.TRANSACTION
    assert {record.title for record in found.source} >= {"Claimed", "Paid"}
    agreement = found.source[0].id
    followed = trace(context, agreement)
    kinds = [record.kind for record in followed.source]
    assert kinds[:2] == [RecordKind.GRANT, RecordKind.ASSET]
    assert kinds[2:] == [RecordKind.MEMBER, RecordKind.MEMBER]
    with pytest.raises(NotFound) as unknown:
        trace(context, "0x" + "77" * 32)
    assert unknown.value.code == "record_unknown"


def test_a_run_follows_a_finding_until_it_is_settled(traded: Market) -> None:
    supervisor = traded.supervisor
    with pytest.raises(Forbidden):
        runs.start(traded.bank.context)
    worker = runs.RunWorker(supervisor.context)

    def run() -> tuple[int, int]:
        started = runs.start(supervisor.context)
        assert runs.start(supervisor.context).id == started.id
        traded.run(worker.round())
        while worker.has_work:
            traded.run(worker.round())
        done = runs.listing(supervisor.context, PageRequest(1)).rows[0]
        assert (done.id, done.state) == (started.id, RunState.DONE)
        return done.agreements, runs.open_counts(supervisor.context)[0]

    agreements, before = run()
    assert agreements >= 1
    supervisor.peers.down.add(traded.bank.member)
    try:
        assert run()[1] > before
        open_findings = runs.findings(supervisor.context, PageRequest(200)).rows
        found = [item for item in open_findings if item.finding.kind == "unreachable"]
        assert {item.responsible for item in found} == {(traded.bank.member,)}
        assert {item.due_at - item.first_seen for item in found} == {ANSWER_SECONDS}
        assert run()[1] == len(open_findings)
    finally:
        supervisor.peers.down.clear()
    assert run()[1] == before
    settled = runs.findings(supervisor.context, PageRequest(200), settled=True).rows
    assert {item.id for item in found} <= {item.id for item in settled}


def test_only_parties_and_supervisors_get_a_bundle_of_a_call(traded: Market) -> None:
    agreement = supervision.agreements_of(
        traded.supervisor.context, asset_id=traded.asset_id, limit=1
    )[0].agreement_id
    for kind in ("bundle?lane=0&seq=1", "lane-bundle?lane=0"):
        path = f"/v1/peer/agreements/0x{agreement.hex()}/{kind}"
        with pytest.raises(Forbidden) as refused:
            traded.run(traded.operator.context.peers.get(traded.department.member, path))
        assert refused.value.code == "not_party"
    with pytest.raises(Forbidden) as observer:
        traded.run(bundles.fetch(traded.operator.context, agreement, 0, 1))
    assert observer.value.code == "not_party"


# --- Findings that the provider's own signatures show ---------------------------------------------


@pytest.mark.parametrize(
    ("amount", "seen", "revoked", "kinds"),
    [
        (150, 10, 0, []),
        (150, 10, 11, []),
        (150, 11, 11, ["revoked_use"]),
        (151, 10, 0, ["price"]),
        (149, 12, 11, ["price", "revoked_use"]),
        (150, 0, 11, []),
    ],
)
def test_price_and_use_after_revocation_are_found(
    amount: int, seen: int, revoked: int, kinds: list[str]
) -> None:
    agreement = dataclasses.replace(example(Agreement), price=50)
    count = LaneCount(3, 3, amount, receipt_height=seen)
    grant = GrantRecord(1, 2, 0, revoked)
    found = rights_findings(agreement, {0: count}, grant)
    assert [finding.kind for finding in found] == kinds
    assert {finding.side for finding in found} <= {"provider"}


# --- Rules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["deposited", "earned", "spent", "withdrawn"])
@pytest.mark.parametrize("by", [1, -1])
@pytest.mark.parametrize("member", ["", "A"])
def test_a_sum_that_differs_by_a_fen_is_named_and_stops_the_closing(
    name: str, by: int, member: str
) -> None:
    changed = dataclasses.replace(PROVED, **{name: getattr(PROVED, name) + by})
    book = {"": SUMS, "A": SUMS}
    assert clearing_rules.differences(book, {"": PROVED, "A": PROVED}) == []
    (found,) = clearing_rules.differences(book, {"": PROVED, "A": PROVED} | {member: changed})
    assert (found.member, found.sum, found.contract - found.book) == (member, name, by)
    comparison = ChainComparison(7, 70, 1, [found], behind=False, unpaid=0, unpaid_amount=0)
    with pytest.raises(Conflict) as unbalanced:
        clearing_rules.require_balanced(comparison)
    assert unbalanced.value.code == "book_unbalanced"
    with pytest.raises(Unavailable) as behind:
        clearing_rules.require_balanced(dataclasses.replace(comparison, behind=True))
    assert behind.value.code == "book_behind"
    clearing_rules.require_balanced(dataclasses.replace(comparison, differences=[]))


def test_a_closing_commits_to_day_balance_sums_positions_and_entries() -> None:
    made = {
        clearing_rules.closing_digest(day, opening, totals, entries, members)
        for day in ("2026-11-29", "2026-11-30")
        for opening in (0, 1)
        for totals in (BOOK, DayTotals())
        for entries in (bytes(32), b"\1" * 32)
        for members in ([], [Position("A", 1, 0, 0, 0, 0)])
    }
    assert len(made) == 32


def test_what_moves_after_a_closing_belongs_to_the_next_day() -> None:
    assert clearing_rules.book_day("2026-11-30", "") == "2026-11-30"
    assert clearing_rules.book_day("2026-11-30", "2026-11-29") == "2026-11-30"
    assert clearing_rules.book_day("2026-11-30", "2026-11-30") == "2026-12-01"
    assert clearing_rules.book_day("2026-12-31", "2026-12-31") == "2027-01-01"


@pytest.mark.parametrize(
    ("closes_from", "taken_until", "state"),
    [
        ("", 86_399, DayState.RUNNING),
        ("", 86_400, DayState.OPEN),
        ("17:30", 62_999, DayState.RUNNING),
        ("17:30", 63_000, DayState.OPEN),
        ("17:30", None, DayState.RUNNING),
    ],
)
def test_a_day_is_open_to_its_closing_from_its_hour_on(
    closes_from: str, taken_until: int | None, state: DayState
) -> None:
    at = clearing_rules.closes_at((0, 86_400), closes_from)
    found = clearing_rules.state_of(closed=False, closes_at=at, taken_until=taken_until)
    assert found is state


def test_what_a_claim_adds_is_never_negative_and_never_more_than_a_database_counts() -> None:
    small, large = LaneTotals(1, 1, 1), LaneTotals(2**64 - 1, 2**64 - 1, 2**128 - 1)
    assert small.since(large) == LaneTotals(0, 0, 0)
    assert large.since(small) == LaneTotals(MAX_SUM, MAX_SUM, MAX_SUM)
