"""Tables of agreements, lanes, flows by day and counts by hour, for the whole network."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import LargeBinary
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base
from exchange.supervision.model import AgreementFacts, Flow, FlowSums, HourCounts
from exchange.supervision.rules import LaneTotals


class SupervisedAgreementRow(Base):
    """An opened agreement, found by its asset, its grant or its parties."""

    __tablename__ = "supervision_agreement"
    agreement_id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    provider: Mapped[str] = mapped_column(sa.String(18), index=True)
    buyer: Mapped[str] = mapped_column(sa.String(18), index=True)
    asset_id: Mapped[bytes] = mapped_column(LargeBinary(32), index=True)
    grant_id: Mapped[bytes] = mapped_column(LargeBinary(32), index=True)
    opened_at: Mapped[int] = mapped_column(sa.BigInteger)
    """Unix seconds, as the next."""
    closed_at: Mapped[int | None] = mapped_column(sa.BigInteger)


class SupervisedLaneRow(Base):
    """The totals of a lane that are in the sums."""

    __tablename__ = "supervision_lane"
    agreement_id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    lane: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[str] = mapped_column(sa.String(39))
    """Decimal, as the next two: lanes count further than a database's integers."""
    units: Mapped[str] = mapped_column(sa.String(39))
    amount: Mapped[str] = mapped_column(sa.String(39))


class FlowRow(Base):
    """What one member got of another's asset on a day, and in a month for long periods."""

    __tablename__ = "supervision_flow"
    period: Mapped[str] = mapped_column(sa.String(10), primary_key=True)
    provider: Mapped[str] = mapped_column(sa.String(18), primary_key=True)
    buyer: Mapped[str] = mapped_column(sa.String(18), primary_key=True)
    asset_id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    calls: Mapped[int] = mapped_column(sa.BigInteger)
    units: Mapped[int] = mapped_column(sa.BigInteger)
    amount: Mapped[int] = mapped_column(sa.BigInteger)


class NetworkHourRow(Base):
    """Activity of the network in an hour."""

    __tablename__ = "supervision_hour"
    hour: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    calls: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    amount: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    deposited: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    paid: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    withdrawn: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    opened: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    closed: Mapped[int] = mapped_column(sa.BigInteger, default=0)


class SupervisionCursorRow(Base):
    """The last event that is in the sums, so that no event counts twice."""

    __tablename__ = "supervision_cursor"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    height: Mapped[int] = mapped_column(sa.BigInteger)
    log_index: Mapped[int]


# --- The projection -------------------------------------------------------------------------------


def pass_event(session: Session, height: int, log_index: int) -> bool:
    """Move the cursor to an event; False if it was passed before."""
    row = session.get(SupervisionCursorRow, 1)
    if row is None:
        row = SupervisionCursorRow(id=1, height=-1, log_index=-1)
        session.add(row)
    if (row.height, row.log_index) >= (height, log_index):
        return False
    row.height, row.log_index = height, log_index
    return True


def add_agreement(session: Session, facts: AgreementFacts) -> None:
    """Store an opened agreement."""
    session.merge(
        SupervisedAgreementRow(
            agreement_id=facts.agreement_id,
            provider=facts.provider,
            buyer=facts.buyer,
            asset_id=facts.asset_id,
            grant_id=facts.grant_id,
            opened_at=facts.opened_at,
            closed_at=facts.closed_at,
        )
    )


def close_agreement(session: Session, agreement_id: bytes, at: int) -> None:
    """Store when an agreement was closed."""
    query = sa.update(SupervisedAgreementRow).values(closed_at=at)
    session.execute(query.where(SupervisedAgreementRow.agreement_id == agreement_id))


def replace_lane(session: Session, agreement_id: bytes, lane: int, now: LaneTotals) -> LaneTotals:
    """Store a lane's totals; those that were stored before."""
    row = session.get(SupervisedLaneRow, (agreement_id, lane))
    before = (
        LaneTotals() if row is None else LaneTotals(int(row.seq), int(row.units), int(row.amount))
    )
    session.merge(
        SupervisedLaneRow(
            agreement_id=agreement_id,
            lane=lane,
            seq=str(now.seq),
            units=str(now.units),
            amount=str(now.amount),
        )
    )
    return before


