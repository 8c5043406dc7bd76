"""Tables of offers and agreements."""

from __future__ import annotations

from sqlalchemy import JSON, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from chain.database import Base


class Offer(Base):
    """What a provider asks for an asset; an agreement must match it."""

    __tablename__ = "offer"
    asset_id: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    terms: Mapped[dict[str, object]] = mapped_column(JSON)


class AgreementRow(Base):
    """An agreement this node is a party to, with both signatures and the heights the chain gave it."""

    __tablename__ = "agreement"
    agreement_id: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    provider: Mapped[str]
    buyer: Mapped[str]
    agreement: Mapped[dict[str, object]] = mapped_column(JSON)
    grant_terms: Mapped[dict[str, object]] = mapped_column(JSON)
    provider_signature: Mapped[bytes] = mapped_column(LargeBinary)
    buyer_signature: Mapped[bytes] = mapped_column(LargeBinary)
    opened_at: Mapped[int | None]
    notice_at: Mapped[int | None]
    closed_at: Mapped[int | None]
    paid: Mapped[int | None]
    refunded: Mapped[int | None]
    open_transaction: Mapped[bytes | None] = mapped_column(LargeBinary)
