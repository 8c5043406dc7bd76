"""The provider's node claims earned money by itself, and reports what prevents a claim."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from chain.core.crypto import new_private_key
from chain.core.errors import Conflict, QiaolianError, Unavailable
from chain.ethereum.finality import UnsealedForTestsOnly
from chain.ethereum.ledger import Ledger
from chain.ethereum.records import AgreementRecord, LaneRecord
from chain.keys.files import Secp256k1Signer
from chain.outbox import OutboxWorker
from chain.outbox.store import CALLS
from exchange.closing import notice
from exchange.metering import service as metering
from exchange.metering.activity import Activity
from exchange.metering.model import AcknowledgedAmount
from exchange.reconciliation import service as reconciliation
from exchange.reconciliation.model import AgreementMoney
from exchange.settlement import claims_report
from exchange.settlement import service as settlement
from exchange.settlement.claims import ClaimMonitor
from exchange.settlement.rules import (
    GRACE_SECONDS,
    ClaimPolicy,
    ClaimReason,
    ClaimStatus,
    ClosingWindow,
    LaneBalance,
    at_risk,
    decide_claim,
)
from nodes.workers.claims import ClaimWorker
from registry.pages import PageRequest
from tests.exchange.conftest import Market
from tests.support.stale_view import stale

PATIENCE = 60.0
NEVER = ClaimPolicy(min_fen=10**9, max_age_seconds=10**9)

# --- The rules ------------------------------------------------------------------------------------

POLICY = ClaimPolicy(min_fen=1_000, max_age_seconds=600)
NOW, END = 10_000, 20_000
OPEN = AgreementRecord(5_000, 0, 0, 0, 1, 0, 0, 0)
NOTICE = AgreementRecord(5_000, 0, 0, 0, 1, 9, 9_990, 0)
CLOSED = AgreementRecord(5_000, 0, 5_000, 0, 1, 9, 9_990, 20)


def lane(number: int, amount: int, *, claimed: int = 0, at: int = NOW) -> LaneBalance:
    return LaneBalance(AcknowledgedAmount(number, 9, 9, amount), LaneRecord(claimed, 1, 1), at)


def decided(*lanes: LaneBalance, state: AgreementRecord = OPEN, now: int = NOW) -> tuple[Any, ...]:
    found = decide_claim(lanes, state, ends_at=END, policy=POLICY, now=now)
    return found.reason, found.unclaimed, found.lanes


def test_little_and_young_money_waits() -> None:
    assert decided(lane(0, 999, at=NOW - 599)) == (None, 999, (0,))


def test_an_agreement_is_claimed_by_the_value_of_all_its_lanes() -> None:
    assert decided(lane(0, 600), lane(2, 400)) == (ClaimReason.VALUE, 1_000, (0, 2))
    assert decided(lane(0, 600, claimed=1), lane(2, 400)) == (None, 999, (0, 2))


def test_an_agreement_is_claimed_by_the_age_of_its_oldest_call() -> None:
    assert decided(lane(0, 1), lane(1, 1, at=NOW - 600))[0] == ClaimReason.AGE
    assert decided(lane(0, 1, claimed=1, at=0), lane(1, 1))[0] is None, (
        "a lane that is paid has no age"
    )


def test_after_notice_or_the_agreed_end_one_fen_is_claimed_at_once() -> None:
    assert decided(lane(0, 1), state=NOTICE) == (ClaimReason.CLOSING, 1, (0,))
    assert decided(lane(0, 1), now=END + 1) == (ClaimReason.ENDED, 1, (0,))
    assert decided(lane(0, 1, at=END), now=END)[0] is None


def test_nothing_is_claimed_of_a_closed_or_paid_agreement() -> None:
    assert decided(lane(0, 5_000), state=CLOSED)[0] is None
    assert decided(lane(0, 5_000, claimed=5_000), state=NOTICE) == (None, 0, ())
    assert decided(state=NOTICE) == (None, 0, ())


def status(**changes: Any) -> ClaimStatus:
    fields: dict[str, Any] = {"unclaimed": 5, "reason": ClaimReason.CLOSING, "due_since": NOW}
    return ClaimStatus(b"\1" * 32, **(fields | changes))


def test_a_claim_is_an_alarm_when_refused_when_late_and_when_half_the_window_has_passed() -> None:
    window = ClosingWindow(blocks=6, seconds=6, ends_at=NOW + 6, half=False)
    assert not at_risk(status(window=window), NOW)
    assert at_risk(status(window=ClosingWindow(5, 5, NOW + 5, half=True)), NOW)
    assert at_risk(status(refusal="over_cap"), NOW)
    assert at_risk(status(), NOW + GRACE_SECONDS)
    assert not at_risk(status(unclaimed=0, refusal="over_cap"), NOW + GRACE_SECONDS)


# --- Over the contracts ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grant_id(market: Market) -> bytes:
    market.offer(max_lanes=256)
    found: bytes = market.grant()
    return found


@contextmanager
def claiming(market: Market, policy: ClaimPolicy = NEVER) -> Iterator[ClaimMonitor]:
    """The provider's claim worker runs, as its node would run it, and its projector too; nobody
    does anything else there.
    """
    monitor = ClaimMonitor(market.department.context, policy)
    worker, stop = ClaimWorker(monitor), threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        while not stop.is_set():
            try:
                market.department.sync()
                asyncio.run(worker.round())
            except Unavailable:
                pass
            except BaseException as error:
                failures.append(error)
                return
            stop.wait(0.02)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield monitor
    finally:
        stop.set()
        thread.join(PATIENCE)
        market.department.context.services.drop(ClaimMonitor)
    assert failures == []


def wait_until(holds: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < deadline, "it did not become so"
        time.sleep(0.02)
    return found


def on_chain(market: Market, agreement_id: bytes) -> AgreementRecord:
    found: AgreementRecord = market.department.context.ledger.settlement.agreement(agreement_id)
    return found


def claimed(market: Market, agreement_id: bytes, amount: int) -> None:
    wait_until(lambda: on_chain(market, agreement_id).acknowledged == amount)


def unclaimed(monitor: ClaimMonitor, agreement_id: bytes) -> int | None:
    """What the worker holds to be owed; None before it looked at the agreement."""
    return {status.agreement_id: status.unclaimed for status in monitor.report.statuses}.get(
        agreement_id
    )


def claim_operations(market: Market, agreement_id: bytes) -> list[str]:
    query = sa.select(CALLS.c.operation_id).where(
        CALLS.c.operation_id.startswith(f"claim/{agreement_id.hex()}/")
    )
    with market.department.context.database.read() as session:
        return list(session.scalars(query))


def give_notice(market: Market, agreement_id: bytes) -> None:
    notice.give_notice(market.bank.context, agreement_id)
    market.bank.done(f"notice/{agreement_id.hex()}")


def close(market: Market, agreement_id: bytes) -> AgreementRecord:
    market.mine(5, 20)
    notice.close(market.bank.context, agreement_id)
    market.bank.done(f"close/{agreement_id.hex()}")
    market.settle()
    return on_chain(market, agreement_id)


def reconciled(market: Market, agreement_id: bytes) -> AgreementMoney:
    """What the supervisor's report says of an agreement's money, once the supervisor has taken the
    chain's events.
    """
    market.settle()
    report = market.run(
        reconciliation.report(market.supervisor.context, PageRequest(200), state="closed")
    )
    (found,) = [row for row in report.agreements if row.agreement_id == agreement_id]
    assert report.lost == sum(row.money.lost for row in report.agreements if row.money)
    assert found.money is not None
    return found.money


def test_all_that_was_acknowledged_is_paid_though_nobody_at_the_provider_acts(
    market: Market, grant_id: bytes
) -> None:
    agreement_id = market.open(grant_id, cap=2_000)
    with claiming(market, ClaimPolicy()):
        assert sum(market.call(agreement_id, number).amount for number in range(21)) == 1_050
        give_notice(market, agreement_id)
        claimed(market, agreement_id, 1_000)
        market.run(notice.acknowledge_all(market.bank.context, agreement_id))
        claimed(market, agreement_id, 1_050)
    state = close(market, agreement_id)
    assert (state.paid, state.refunded) == (1_050, 950)
    money = reconciled(market, agreement_id)
    names = ("earned", "acknowledged", "claimed", "paid", "unclaimed", "lost")
    assert [getattr(money, name) for name in names] == [1050, 1050, 1050, 1050, 0, 0]
    assert [(part.basis_points, part.due, part.paid) for part in money.parts] == [
        (9000, 945, 945),
        (1000, 105, 105),
    ]


def test_before_a_notice_money_is_claimed_by_value_and_by_age(
    market: Market, grant_id: bytes
) -> None:
    by_value, by_age = market.open(grant_id, cap=500), market.open(grant_id, cap=500)
    for _ in range(4):
        market.call(by_value)
    with claiming(market, ClaimPolicy(min_fen=150, max_age_seconds=10**9)):
        claimed(market, by_value, 150)
    market.call(by_age)
    market.call(by_age)
    with claiming(market, ClaimPolicy(min_fen=10**9, max_age_seconds=1)):
        claimed(market, by_age, 50)
    assert not on_chain(market, by_age).notice_at


def test_money_is_claimed_at_the_agreed_end_before_anybody_gives_notice(
    market: Market, grant_id: bytes
) -> None:
    ends_at = (
        market.department.context.ledger.block(market.department.context.ledger.height()).timestamp
        + 1_000
    )
    agreement_id = market.open(grant_id, cap=500, ends_at=ends_at)
    market.call(agreement_id)
    market.call(agreement_id)
    market.mine(1, 2_000)
    with claiming(market):
        claimed(market, agreement_id, 50)
    assert not on_chain(market, agreement_id).notice_at


def test_an_idle_agreement_is_neither_claimed_nor_proved_again_and_again(
    market: Market, grant_id: bytes
) -> None:
    agreement_id = market.open(grant_id, cap=500)
    market.call(agreement_id)
    market.call(agreement_id)
    monitor = ClaimMonitor(market.department.context, NEVER)
    monitor.round()
    assert unclaimed(monitor, agreement_id) == 50
    context, looks = market.department.context, []
    proved = context.view.proved
    context.view.proved = lambda *asked, **options: looks.append(asked) or proved(*asked, **options)
    try:
        for _ in range(5):
            monitor.round()
    finally:
        del context.view.proved
    assert (looks, claim_operations(market, agreement_id)) == ([], [])


def test_lanes_beyond_one_transaction_are_claimed_in_several(
    market: Market, grant_id: bytes, ask: Any
) -> None:
    agreement_id = market.open(grant_id, cap=10_000, lanes=100)

    async def many() -> None:
        asked = (metering.call(market.bank.context, agreement_id, ask(1)) for _ in range(80))
        await asyncio.gather(*asked)

    market.run(many())
    with claiming(market):
        market.run(notice.acknowledge_all(market.bank.context, agreement_id))
        give_notice(market, agreement_id)
        claimed(market, agreement_id, 4_000)
    assert len(claim_operations(market, agreement_id)) >= 2


def test_a_claim_made_twice_is_one_and_after_closing_it_is_refused_for_good(
    market: Market, grant_id: bytes
) -> None:
    agreement_id = market.open(grant_id, cap=500)
    market.call(agreement_id)
    market.call(agreement_id)
    context = market.department.context
    first, second = (settlement.claim(context, agreement_id).operations for _ in range(2))
    assert first == second
    market.department.done(first[0])
    market.settle()
    assert refusal(lambda: settlement.claim(context, agreement_id)) == "nothing_to_claim"
    market.call(agreement_id)
    give_notice(market, agreement_id)
    close(market, agreement_id)
    assert refusal(lambda: settlement.claim(context, agreement_id)) == "agreement_is_closed"


def refusal(action: Callable[[], Any]) -> str:
    with pytest.raises(Conflict) as caught:
        action()
    return caught.value.code


def test_a_claim_that_a_person_makes_beside_the_worker_pays_once(
    market: Market, grant_id: bytes
) -> None:
    agreement_id = market.open(grant_id, cap=500)
    for _ in range(3):
        market.call(agreement_id)
    with claiming(market) as monitor:
        settlement.claim(market.department.context, agreement_id)
        give_notice(market, agreement_id)
        claimed(market, agreement_id, 100)
        wait_until(lambda: unclaimed(monitor, agreement_id) == 0)
    assert len(claim_operations(market, agreement_id)) == 1
    assert monitor.refusals == 0


def test_a_suspended_provider_still_claims(market: Market, grant_id: bytes) -> None:
    agreement_id = market.open(grant_id, cap=500)
    market.call(agreement_id)
    market.call(agreement_id)
    market.governance.execute("suspend", market.department.member, b"overdue".ljust(32, b"\0"))
    try:
        with claiming(market):
            give_notice(market, agreement_id)
            claimed(market, agreement_id, 50)
    finally:
        market.governance.execute("lift", market.department.member)
        market.settle()


def test_a_worker_started_anew_claims_what_the_former_one_left(
    market: Market, grant_id: bytes
) -> None:
    agreement_id = market.open(grant_id, cap=500)
    market.call(agreement_id)
    market.call(agreement_id)
    give_notice(market, agreement_id)
    market.department.context.services.drop(Activity)
    with claiming(market):
        claimed(market, agreement_id, 50)


# --- Alarms ---------------------------------------------------------------------------------------


def alarm(monitor: ClaimMonitor, code: str = "") -> QiaolianError | None:
    """The alarm of the node's readiness about its claims, if it has one (of that code)."""
    try:
        monitor.require()
    except QiaolianError as error:
        return error if code in ("", error.code) else None
    return None