def add_flow(session: Session, period: str, facts: AgreementFacts, added: LaneTotals) -> None:
    """Add to what an asset's buyer got in a period."""
    key = (period, facts.provider, facts.buyer, facts.asset_id)
    row = session.get(FlowRow, key)
    if row is None:
        row = FlowRow(
            period=period,
            provider=facts.provider,
            buyer=facts.buyer,
            asset_id=facts.asset_id,
            calls=0,
            units=0,
            amount=0,
        )
        session.add(row)
    row.calls += added.seq
    row.units += added.units
    row.amount += added.amount
    session.flush()


def add_to_hour(session: Session, hour: int, **added: int) -> None:
    """Add to an hour's counts, by the columns' names."""
    row = session.get(NetworkHourRow, hour)
    if row is None:
        row = NetworkHourRow(
            hour=hour, calls=0, amount=0, deposited=0, paid=0, withdrawn=0, opened=0, closed=0
        )
        session.add(row)
    for name, value in added.items():
        setattr(row, name, getattr(row, name) + value)
    session.flush()


# --- Reading --------------------------------------------------------------------------------------


def find_agreement(session: Session, agreement_id: bytes) -> AgreementFacts | None:
    """One agreement."""
    row = session.get(SupervisedAgreementRow, agreement_id)
    return None if row is None else _facts(row)


def agreements_of(
    session: Session,
    *,
    asset_id: bytes | None = None,
    grant_id: bytes | None = None,
    provider: str | None = None,
    buyer: str | None = None,
    limit: int,
) -> list[AgreementFacts]:
    """Agreements of an asset, under a grant or of parties, the latest first."""
    row = SupervisedAgreementRow
    wanted = (
        (row.asset_id, asset_id),
        (row.grant_id, grant_id),
        (row.provider, provider),
        (row.buyer, buyer),
    )
    query = sa.select(row).where(
        *(column == value for column, value in wanted if value is not None)
    )
    query = query.order_by(row.opened_at.desc(), row.agreement_id).limit(limit)
    return [_facts(found) for found in session.scalars(query)]


def flows(session: Session, first: str, last: str, *, limit: int) -> FlowSums:
    """The flows of consecutive periods with the most money, then calls, and the sums over all."""
    row = FlowRow
    grouped = (
        sa.select(
            row.provider,
            row.buyer,
            row.asset_id,
            *(
                sa.func.sum(column).label(column.key)
                for column in (row.calls, row.units, row.amount)
            ),
        )
        .where(row.period >= first, row.period <= last)
        .group_by(row.provider, row.buyer, row.asset_id)
        .subquery()
    )
    found = grouped.c
    totals = (sa.func.sum(column).over() for column in (found.calls, found.units, found.amount))
    query = (
        sa.select(grouped, sa.func.count().over(), *totals)
        .order_by(found.amount.desc(), found.calls.desc(), found.provider, found.asset_id)
        .limit(limit)
    )
    rows = session.execute(query).all()
    if not rows:
        return FlowSums((), 0, 0, 0, 0)
    shown = tuple(Flow(one[0], one[1], one[2], *map(int, one[3:6])) for one in rows)
    return FlowSums(shown, *map(int, rows[0][6:10]))


def hours(session: Session, since: int) -> Sequence[HourCounts]:
    """The hours from a moment on that have anything, in order."""
    query = sa.select(NetworkHourRow).where(NetworkHourRow.hour >= since)
    return [
        HourCounts(
            hour=row.hour,
            calls=row.calls,
            amount=row.amount,
            deposited=row.deposited,
            paid=row.paid,
            withdrawn=row.withdrawn,
            opened=row.opened,
            closed=row.closed,
        )
        for row in session.scalars(query.order_by(NetworkHourRow.hour))
    ]


def open_agreements(session: Session) -> int:
    """The number of open agreements."""
    row = SupervisedAgreementRow
    query = sa.select(sa.func.count()).where(row.closed_at.is_(None))
    return session.scalars(query).one()


def open_agreements_after(session: Session, after: bytes, *, limit: int) -> list[AgreementFacts]:
    """Open agreements in the order of their ids, from the one after ``after``."""
    row = SupervisedAgreementRow
    query = sa.select(row).where(row.closed_at.is_(None), row.agreement_id > after)
    return [_facts(one) for one in session.scalars(query.order_by(row.agreement_id).limit(limit))]


def _facts(row: SupervisedAgreementRow) -> AgreementFacts:
    return AgreementFacts(
        agreement_id=row.agreement_id,
        provider=row.provider,
        buyer=row.buyer,
        asset_id=row.asset_id,
        grant_id=row.grant_id,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
    )
