"""The table of approvals by two persons."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import LargeBinary
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base
from exchange.approvals.model import Approval, Matter


class ApprovalRow(Base):
    """The latest approval of a matter."""

    __tablename__ = "exchange_approval"
    matter: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    subject: Mapped[str] = mapped_column(sa.String(100), primary_key=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    first: Mapped[str] = mapped_column(sa.String(64))
    first_at: Mapped[int] = mapped_column(sa.BigInteger)
    second: Mapped[str] = mapped_column(sa.String(64))
    second_at: Mapped[int | None] = mapped_column(sa.BigInteger)


def find(session: Session, matter: Matter, subject: str) -> Approval | None:
    """The latest approval of a matter."""
    row = session.get(ApprovalRow, (matter.value, subject))
    return None if row is None else _approval(row)


def waiting(session: Session, *, since: int) -> list[Approval]:
    """What waits for a second person, the oldest first."""
    query = sa.select(ApprovalRow).where(
        ApprovalRow.second_at.is_(None), ApprovalRow.first_at >= since
    )
    return [_approval(row) for row in session.scalars(query.order_by(ApprovalRow.first_at))]


def put(session: Session, approval: Approval) -> None:
    """Store an approval in place of the one before."""
    session.merge(
        ApprovalRow(
            matter=approval.matter.value,
            subject=approval.subject,
            digest=approval.digest,
            first=approval.first,
            first_at=approval.first_at,
            second=approval.second,
            second_at=approval.second_at,
        )
    )
    session.flush()


def _approval(row: ApprovalRow) -> Approval:
    return Approval(
        Matter(row.matter),
        row.subject,
        row.digest,
        row.first,
        row.first_at,
        row.second,
        row.second_at,
    )