@contextmanager
def another_key(market: Market) -> Iterator[None]:
    """The provider's transactions go out under a key that the directory does not have."""
    context, stop = market.department.context, threading.Event()
    signer, own = Secp256k1Signer(new_private_key()), context.transaction_address
    ledger = Ledger(market.url, context.ledger.deployment)
    rule = UnsealedForTestsOnly()
    worker = OutboxWorker(
        context.database, ledger, signer, rule, poll_seconds=0.01, block_seconds=0.02
    )
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    context.transaction_address = signer.address
    try:
        yield
    finally:
        context.transaction_address = own
        stop.set()
        thread.join(PATIENCE)
        ledger.close()


@contextmanager
def later(market: Market, seconds: int) -> Iterator[None]:
    """The provider's clock is ahead."""
    context = market.department.context
    clock = context.clock
    context.clock = lambda: clock() + seconds
    try:
        yield
    finally:
        context.clock = clock


@contextmanager
def without_outbox(market: Market) -> Iterator[None]:
    """The provider's outbox does not run."""
    node = market.department
    node.stop_outbox()
    try:
        yield
    finally:
        node.start_outbox()


def owed(market: Market, grant_id: bytes) -> bytes:
    """An agreement under which 50 fen are acknowledged and not claimed."""
    agreement_id: bytes = market.open(grant_id, cap=500)
    market.call(agreement_id)
    market.call(agreement_id)
    return agreement_id


