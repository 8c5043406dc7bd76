"""The table of forms that were sent."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import BigInteger, LargeBinary, String
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base


class ConsoleSubmission(Base):
    """A form that a person sent. ``location`` is where it led, once it was carried out."""

    __tablename__ = "console_submission"
    account_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    form_key: Mapped[str] = mapped_column(String(64), primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary(32))
    process: Mapped[str] = mapped_column(String(32))
    """Which run of the node began it."""
    location: Mapped[str | None]
    at: Mapped[int] = mapped_column(BigInteger, index=True)


def forget(session: Session, *, before: int) -> None:
    """Delete what is too old to be sent again from an open page."""
    session.execute(sa.delete(ConsoleSubmission).where(ConsoleSubmission.at < before))
