"""Tables of property: the registration centre's units and titles, and deals as each party keeps
them.
"""

from __future__ import annotations

import time

import sqlalchemy as sa
from sqlalchemy import JSON, BigInteger, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from chain.core.database import Base


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
    """Height of the last deal's registration; 0 while the register's first entry stands."""
    last_registration: Mapped[bytes] = mapped_column(LargeBinary, default=bytes(32))
    """The deal that made ``owner`` the owner, as the chain proved it; 32 zero bytes while the
    register's first entry stands.
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


class DealRow(Base):
    """A deal this member is a party of (or sees as supervisor, then without content)."""

    __tablename__ = "property_deal"
    deal_id: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    added: Mapped[int] = mapped_column(BigInteger, default=time.time_ns, index=True)
    """When this node added the row, in nanoseconds since 1970: the order of lists. It never
    changes.
    """
    unit: Mapped[bytes] = mapped_column(LargeBinary, index=True)
    terms: Mapped[dict[str, object]] = mapped_column(JSON)
    content: Mapped[dict[str, object] | None] = mapped_column(JSON)
    content_salt: Mapped[bytes | None] = mapped_column(LargeBinary)
    title: Mapped[dict[str, object] | None] = mapped_column(JSON)
    title_signature: Mapped[bytes | None] = mapped_column(LargeBinary)
    certificates: Mapped[list[dict[str, object]]] = mapped_column(JSON)
    """Seller's, then buyer's: ``certificate`` and ``signature``."""
    operation: Mapped[str] = mapped_column(default="")
    """The agent's call that opens it."""
    opened_at: Mapped[int] = mapped_column(default=0)
    registered_at: Mapped[int] = mapped_column(default=0, index=True)
    expired_at: Mapped[int] = mapped_column(default=0)


class StepRow(Base):
    """One step's statement; ``height`` 0 until the chain has it, ``signature`` and ``record`` empty
    until its party sent them.
    """

    __tablename__ = "property_step"
    deal_id: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    statement: Mapped[dict[str, object]] = mapped_column(JSON)
    signature: Mapped[bytes | None] = mapped_column(LargeBinary)
    record: Mapped[dict[str, object] | None] = mapped_column(JSON)
    salt: Mapped[bytes | None] = mapped_column(LargeBinary)
    operation: Mapped[str] = mapped_column(default="")
    height: Mapped[int] = mapped_column(default=0, index=True)


def steps_query(deal_id: bytes) -> sa.Select[StepRow]:
    return sa.select(StepRow).where(StepRow.deal_id == deal_id).order_by(StepRow.step)