def test_a_claim_the_chain_refuses_is_an_alarm_and_is_sent_again_later(
    market: Market, grant_id: bytes, caplog: Any
) -> None:
    agreement_id = owed(market, grant_id)
    with (
        caplog.at_level(logging.WARNING, logger="qiaolian.claims"),
        another_key(market),
        claiming(market) as monitor,
    ):
        give_notice(market, agreement_id)
        found = wait_until(lambda: alarm(monitor, "claims_at_risk"))
        for part in ("50 fen under 1 agreement are", "UTC", "not_member_key"):
            assert part in found.sentence
        listed = claims_report.owing(monitor.report, PageRequest(200)).rows
        (shown,) = [status for status in listed if status.agreement_id == agreement_id]
        assert (shown.refusal, shown.reason) == ("not_member_key", "closing")
        assert at_risk(shown, market.department.context.now())
        checked = monitor.report.checked_at
        wait_until(lambda: monitor.report.checked_at > checked)
        assert monitor.refusals == 1, (
            "a refusal is counted once, and the claim is not sent again at once"
        )
    alarms = [
        line
        for line in caplog.records
        if line.name == "qiaolian.claims" and "not_member_key" in line.message
    ]
    assert len(alarms) == 1, "logged once for each change"
    with claiming(market) as monitor:
        claimed(market, agreement_id, 50)
        wait_until(lambda: unclaimed(monitor, agreement_id) == 0)
        wait_until(lambda: alarm(monitor) is None)


