"""The tables of counted calls: one row for a day, an agreement and a set of columns, and one for a
month and an agreement, for sums over long periods. Their sizes follow the number of agreements and
days, not of calls.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import BigInteger, Index, LargeBinary, String
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base, PreparedStatement
from chain.core.zone import month_start
from exchange.usage.model import (
    AgreementUsage,
    AssetUsage,
    BuyerUsage,
    Counts,
    DayUsage,
    Period,
    UsageRow,
)
from registry.pages import Page, PageRequest, page_of


class UsageCountRow(Base):
    """Calls of one day under one agreement that delivered the same columns."""

    __tablename__ = "exchange_usage"
    __table_args__ = (Index("ix_exchange_usage_asset", "asset_id", "day"),)
    agreement_id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    day: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, index=True)
    columns: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    """Column names as a sorted JSON list."""
    asset_id: Mapped[bytes] = mapped_column(LargeBinary(32))
    buyer: Mapped[str] = mapped_column(String(18))
    served: Mapped[int] = mapped_column(BigInteger)
    refused: Mapped[int] = mapped_column(BigInteger)
    voided: Mapped[int] = mapped_column(BigInteger)
    units: Mapped[int] = mapped_column(BigInteger)
    amount: Mapped[int] = mapped_column(BigInteger)


class UsageMonthRow(Base):
    """Calls of one month under one agreement: the sum of its days."""

    __tablename__ = "exchange_usage_month"
    month: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """Unix seconds of its first midnight, by the city's calendar."""
    agreement_id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True, index=True)
    asset_id: Mapped[bytes] = mapped_column(LargeBinary(32))
    buyer: Mapped[str] = mapped_column(String(18))
    served: Mapped[int] = mapped_column(BigInteger)
    refused: Mapped[int] = mapped_column(BigInteger)
    voided: Mapped[int] = mapped_column(BigInteger)
    units: Mapped[int] = mapped_column(BigInteger)
    amount: Mapped[int] = mapped_column(BigInteger)


_TABLE = cast(sa.Table, UsageCountRow.__table__)
_MONTHS = cast(sa.Table, UsageMonthRow.__table__)
_COUNTED = ("served", "refused", "voided", "units", "amount")


def _sums(table: sa.Table) -> tuple[sa.Label[Any], ...]:
    return tuple(sa.func.sum(table.c[name]).label(name) for name in _COUNTED)


_SUMS, _MONTH_SUMS = _sums(_TABLE), _sums(_MONTHS)


def _adding(table: sa.Table) -> dict[str, PreparedStatement]:
    """Adds to the row with the same key, by the kind of database."""
    statements = {}
    for name, insert in (
        ("sqlite", sqlite.insert(table)),
        ("postgresql", postgresql.insert(table)),
    ):
        added = {column: table.c[column] + insert.excluded[column] for column in _COUNTED}
        statement = insert.on_conflict_do_update(index_elements=[*table.primary_key], set_=added)
        statements[name] = PreparedStatement(statement)
    return statements


_ADD, _ADD_MONTH = _adding(_TABLE), _adding(_MONTHS)


def add(session: Session, rows: Sequence[UsageRow], assets: Mapping[bytes, bytes]) -> None:
    """Add to the counts of the days and of their months.

    Args:
        assets: each agreement's asset.
    """
    days = [_values(row, assets[row.agreement_id]) for row in rows]
    months = [
        {"month": month_start(row.day), **_common(row, assets[row.agreement_id])} for row in rows
    ]
    dialect = session.get_bind().dialect.name
    _ADD[dialect].execute(session, days)
    _ADD_MONTH[dialect].execute(session, months)


def _values(row: UsageRow, asset_id: bytes) -> dict[str, Any]:
    columns = json.dumps(row.columns, ensure_ascii=False, separators=(",", ":"))
    return {"day": row.day, "columns": columns, **_common(row, asset_id)}


def _common(row: UsageRow, asset_id: bytes) -> dict[str, Any]:
    return {
        "agreement_id": row.agreement_id,
        "asset_id": asset_id,
        "buyer": row.buyer,
        **{name: getattr(row.counts, name) for name in _COUNTED},
    }


def by_asset(session: Session, period: Period) -> list[AssetUsage]:
    """The counts of every asset that was asked for in a period, the most asked for first."""
    query = _within(sa.select(_TABLE.c.asset_id, *_SUMS), period).group_by(_TABLE.c.asset_id)
    found = [AssetUsage(bytes(row.asset_id), _counts(row)) for row in session.execute(query)]
    return sorted(found, key=lambda usage: (-usage.counts.served, usage.asset_id))


