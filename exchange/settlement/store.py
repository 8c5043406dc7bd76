"""Tables of confirmed deposits and of what the chain says was claimed and paid."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import JSON, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from chain.core.database import Base
from exchange.columns import Fen


class DepositRow(Base):
    """A deposit this settlement bank confirmed; its own reference counts once."""

    __tablename__ = "exchange_deposit"
    reference: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    member: Mapped[str] = mapped_column(sa.String(18))
    amount: Mapped[int] = mapped_column(Fen)
    confirmation: Mapped[dict[str, Any]] = mapped_column(JSON)
    signature: Mapped[bytes] = mapped_column(LargeBinary(65))
    at: Mapped[int] = mapped_column(sa.BigInteger)


class ClaimedLaneRow(Base):
    """What was claimed on a lane, as the chain's events tell it."""

    __tablename__ = "exchange_claimed"
    agreement_id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    lane: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(sa.BigInteger)
    units: Mapped[int] = mapped_column(sa.BigInteger)
    amount: Mapped[int] = mapped_column(Fen)
    height: Mapped[int] = mapped_column(sa.BigInteger)


class PaymentRow(Base):
    """A payment, deposit or withdrawal on the chain, one row an event."""

    __tablename__ = "exchange_payment"
    __table_args__ = (
        sa.Index("ix_exchange_payment_agreement", "agreement_id", "height", "log_index"),
    )
    height: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    log_index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(sa.String(12))
    """``paid``, ``deposited`` or ``withdrawn``."""
    member: Mapped[str] = mapped_column(sa.String(18), index=True)
    agreement_id: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    amount: Mapped[int] = mapped_column(Fen)
