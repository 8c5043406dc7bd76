"""Tables of offers and agreements."""

from __future__ import annotations

import time
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import JSON, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from chain.core.database import Base

OWN = sa.text("side != 'observer'")
"""Agreements that this node's organisation is a party of."""


class Fen(sa.TypeDecorator[int]):
    """An amount of up to 128 bits, kept as decimal text: no database's numbers reach that far
    without rounding.
    """

    impl = sa.String(39)
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Any) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Any) -> int | None:
        return None if value is None else int(value)


class OfferRow(Base):
    """This node's own offer for an asset version."""

    __tablename__ = "exchange_offer"
    asset_id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    asset_version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    offer: Mapped[dict[str, Any]] = mapped_column(JSON)
    changed_at: Mapped[int] = mapped_column(sa.BigInteger)
    withdrawn_at: Mapped[int | None] = mapped_column(sa.BigInteger)


class SeenOfferRow(Base):
    """Another member's offer as this node showed it to its people; an order names it
    by its hash.
    """

    __tablename__ = "exchange_seen_offer"
    terms_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    offer: Mapped[dict[str, Any]] = mapped_column(JSON)
    seen_at: Mapped[int] = mapped_column(sa.BigInteger)
    """Unix seconds."""


class AgreementRow(Base):
    """An agreement: this node's own with signatures, others' as the chain showed them."""

    __tablename__ = "exchange_agreement"
    __table_args__ = (
        sa.Index("ix_exchange_agreement_own", "added", sqlite_where=OWN, postgresql_where=OWN),
        sa.Index("ix_exchange_agreement_state", "state", "added"),
    )
    agreement_id: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    added: Mapped[int] = mapped_column(sa.BigInteger, default=time.time_ns, index=True)
    """When this node added the row, in nanoseconds since 1970: the order of lists. It never
    changes.
    """
    side: Mapped[str] = mapped_column(sa.String(8))
    state: Mapped[str] = mapped_column(sa.String(16))
    reason: Mapped[str | None] = mapped_column(sa.String(64))
    """Code of how a proposal ended, and a sentence; None for every other state."""
    reason_text: Mapped[str | None] = mapped_column(sa.String(600))
    state_since: Mapped[int | None] = mapped_column(sa.BigInteger)
    """Unix seconds of the last change of a proposal's state at this node; what the chain decides
    has heights.
    """
    reported_at: Mapped[int | None] = mapped_column(sa.BigInteger)
    """When the buyer's node reported the end to the provider's, in Unix seconds."""
    provider: Mapped[str] = mapped_column(sa.String(18))
    buyer: Mapped[str] = mapped_column(sa.String(18))
    agreement: Mapped[dict[str, Any]] = mapped_column(JSON)
    terms: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    provider_signature: Mapped[bytes | None] = mapped_column(LargeBinary)
    buyer_signature: Mapped[bytes | None] = mapped_column(LargeBinary)
    proposed_at: Mapped[int | None] = mapped_column(sa.BigInteger)
    opened_at: Mapped[int | None] = mapped_column(sa.BigInteger)
    """Height, as are the next two."""
    notice_at: Mapped[int | None] = mapped_column(sa.BigInteger)
    closed_at: Mapped[int | None] = mapped_column(sa.BigInteger)
    paid: Mapped[int] = mapped_column(Fen, default=0)
    refunded: Mapped[int] = mapped_column(Fen, default=0)


AGREEMENTS = cast(sa.Table, AgreementRow.__table__)
