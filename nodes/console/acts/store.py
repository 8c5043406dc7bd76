"""Tables of acts and of the keys that open the persons in them."""

from __future__ import annotations

import secrets
from typing import TypedDict, cast

import sqlalchemy as sa
from sqlalchemy import BigInteger, LargeBinary, String
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base, PreparedStatement
from nodes.console.acts.model import ActFilter
from registry.pages import Page, PageRequest, page_of


class ConsolePersonKey(Base):
    """The key under which a person's name and salts lie in the acts. Deleting it is erasure."""

    __tablename__ = "console_person_key"
    account_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[bytes] = mapped_column(LargeBinary(32))


class ActColumns(TypedDict):
    """The columns of an act to be stored."""

    at: int
    account_id: str
    kind: str
    object: str
    subject: str
    place: str
    outcome: str
    commitment: bytes
    sealed: bytes


class ConsoleAct(Base):
    """One act. ``sealed`` holds the committed record and its salt under the person's key."""

    __tablename__ = "console_act"
    __table_args__ = tuple(
        sa.Index(f"ix_console_act_{column}", column, "id")
        for column in ("account_id", "kind", "object", "subject")
    )
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[int] = mapped_column(BigInteger, index=True)
    account_id: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(24))
    object: Mapped[str] = mapped_column(String(32))
    subject: Mapped[str] = mapped_column(String(100))
    place: Mapped[str] = mapped_column(String(200))
    outcome: Mapped[str] = mapped_column(String(64))
    commitment: Mapped[bytes] = mapped_column(LargeBinary(32))
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


_KEYS = cast(sa.Table, ConsolePersonKey.__table__)
_KEY = PreparedStatement(
    sa.select(_KEYS.c.key).where(_KEYS.c.account_id == sa.bindparam("account_id"))
)
_INSERT = PreparedStatement(sa.insert(cast(sa.Table, ConsoleAct.__table__)))
"""Both run with every metered call."""


def insert_act(session: Session, row: ActColumns) -> None:
    """Store an act."""
    _INSERT.execute(session, [row])


def person_key(session: Session, account_id: str) -> bytes | None:
    """The person's key, unless it was erased or never made."""
    rows = _KEY.fetch(session, {"account_id": account_id})
    return bytes(rows[0][0]) if rows else None


def make_key(session: Session, account_id: str) -> bytes:
    """Make and store a person's key."""
    key = secrets.token_bytes(32)
    session.add(ConsolePersonKey(account_id=account_id, key=key))
    session.flush()
    return key


def erase_key(session: Session, account_id: str) -> bool:
    """Delete a person's key; whether there was one."""
    row = session.get(ConsolePersonKey, account_id)
    if row is not None:
        session.delete(row)
        session.flush()
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