def test_an_outbox_that_does_not_run_is_an_alarm_before_and_after_a_notice(
    market: Market, grant_id: bytes
) -> None:
    agreement_id = owed(market, grant_id)
    monitor = ClaimMonitor(market.department.context, NEVER)
    monitor.round()
    assert alarm(monitor) is None
    with without_outbox(market), later(market, 20):
        monitor.round()
        stopped = alarm(monitor)
        assert stopped is not None
        assert stopped.code == "claims_outbox_stopped"
        give_notice(market, agreement_id)
        market.department.sync()
        monitor.round()
        with later(market, GRACE_SECONDS):
            monitor.round()
            late = alarm(monitor)
        assert late is not None
        assert late.code == "claims_at_risk"
        assert "The outbox does not run" in late.hint
    with claiming(market) as monitor:
        claimed(market, agreement_id, 50)


def test_money_whose_agreement_cannot_be_looked_at_is_an_alarm(
    market: Market, grant_id: bytes
) -> None:
    owed(market, grant_id)
    context = market.department.context
    monitor = ClaimMonitor(context, NEVER)
    monitor.round()
    with stale(context.view):
        with later(market, 2 * claims_report.UNCHECKED_SECONDS), pytest.raises(Unavailable):
            monitor.round()
        with later(market, 2 * claims_report.UNCHECKED_SECONDS):
            found = alarm(monitor)
    assert found is not None
    assert found.code == "claims_unchecked"
    assert "chain_view_stale" in found.hint


def test_what_was_lost_when_an_agreement_closed_is_counted(market: Market, grant_id: bytes) -> None:
    agreement_id = owed(market, grant_id)
    give_notice(market, agreement_id)
    close(market, agreement_id)
    with claiming(market) as monitor:
        lost = wait_until(lambda: monitor.report.lost)
    assert lost % 50 == 0
    assert lost >= 100, "one call was acknowledged, and one only delivered"
    assert claim_operations(market, agreement_id) == []
    money = reconciled(market, agreement_id)
    names = ("earned", "acknowledged", "claimed", "paid", "unclaimed", "lost")
    assert [getattr(money, name) for name in names] == [100, 50, 0, 0, 0, 100]
