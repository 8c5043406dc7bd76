"""Counts of calls by day, buyer and column: sums, periods, and earlier calls."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.core.database import Base, Database
from chain.core.errors import QiaolianError
from chain.core.zone import city_zone, day_start, month_start
from exchange.usage import service
from exchange.usage.model import CountedCall, Counts, DayUsage, Period
from exchange.usage.store import UsageCountRow, UsageMonthRow
from registry.pages import PageRequest

NOW = 1_800_000_000
ASSET, OTHER = b"\x01" * 32, b"\x02" * 32
EVER = Period(0, 2**40)
BUYER = "11440700MB2C62170M"


class Records:
    """The database and clock that the service needs of a node."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def now(self) -> int:
        return NOW


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    database = Database(f"sqlite:///{tmp_path}/node.db")
    tables = [UsageCountRow.__table__, UsageMonthRow.__table__]
    Base.metadata.create_all(database.engine, tables=tables)  # type: ignore[arg-type]
    yield Records(database)
    database.close()


def call(
    *columns: str, at: int = NOW, agreement: int = 7, asset: bytes = ASSET, amount: int = 50
) -> CountedCall:
    counts = Counts(served=1, units=1, amount=amount)
    return CountedCall(bytes([agreement]) * 32, asset, BUYER, columns, at, counts)


def refused(at: int = NOW) -> CountedCall:
    return CountedCall(b"\x07" * 32, ASSET, BUYER, (), at, Counts(refused=1))


def stored(records: Records, *calls: CountedCall) -> None:
    for one in calls:
        records.database.write(lambda session, one=one: service.record(session, [one]))


def test_calls_add_up_by_day_buyer_and_column(records: Records) -> None:
    yesterday = NOW - 86_400
    stored(records, call("age", "job"), call("job", "age"), call("age"), refused())
    stored(records, call("age", at=yesterday, agreement=8), call("age", agreement=9, asset=OTHER))
    found = service.report(records, ASSET, EVER)  # type: ignore[arg-type]
    assert found.total == Counts(served=4, refused=1, units=4, amount=200)
    assert [(day.day, day.counts.served) for day in found.days] == [
        (day_start(yesterday), 1),
        (day_start(NOW), 3),
    ]
    assert [(one.agreement_id[0], one.counts.served) for one in found.buyers] == [(7, 3), (8, 1)]
    assert [(one.column, one.calls) for one in found.columns] == [("age", 4), ("job", 2)]
    assert {used.asset_id for used in service.assets(records, EVER)} == {ASSET, OTHER}  # type: ignore[arg-type]
    rows = service.rows(records, PageRequest(10), ASSET, EVER).rows  # type: ignore[arg-type]
    assert sum((row.counts for row in rows), Counts()) == found.total
    assert rows[0].columns in {(), ("age",), ("age", "job")}


def test_a_void_takes_its_call_out_of_the_day_it_was_made(records: Records) -> None:
    made = NOW - 3 * 86_400
    void = CountedCall(b"\x07" * 32, ASSET, BUYER, ("age",), made, Counts(-1, 0, 1, -1, -50))
    stored(records, call("age", at=made), call("age", at=made), void)
    found = service.report(records, ASSET, EVER)  # type: ignore[arg-type]
    assert found.total == Counts(served=1, voided=1, units=1, amount=50)
    assert len(found.days) == 1


def test_a_period_has_its_first_and_last_day(records: Records) -> None:
    zone = city_zone()
    last = datetime.datetime(2026, 11, 30, 23, 59, 59, tzinfo=zone)
    first = datetime.datetime(2026, 11, 1, tzinfo=zone)
    stored(records, call("a", at=int(first.timestamp())), call("a", at=int(last.timestamp())))
    stored(records, call("a", at=int(last.timestamp()) + 1))
    period = service.period_of(records, since="2026-11-01", until="2026-11-30")  # type: ignore[arg-type]
    assert service.report(records, ASSET, period).total.served == 2  # type: ignore[arg-type]
    (month,) = service.report(records, ASSET, period).months  # type: ignore[arg-type]
    assert month.day == int(first.timestamp())
    default = service.period_of(records)  # type: ignore[arg-type]
    assert default == Period(day_start(NOW, days=-29), day_start(NOW, days=1))


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("2026-11-30", "2026-11-29"),
        ("2026-13-01", ""),
        ("yesterday", ""),
        ("0001-01-01", "9999-12-31"),
        ("1990-01-01", "2026-11-30"),
        ("2026-11-30T00:00", ""),
    ],
)
def test_a_period_that_is_none_is_refused(records: Records, since: str, until: str) -> None:
    with pytest.raises(QiaolianError) as caught:
        service.period_of(records, since=since, until=until)  # type: ignore[arg-type]
    assert caught.value.code == "period_malformed"


@given(st.lists(st.tuples(st.integers(0, 4_000), st.integers(0, 99)), max_size=40))
def test_months_have_the_sums_of_their_days(days: list[tuple[int, int]]) -> None:
    made = [DayUsage(day_start(day * 86_400), Counts(served=served)) for day, served in days]
    found = service.months(made)
    assert sum(month.counts.served for month in found) == sum(served for _, served in days)
    assert [month.day for month in found] == sorted({month_start(day.day) for day in made})


def test_the_months_of_a_period_meet_without_a_gap(records: Records) -> None:
    period = service.period_of(records, since="2025-12-15", until="2026-02-03")  # type: ignore[arg-type]
    parts = service.months_of(period)[::-1]
    assert (parts[0].since, parts[-1].until) == (period.since, period.until)
    assert [part.until for part in parts[:-1]] == [part.since for part in parts[1:]]
    months = [month_start(part.since) for part in parts]
    assert len(set(months)) == len(months) == 3


def test_earnings_of_a_month_are_those_of_its_agreements(records: Records) -> None:
    stored(records, call("a"), call("b"), call("a", agreement=8, amount=7))
    found = service.monthly(records, service.period_of(records))  # type: ignore[arg-type]
    earned = [(row.usage.agreement_id[0], row.usage.counts.amount) for row in found]
    assert earned == [(7, 100), (8, 7)]
    assert service.total(records).amount == 107  # type: ignore[arg-type]
    by_agreement = service.by_agreement(records, [b"\x08" * 32])  # type: ignore[arg-type]
    assert {key[0]: counts.amount for key, counts in by_agreement.items()} == {8: 7}


PERIODS = [("", ""), ("2026-11-01", "2026-11-30"), ("2026-11-15", "2027-01-03"), ("2025-01-01", "")]


@pytest.mark.parametrize(("since", "until"), PERIODS)
def test_months_earn_what_their_days_earn(records: Records, since: str, until: str) -> None:
    for back in range(0, 400, 9):
        stored(records, call("a", at=NOW - back * 86_400, agreement=7 + back % 2, amount=back))
    period = service.period_of(records, since=since, until=until)  # type: ignore[arg-type]
    days = service.report(records, ASSET, period).days  # type: ignore[arg-type]
    found = service.earned_months(records, period)  # type: ignore[arg-type]
    assert found == service.months(days)[::-1]
    of_agreements = service.monthly(records, period)  # type: ignore[arg-type]
    assert sum((row.usage.counts for row in of_agreements), Counts()) == sum(
        (month.counts for month in found), Counts()
    )
    alone = service.earned_months(records, period, b"\x07" * 32)  # type: ignore[arg-type]
    assert sum(month.counts.amount for month in alone) == sum(
        row.usage.counts.amount for row in of_agreements if row.usage.agreement_id[0] == 7
    )
