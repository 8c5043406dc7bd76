"""The table of proposals that wait for a second person."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base


class ConsoleProposal(Base):
    """What one person did and a second one has not done yet."""

    __tablename__ = "console_proposal"
    action: Mapped[str] = mapped_column(String(64), primary_key=True)
    subject: Mapped[str] = mapped_column(String(100), primary_key=True)
    account_id: Mapped[str] = mapped_column(String(32), index=True)
    page: Mapped[str] = mapped_column(String(300))
    at: Mapped[int] = mapped_column(BigInteger, index=True)


def proposal_row(session: Session, action: str, subject: str) -> ConsoleProposal | None:
    """The proposal of an action on an object."""
    return session.get(ConsoleProposal, (action, subject))


def open_rows(session: Session, *, since: int) -> Sequence[ConsoleProposal]:
    """Proposals since a time, oldest first."""
    query = sa.select(ConsoleProposal).where(ConsoleProposal.at >= since)
    return session.scalars(query.order_by(ConsoleProposal.at)).all()
