"""The registration centre's tables: units with their owners, titles and holds."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy import JSON, BigInteger, Index, LargeBinary
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base
from chain.statements.commitment import new_salt
from chain.statements.property import TitleStatement, UnitHold
from registry.pages import Page, PageRequest, page_of
from registry.property.model import IssuedTitle, Unit, UnitOrder
from registry.property.store import DealRow

_REGISTER = "unit"


class PropertySecret(Base):
    """The registration centre's secret behind the units' pseudonyms; made at first use, never
    shown.
    """

    __tablename__ = "property_secret"
    name: Mapped[str] = mapped_column(primary_key=True)
    secret: Mapped[bytes] = mapped_column(LargeBinary)


class UnitRow(Base):
    """A unit of the register, at the registration centre: who owns it, by the code of
    its identity.
    """

    __tablename__ = "property_unit"
    unit: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    """The pseudonym."""
    number: Mapped[str] = mapped_column(unique=True)
    owner: Mapped[str]
    registered_at: Mapped[int] = mapped_column(default=0)
    """Height of the last deal's registration; 0 while the register's first entry is the latest."""
    last_registration: Mapped[bytes] = mapped_column(LargeBinary, default=bytes(32))
    """The deal that made ``owner`` the owner, as the chain proved it; 32 zero bytes while the
    register's first entry is the latest.
    """


class TitleRow(Base):
    """A title statement this registration centre issued."""

    __tablename__ = "property_title"
    title_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    unit: Mapped[bytes] = mapped_column(LargeBinary, index=True)
    statement: Mapped[dict[str, object]] = mapped_column(JSON)
    signature: Mapped[bytes] = mapped_column(LargeBinary)


class HoldRow(Base):
    """A hold placed or lifted by this registration centre, with the order it cites."""

    __tablename__ = "property_hold"
    __table_args__ = (Index("ix_property_hold_ends_at", "ends_at", "hold_hash"),)
    hold_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    unit: Mapped[bytes] = mapped_column(LargeBinary, index=True)
    statement: Mapped[dict[str, object]] = mapped_column(JSON)
    signature: Mapped[bytes] = mapped_column(LargeBinary)
    ends_at: Mapped[int | None] = mapped_column(BigInteger)
    """When the hold ends, in Unix seconds; None for a lift, and once a later order took its place.
    """
    order: Mapped[dict[str, object]] = mapped_column("court_order", JSON)
    salt: Mapped[bytes] = mapped_column(LargeBinary)
    operation: Mapped[str]


# --- Units ----------------------------------------------------------------------------------------


def register_secret(session: Session) -> bytes:
    """The secret behind the units' pseudonyms; made at first use."""
    row = session.get(PropertySecret, _REGISTER)
    if row is None:
        row = PropertySecret(name=_REGISTER, secret=new_salt())
        session.add(row)
        session.flush()
    return row.secret


def find_unit(session: Session, unit: bytes) -> Unit | None:
    """A unit by its pseudonym, or None."""
    row = session.get(UnitRow, unit)
    return None if row is None else _unit(row)


def find_unit_by_number(session: Session, number: str) -> Unit | None:
    """A unit by its number, or None."""
    row = session.scalars(sa.select(UnitRow).where(UnitRow.number == number)).first()
    return None if row is None else _unit(row)


def save_unit(session: Session, unit: Unit) -> None:
    """Store a unit, new or changed."""
    session.merge(
        UnitRow(
            unit=unit.unit,
            number=unit.number,
            owner=unit.owner,
            registered_at=unit.registered_at,
            last_registration=unit.last_registration,
        )
    )


def unit_numbers(session: Session, units: Collection[bytes]) -> dict[bytes, str]:
    """The numbers of some units."""
    query = sa.select(UnitRow.unit, UnitRow.number).where(UnitRow.unit.in_(units))
    return {unit: number for unit, number in session.execute(query)}


def last_reported_registration(session: Session) -> int:
    """The height of the last registration that an event reported, 0 without one."""
    return session.scalar(sa.select(sa.func.max(DealRow.registered_at))) or 0


def units_behind(session: Session, *, above: int) -> list[bytes]:
    """Units of the register whose registration an event reported above a height, and whose entry is
    older.
    """
    query = (
        sa.select(DealRow.unit)
        .join(UnitRow, UnitRow.unit == DealRow.unit)
        .where(DealRow.registered_at > above, DealRow.registered_at > UnitRow.registered_at)
    )
    return list(session.scalars(query))


def _unit(row: UnitRow) -> Unit:
    return Unit(
        unit=row.unit,
        number=row.number,
        owner=row.owner,
        registered_at=row.registered_at,
        last_registration=row.last_registration,
    )


# --- Titles and holds -----------------------------------------------------------------------------


def add_title(session: Session, title: IssuedTitle) -> bool:
    """Store a title; returns whether it is new."""
    title_hash = title.statement.struct_hash()
    if session.get(TitleRow, title_hash) is not None:
        return False
    session.add(
        TitleRow(
            title_hash=title_hash,
            unit=title.statement.unit,
            statement=title.statement.to_json(),
            signature=title.signature,
        )
    )
    return True


def titles(session: Session) -> list[IssuedTitle]:
    """Every title that this centre issued."""
    return [
        IssuedTitle(TitleStatement.from_json(row.statement), row.signature)
        for row in session.scalars(sa.select(TitleRow))
    ]


def add_order(session: Session, order: UnitOrder) -> None:
    """Store a unit's latest order; earlier ones no longer have an end."""
    statement = order.statement
    earlier = sa.update(HoldRow).where(HoldRow.unit == statement.unit)
    session.execute(earlier.values(ends_at=None))
    session.add(
        HoldRow(
            hold_hash=statement.struct_hash(),
            ends_at=statement.ends_at if statement.placed else None,
            unit=statement.unit,
            statement=statement.to_json(),
            signature=order.signature,
            order=dict(order.order),
            salt=order.salt,
            operation=order.operation,
        )
    )


def holds_page(session: Session, page: PageRequest) -> Page[UnitOrder]:
    """The latest order of each unit whose hold was not lifted, the next to end first;
    ``cursor_malformed``.
    """
    query = sa.select(HoldRow).where(HoldRow.ends_at.is_not(None))
    order = (HoldRow.ends_at, HoldRow.hold_hash)
    return page_of(session, query, order, page, ascending=True).map(_order)


def orders_of(session: Session, unit: bytes) -> list[UnitOrder]:
    """A unit's orders, the latest first."""
    orders = map(_order, session.scalars(sa.select(HoldRow).where(HoldRow.unit == unit)))
    return sorted(orders, key=lambda order: order.statement.issued_at, reverse=True)


def last_order_at(session: Session, unit: bytes) -> int:
    """When a unit's latest order was issued, in Unix seconds; 0 without one."""
    orders = orders_of(session, unit)
    return orders[0].statement.issued_at if orders else 0


def _order(row: HoldRow) -> UnitOrder:
    return UnitOrder(
        statement=UnitHold.from_json(row.statement),
        signature=row.signature,
        order=row.order,
        salt=row.salt,
        operation=row.operation,
    )