def by_day(
    session: Session,
    period: Period,
    *,
    asset_id: bytes | None = None,
    agreement_id: bytes | None = None,
) -> list[DayUsage]:
    """The counts of each day with calls, in order; of one asset or one agreement where given."""
    query = _within(sa.select(_TABLE.c.day, *_SUMS), period)
    if asset_id is not None:
        query = query.where(_TABLE.c.asset_id == asset_id)
    if agreement_id is not None:
        query = query.where(_TABLE.c.agreement_id == agreement_id)
    query = query.group_by(_TABLE.c.day).order_by(_TABLE.c.day)
    return [DayUsage(row.day, _counts(row)) for row in session.execute(query)]


def by_buyer(session: Session, asset_id: bytes, period: Period) -> list[BuyerUsage]:
    """The counts of each agreement, the largest first."""
    key = (_TABLE.c.buyer, _TABLE.c.agreement_id)
    query = _of_asset(sa.select(*key, *_SUMS), asset_id, period).group_by(*key)
    found = [
        BuyerUsage(row.buyer, bytes(row.agreement_id), _counts(row))
        for row in session.execute(query)
    ]
    return sorted(found, key=lambda usage: (-usage.counts.served, usage.agreement_id))


def by_columns(session: Session, asset_id: bytes, period: Period) -> dict[tuple[str, ...], int]:
    """The number of served calls for each set of columns."""
    query = _of_asset(
        sa.select(_TABLE.c["columns"], sa.func.sum(_TABLE.c.served)), asset_id, period
    )
    found = session.execute(query.group_by(_TABLE.c["columns"]))
    return {tuple(json.loads(names)): int(served) for names, served in found}


def by_month(
    session: Session, period: Period, *, agreement_id: bytes | None = None
) -> list[DayUsage]:
    """The counts of each month that begins in a period, in order."""
    month = _MONTHS.c.month
    query = sa.select(month.label("day"), *_MONTH_SUMS).where(
        month >= period.since, month < period.until
    )
    if agreement_id is not None:
        query = query.where(_MONTHS.c.agreement_id == agreement_id)
    found = session.execute(query.group_by(month).order_by(month))
    return [DayUsage(row.day, _counts(row)) for row in found]


def of_month(session: Session, month: int) -> list[AgreementUsage]:
    """The counts of each agreement in a whole month."""
    found = session.execute(sa.select(_MONTHS).where(_MONTHS.c.month == month))
    return [
        AgreementUsage(bytes(row.agreement_id), bytes(row.asset_id), row.buyer, _counts(row))
        for row in found
    ]


def by_agreement_in(session: Session, period: Period) -> list[AgreementUsage]:
    """The counts of each agreement in a period."""
    key = (_TABLE.c.agreement_id, _TABLE.c.asset_id, _TABLE.c.buyer)
    query = _within(sa.select(*key, *_SUMS), period).group_by(*key)
    return [
        AgreementUsage(bytes(row.agreement_id), bytes(row.asset_id), row.buyer, _counts(row))
        for row in session.execute(query)
    ]


def by_agreement(session: Session, agreement_ids: Sequence[bytes]) -> dict[bytes, Counts]:
    """The counts of each of some agreements, at most as many as a list shows."""
    query = sa.select(_MONTHS.c.agreement_id, *_MONTH_SUMS).group_by(_MONTHS.c.agreement_id)
    found = session.execute(query.where(_MONTHS.c.agreement_id.in_(list(agreement_ids))))
    return {bytes(row.agreement_id): _counts(row) for row in found}


def total(session: Session) -> Counts:
    """The counts of everything."""
    query = sa.select(*(sa.func.coalesce(sums, 0).label(sums.name) for sums in _MONTH_SUMS))
    return _counts(session.execute(query).one())


def page(session: Session, request: PageRequest, asset_id: bytes, period: Period) -> Page[UsageRow]:
    """The rows of an asset, the latest day first; ``cursor_malformed``."""
    query = sa.select(UsageCountRow).where(
        UsageCountRow.asset_id == asset_id,
        UsageCountRow.day >= period.since,
        UsageCountRow.day < period.until,
    )
    order = (UsageCountRow.day, UsageCountRow.agreement_id, UsageCountRow.columns)
    return page_of(session, query, order, request).map(_row)


def _row(row: UsageCountRow) -> UsageRow:
    return UsageRow(
        day=row.day,
        buyer=row.buyer,
        agreement_id=row.agreement_id,
        columns=tuple(json.loads(row.columns)),
        counts=Counts(row.served, row.refused, row.voided, row.units, row.amount),
    )


def _counts(row: Any) -> Counts:
    return Counts(*(int(getattr(row, name)) for name in _COUNTED))


def _within(query: sa.Select[Any], period: Period) -> sa.Select[Any]:
    return query.where(_TABLE.c.day >= period.since, _TABLE.c.day < period.until)


def _of_asset(query: sa.Select[Any], asset_id: bytes, period: Period) -> sa.Select[Any]:
    return _within(query.where(_TABLE.c.asset_id == asset_id), period)
