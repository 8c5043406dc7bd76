"""Tables of metered calls: the gateway's and the buyer's."""

from __future__ import annotations

from sqlalchemy import Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from chain.database import Base


class ServedCall(Base):
    """One place of a lane at the gateway; the answer is kept until it is acknowledged."""

    __tablename__ = "call_served"
    agreement_id: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    lane: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    request: Mapped[bytes] = mapped_column(LargeBinary)
    request_signature: Mapped[bytes] = mapped_column(LargeBinary)
    receipt: Mapped[bytes] = mapped_column(LargeBinary)
    receipt_signature: Mapped[bytes] = mapped_column(LargeBinary)
    outcome: Mapped[int]
    answer: Mapped[bytes | None] = mapped_column(LargeBinary)
    void: Mapped[bytes | None] = mapped_column(LargeBinary)
    void_signature: Mapped[bytes | None] = mapped_column(LargeBinary)


class MadeCall(Base):
    """One place of a lane at the buyer: stored before it is sent, completed before it is answered."""

    __tablename__ = "call_made"
    agreement_id: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    lane: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    idempotency_key: Mapped[str | None]
    query_hash: Mapped[bytes] = mapped_column(LargeBinary)
    request: Mapped[bytes] = mapped_column(LargeBinary)
    request_signature: Mapped[bytes] = mapped_column(LargeBinary)
    sent: Mapped[bytes] = mapped_column(LargeBinary)
    """The exact body sent, so that a retry is the same bytes."""
    receipt: Mapped[bytes | None] = mapped_column(LargeBinary)
    receipt_signature: Mapped[bytes | None] = mapped_column(LargeBinary)
    outcome: Mapped[int | None]
    answer: Mapped[bytes | None] = mapped_column(LargeBinary)
    void: Mapped[bytes | None] = mapped_column(LargeBinary)
    void_signature: Mapped[bytes | None] = mapped_column(LargeBinary)

    __table_args__ = (Index("call_made_key", "idempotency_key", unique=True),)


class ClosingVoucher(Base):
    """A buyer's closing voucher, at either side."""

    __tablename__ = "closing_voucher"
    agreement_id: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    lane: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int]
    voucher: Mapped[bytes] = mapped_column(LargeBinary)
    signature: Mapped[bytes] = mapped_column(LargeBinary)
