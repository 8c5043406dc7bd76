"""Tables of acts and of the keys that open the persons in them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import BigInteger, LargeBinary, String
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base
from nodes.console.acts.model import ActFilter
from registry.pages import Page, PageRequest, page_of


class ConsolePersonKey(Base):
    """The key under which a person's name and salts lie in the acts. Deleting it is erasure."""

    __tablename__ = "console_person_key"
    account_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[bytes] = mapped_column(LargeBinary(32))


class ConsoleAct(Base):
    """One act. ``sealed`` holds the committed record and its salt under the person's key."""

    __tablename__ = "console_act"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[int] = mapped_column(BigInteger, index=True)
    account_id: Mapped[str] = mapped_column(String(64), index=True)
    kind: Mapped[str] = mapped_column(String(24))
    object: Mapped[str] = mapped_column(String(32))
    subject: Mapped[str] = mapped_column(String(100), index=True)
    place: Mapped[str] = mapped_column(String(200))
    outcome: Mapped[str] = mapped_column(String(64))
    commitment: Mapped[bytes] = mapped_column(LargeBinary(32))
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


def person_key(session: Session, account_id: str) -> bytes | None:
    """The person's key, unless it was erased or never made."""
    row = session.get(ConsolePersonKey, account_id)
    return None if row is None else row.key


def erase_key(session: Session, account_id: str) -> bool:
    """Delete a person's key; whether there was one."""
    row = session.get(ConsolePersonKey, account_id)
    if row is not None:
        session.delete(row)
    return row is not None


def act_page(session: Session, wanted: ActFilter, request: PageRequest) -> Page[ConsoleAct]:
    """Acts, newest first."""
    query = sa.select(ConsoleAct)
    for column, value in (
        (ConsoleAct.account_id, wanted.account_id),
        (ConsoleAct.kind, wanted.kind),
        (ConsoleAct.object, wanted.object),
        (ConsoleAct.subject, wanted.subject),
    ):
        if value:
            query = query.where(column == value)
    return page_of(session, query, (ConsoleAct.id,), request)
