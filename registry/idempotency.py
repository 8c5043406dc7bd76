"""Idempotency keys: a repeated request under the same key is carried out once.

A key is bound to the whole content of the request it first came with, wherever one is accepted:
``Idempotency-Key`` headers, bank references and withdrawal orders. The first request binds its key
to a commitment to the content, durably and before anything is sent. The same content under the key
is the same request; any other content is refused, also while the first is still running or after a
restart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import LargeBinary
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.context import Context
from chain.core.database import Base
from chain.core.errors import Conflict
from chain.statements.commitment import commit, new_salt, opens

DOMAIN = "qiaolian.request-key.v1"


class KeyScope(StrEnum):
    """What a key is for. The same text may be a key in several scopes."""

    AGREEMENT = "agreement"
    GRANT = "grant"
    REPORT = "report"
    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"


class IdempotencyKeyRow(Base):
    """A used key and a commitment to the request that it is bound to."""

    __tablename__ = "request_key"
    scope: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    key: Mapped[str] = mapped_column(sa.String(200), primary_key=True)
    salt: Mapped[bytes] = mapped_column(LargeBinary(32))
    commitment: Mapped[bytes] = mapped_column(LargeBinary(32))
    bound_at: Mapped[int] = mapped_column(sa.BigInteger)
    """Unix seconds."""


KEYS = cast(sa.Table, IdempotencyKeyRow.__table__)


def bind(
    session: Session, scope: KeyScope, key: str, content: Mapping[str, Any], *, now: int
) -> bool:
    """Bind a key to a request's whole content; returns whether the key is new.

    Args:
        content: everything the caller asked for, as JSON values without floats (see
            ``content_of``).

    Raises:
        Conflict: ``idempotency_key_reused`` when the key belongs to other content.
    """
    salt = new_salt()
    row = {
        "scope": scope.value,
        "key": key,
        "salt": salt,
        "commitment": commit(salt, DOMAIN, _plain(content)),
        "bound_at": now,
    }
    dialect = session.get_bind().dialect.name
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    # Two processes may bind one key at once: the second waits for the first and then compares.
    inserted = session.execute(insert(KEYS).values(row).on_conflict_do_nothing())
    if inserted.rowcount:  # type: ignore[attr-defined]
        return True
    query = sa.select(KEYS.c.salt, KEYS.c.commitment)
    bound = session.execute(query.where(KEYS.c.scope == scope.value, KEYS.c.key == key)).one()
    if not opens(bound.commitment, salt=bound.salt, domain=DOMAIN, record=_plain(content)):
        raise key_reused(scope)
    return False


def key_reused(scope: KeyScope) -> Conflict:
    """The refusal of a key that belongs to another request."""
    return Conflict(
        "idempotency_key_reused",
        f"The key, order or reference belongs to another {scope} request.",
        hint="Use a new one for a new request; a repetition must be the same in everything.",
    )


def content_of(request: Any) -> dict[str, Any]:
    """A request dataclass as ``bind`` takes it: every field, so that none is forgotten."""
    return {field.name: getattr(request, field.name) for field in dataclasses.fields(request)}


def nonce_for(context: Context, what: str, key: str | None) -> bytes:
    """A 32-byte nonce: random without a key, else the same for the same key at this node.

    It is derived from ``what`` and the key by ``Context.derive``, so nobody else can compute it or
    tell it from a random one.
    """
    if key is None:
        return new_salt()
    return context.derive(b"qiaolian.idempotency.v1\0" + what.encode() + b"\0" + key.encode())


def _plain(value: Any) -> Any:
    """A value as canonical JSON takes it; integers as text, since amounts exceed its range."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(int(value))
    if dataclasses.is_dataclass(value):
        return _plain(content_of(value))
    return value
