"""Spending by month, forecast and alarms: plain arithmetic on totals that the database finds by one
look-up for each lane.
"""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest

from chain.core.database import Base, Database
from chain.statements.examples import example
from chain.statements.trade import Agreement
from exchange.metering import store
from exchange.metering.model import SpentTotals
from exchange.spending import rules
from exchange.spending.model import Alarm, Forecast
from exchange.spending.months import month_starts

BEIJING = datetime.timezone(datetime.timedelta(hours=8))
NOW = int(datetime.datetime(2026, 11, 30, 22, 0, tzinfo=BEIJING).timestamp())
ONE, TWO = b"\x01" * 32, b"\x02" * 32


def agreement(**changes: int) -> Agreement:
    terms = {
        "price": 50,
        "cap": 10_000,
        "max_units": 0,
        "starts_at": NOW - 10 * rules.DAY,
        "ends_at": NOW + 100 * rules.DAY,
    }
    return replace(example(Agreement), **(terms | changes))


def call(
    agreement_id: bytes, lane: int, seq: int, asked_at: int, amount: int
) -> store.BuyerCallRow:
    return store.BuyerCallRow(
        agreement_id=agreement_id,
        lane=lane,
        seq=seq,
        idempotency_key=f"{agreement_id.hex()}/{lane}/{seq}",
        status="served",
        reason="",
        request="{}",
        request_hash=bytes(32),
        request_signature=bytes(65),
        query="{}",
        units=seq,
        amount=amount,
        asked_at=asked_at,
    )


def test_the_totals_before_a_time_are_those_of_each_lanes_last_call(database_url: str) -> None:
    database = Database(database_url)
    try:
        Base.metadata.create_all(database.engine)
        rows = [
            call(ONE, 0, 1, 100, 50),
            call(ONE, 0, 2, 200, 100),
            call(ONE, 0, 3, 200, 150),
            call(ONE, 1, 1, 150, 70),
            call(TWO, 0, 1, 300, 9),
        ]
        database.write(lambda session: session.add_all(rows))
        lanes = [(ONE, 0), (ONE, 1), (ONE, 2), (TWO, 0)]

        times = [100, 101, 200, 201, 301]
        sums: dict[int, dict[bytes, int]] = {at: {} for at in times}
        with database.read() as session:
            for at, agreement_id, _units, amount in store.totals_before(session, lanes, times):
                sums[at][agreement_id] = sums[at].get(agreement_id, 0) + amount
            last = store.last_totals(session, [ONE, TWO, b"\x09" * 32])
        assert sums == {
            100: {},
            101: {ONE: 50},
            200: {ONE: 120},
            201: {ONE: 220},
            301: {ONE: 220, TWO: 9},
        }
        assert sorted(last) == [(ONE, 1, 70), (ONE, 3, 150), (TWO, 1, 9)]
    finally:
        database.close()


def test_months_begin_in_the_citys_time_and_their_sum_is_the_total() -> None:
    starts = month_starts(NOW, BEIJING, 3)
    assert [name for name, _ in starts] == ["2026-09", "2026-10", "2026-11"]
    first = datetime.datetime(2026, 11, 1, tzinfo=BEIJING)
    assert starts[-1][1] == int(first.timestamp())
    fen = rules.by_month([name for name, _ in starts], [7, 20, 20], 45)
    assert fen == {"2026-09": 13, "2026-10": 0, "2026-11": 25}
    assert sum(fen.values()) + 7 == 45


def test_the_forecast_divides_what_is_left_by_what_was_spent_a_day() -> None:
    used, earlier = SpentTotals(100, 5_000), SpentTotals()
    expected = rules.forecast(agreement(), used, earlier=earlier, now=NOW)
    assert expected == Forecast(days=10, spent=5_000, cap_at=NOW + 10 * rules.DAY)
    started = agreement(starts_at=NOW - 300 * rules.DAY)
    assert rules.forecast(started, used, earlier=earlier, now=NOW).days == 30


def test_of_money_and_count_the_one_that_is_reached_first_counts() -> None:
    used = SpentTotals(100, 5_000)
    terms = agreement(max_units=120)
    expected = rules.forecast(terms, used, earlier=SpentTotals(), now=NOW)
    assert expected.cap_at == NOW + 2 * rules.DAY


def test_without_spending_there_is_no_forecast() -> None:
    used = SpentTotals(100, 5_000)
    assert rules.forecast(agreement(), used, earlier=used, now=NOW).cap_at is None
    free = agreement(price=0, cap=0)
    idle = SpentTotals(0, 0)
    assert rules.forecast(free, idle, earlier=idle, now=NOW).cap_at is None


@pytest.mark.parametrize(
    ("used", "changes", "alarm"),
    [
        (SpentTotals(199, 9_951), {}, Alarm.CAP_REACHED),
        (SpentTotals(199, 9_950), {}, Alarm.CAP_NEAR),
        (SpentTotals(160, 8_000), {}, Alarm.CAP_NEAR),
        (SpentTotals(159, 7_999), {}, None),
        (SpentTotals(8, 0), {"price": 0, "cap": 0, "max_units": 10}, Alarm.CAP_NEAR),
        (SpentTotals(10, 0), {"price": 0, "cap": 0, "max_units": 10}, Alarm.CAP_REACHED),
        (SpentTotals(), {"ends_at": NOW + 13 * rules.DAY}, Alarm.ENDS_SOON),
        (SpentTotals(), {"ends_at": NOW - 1}, None),
    ],
)
def test_an_alarm_is_raised_near_a_cap_and_near_the_end(
    used: SpentTotals, changes: dict[str, int], alarm: Alarm | None
) -> None:
    quiet = Forecast(30, 0, None)
    found = rules.alarms(agreement(**changes), used, quiet, now=NOW)
    assert found == ([] if alarm is None else [alarm])


def test_a_cap_that_will_not_last_is_an_alarm() -> None:
    soon = Forecast(30, 5_000, NOW + 50 * rules.DAY)
    assert rules.alarms(agreement(), SpentTotals(), soon, now=NOW) == [Alarm.CAP_BEFORE_END]
    late = Forecast(30, 5_000, NOW + 200 * rules.DAY)
    assert rules.alarms(agreement(), SpentTotals(), late, now=NOW) == []
