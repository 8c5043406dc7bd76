"""Tables of consents, disputes and credit queries."""

from __future__ import annotations

import time

from sqlalchemy import JSON, BigInteger, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from chain.core.database import Base


class StoredConsentRow(Base):
    """A subject's consent with what opens it, at the bank it was given to."""

    __tablename__ = "credit_consent"
    commitment: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    subject: Mapped[str] = mapped_column(index=True)
    package: Mapped[dict[str, object]] = mapped_column(JSON)


class CertificateRow(Base):
    """A key certificate this issuer issued, or was shown for disputes; one for each key. The
    identity stays here.
    """

    __tablename__ = "credit_certificate"
    key: Mapped[str] = mapped_column(primary_key=True)
    identity: Mapped[dict[str, object]] = mapped_column(JSON)
    certificate: Mapped[dict[str, object]] = mapped_column(JSON)
    signature: Mapped[bytes] = mapped_column(LargeBinary)


class DisputeRow(Base):
    """A dispute about one of this department's records, with the answer when there is one."""

    __tablename__ = "credit_dispute"
    dispute_id: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    subject: Mapped[str] = mapped_column(index=True)
    asset_id: Mapped[bytes] = mapped_column(LargeBinary)
    dispute: Mapped[dict[str, object]] = mapped_column(JSON)
    signature: Mapped[bytes] = mapped_column(LargeBinary)
    authority: Mapped[str]
    raised_at: Mapped[int] = mapped_column(index=True)
    claim: Mapped[dict[str, object]] = mapped_column(JSON)
    old_record: Mapped[dict[str, object]] = mapped_column(JSON)
    new_record: Mapped[dict[str, object] | None] = mapped_column(JSON)
    repair: Mapped[dict[str, object] | None] = mapped_column(JSON)
    repair_signature: Mapped[bytes | None] = mapped_column(LargeBinary)
    opened_at: Mapped[int | None]
    answered_at: Mapped[int | None]


class CreditQueryRow(Base):
    """A one-stop report this bank made, with the statement that was anchored."""

    __tablename__ = "credit_query"
    query_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    added: Mapped[int] = mapped_column(BigInteger, default=time.time_ns, index=True)
    """When this node added the row, in nanoseconds since 1970: the order of lists. It never
    changes.
    """
    subject: Mapped[str] = mapped_column(index=True)
    statement: Mapped[dict[str, object]] = mapped_column(JSON)
    signature: Mapped[bytes] = mapped_column(LargeBinary)
    report: Mapped[dict[str, object]] = mapped_column(JSON)
    report_salt: Mapped[bytes] = mapped_column(LargeBinary)
    receipts: Mapped[list[dict[str, object]]] = mapped_column(JSON)
    """The departments' receipts in the report's order, with what each was delivered under:
    ``receipt``, ``signature``, ``agreement``, ``agreementSignature`` (the department's)."""
    disputes: Mapped[list[dict[str, object]]] = mapped_column(JSON)
    """The disputes the departments told of, with their statements."""
    operation: Mapped[str]


class AnchoredQueryRow(Base):
    """A credit query of any bank that the chain has, for whoever supervises."""

    __tablename__ = "credit_anchored_query"
    query_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    bank: Mapped[str] = mapped_column(index=True)
    height: Mapped[int] = mapped_column(index=True)
