"""Lists in pages that do not move while others write (keyset pagination).

A page starts after the last row of the one before, named by that row's sort values, so a row that
is added or removed elsewhere neither repeats nor hides one. Every answer says how many rows there
are in all and how to get the rest.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute, Session

from chain.errors import BadInput

T = TypeVar("T")
MAX_ROWS = 500
MAX_CURSOR_CHARACTERS = 400


@dataclass(frozen=True)
class PageRequest:
    """Which page is asked for: the first, or the one after a cursor."""

    limit: int = 100
    cursor: str = ""


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some rows of a list."""

    rows: Sequence[T]
    total: int
    """Rows of the whole list."""
    next: str | None
    """The cursor of the following page; None at the end."""

    def to_json(self, name: str, row: Callable[[T], Mapping[str, Any]]) -> dict[str, Any]:
        """The answer: the rows under ``name``, ``total`` and ``next``."""
        return {name: [row(found) for found in self.rows], "total": self.total, "next": self.next}


def page_of(
    session: Session,
    query: sa.Select[T],
    order: Sequence[InstrumentedAttribute[Any]],
    request: PageRequest,
) -> Page[T]:
    """A page of a query's rows, highest first.

    Args:
        query: selects one mapped class, without an order of its own.
        order: columns that together are unique and never change, most significant first; integers,
            text or bytes, none of them null.

    Raises:
        BadInput: ``cursor_malformed``.
    """
    total = session.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0
    if request.cursor:
        query = query.where(sa.tuple_(*order) < sa.tuple_(*_read(request.cursor, order)))
    ordered = query.order_by(*(column.desc() for column in order)).limit(request.limit + 1)
    rows = list(session.scalars(ordered))
    more = len(rows) > request.limit
    rows = rows[: request.limit]
    following = _written([getattr(rows[-1], column.key) for column in order]) if more else None
    return Page(rows, total, following)


def _written(values: Sequence[int | str | bytes]) -> str:
    plain = [{"hex": value.hex()} if isinstance(value, bytes) else value for value in values]
    text = json.dumps(plain, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def _read(cursor: str, order: Sequence[InstrumentedAttribute[Any]]) -> list[sa.ColumnElement[Any]]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if not isinstance(values, list) or len(values) != len(order):
            raise ValueError("length")
        return [_bound(value, column) for value, column in zip(values, order, strict=True)]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadInput(
            "cursor_malformed",
            "The cursor is not one that this list gave.",
            hint="Begin again without a cursor.",
        ) from error


def _bound(value: Any, column: InstrumentedAttribute[Any]) -> sa.ColumnElement[Any]:
    kind = column.type.python_type
    if kind is bytes:
        value = bytes.fromhex(value["hex"])
    if type(value) is not kind or (kind is int and not -(2**63) <= value < 2**63):
        raise ValueError("type")
    return sa.literal(value, column.type)
