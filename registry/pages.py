"""Lists in pages that do not move while others write (keyset pagination).

A page starts after the last row of the one before, named by that row's sort values, so a row that
is added or removed elsewhere neither repeats nor hides one. Every answer names the next page.
A page may have fewer rows than the limit; ``next`` is null on the last page.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel, Field
from sqlalchemy.orm import InstrumentedAttribute, Session

from chain.core.errors import BadInput
from registry.list_limits import DEFAULT_ROWS, MAX_CURSOR_CHARACTERS, MAX_ROWS

T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True)
class PageRequest:
    """Which page is asked for: the first, or the one after a cursor."""

    limit: int = DEFAULT_ROWS
    cursor: str = ""


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some rows of a list."""

    rows: Sequence[T]
    next: str | None
    """The cursor of the following page; None at the end."""

    def map(self, convert: Callable[[T], S]) -> Page[S]:
        """The page with each row converted."""
        return Page([convert(row) for row in self.rows], self.next)

    def to_json(self, name: str) -> dict[str, Any]:
        """The answer: the rows under ``name``, and ``next``."""
        return {name: self.rows, "next": self.next}


class ListAnswer(BaseModel):
    """What every list answers with, besides its rows."""

    next: str | None = Field(description="The `cursor` of the following page; null at the end.")


def page_of(
    session: Session,
    query: sa.Select[T],
    order: Sequence[InstrumentedAttribute[Any]],
    request: PageRequest,
    *,
    ascending: bool = False,
) -> Page[T]:
    """A page of a query's rows, highest first.

    Args:
        query: selects one mapped class, without an order of its own.
        order: columns that together are unique and never change, most significant first; integers,
            text or bytes, none of them null.
        ascending: lowest first instead.

    Raises:
        BadInput: ``cursor_malformed``.
    """
    rows = list(session.scalars(_after(query, order, request, ascending)))
    return _cut(rows, request.limit, lambda row: [getattr(row, column.key) for column in order])


def matching_page_of(
    session: Session,
    query: sa.Select[T],
    order: Sequence[InstrumentedAttribute[Any]],
    request: PageRequest,
    matches: Callable[[T], bool],
) -> Page[T]:
    """Return a page, lowest first, of the rows that match; its cursor names no other row.

    Raises:
        BadInput: ``cursor_malformed``.
    """
    matching: list[T] = []
    part = PageRequest(MAX_ROWS, request.cursor)
    while True:
        found = page_of(session, query, order, part, ascending=True)
        matching += [row for row in found.rows if matches(row)]
        if found.next is None or len(matching) > request.limit:
            return _cut(
                matching, request.limit, lambda row: [getattr(row, key.key) for key in order]
            )
        part = PageRequest(MAX_ROWS, found.next)


def page_by_id(rows: Iterable[T], identify: Callable[[T], bytes], request: PageRequest) -> Page[T]:
    """A page of rows held in memory, by an id of each that is unique and never changes, lowest
    first.

    Raises:
        BadInput: ``cursor_malformed``.
    """
    after = _read(request.cursor, [bytes])[0] if request.cursor else b""
    later = sorted((row for row in rows if identify(row) > after), key=identify)
    return _cut(later, request.limit, lambda row: [identify(row)])


def page_by_rank(
    rows: Iterable[T], rank: Callable[[T], tuple[int, bytes]], request: PageRequest
) -> Page[T]:
    """A page of rows held in memory, by a number of each, the highest first, and by an id where
    that is the same. A row whose number changes may be repeated or missed.

    Raises:
        BadInput: ``cursor_malformed``.
    """

    def place(row: T) -> tuple[int, bytes]:
        number, name = rank(row)
        return -number, name

    later = sorted(rows, key=place)
    if request.cursor:
        number, name = _read(request.cursor, [int, bytes])
        later = [row for row in later if place(row) > (-number, name)]
    return _cut(later, request.limit, rank)


def require_next(cursor: object) -> str | None:
    """A peer's ``next``, as far as it can be passed on.

    Raises:
        ValueError: what cannot be a cursor.
    """
    if cursor is None:
        return None
    if not isinstance(cursor, str) or not 0 < len(cursor) <= MAX_CURSOR_CHARACTERS:
        raise ValueError("cursor")
    base64.b64decode(_padded(cursor), altchars=b"-_", validate=True)
    return cursor


def _after(
    query: sa.Select[T],
    order: Sequence[InstrumentedAttribute[Any]],
    request: PageRequest,
    ascending: bool,
) -> sa.Select[T]:
    """Return the rows of a page and one more, which shows that another page follows."""
    if request.cursor:
        values = _read(request.cursor, [column.type.python_type for column in order])
        bound = (
            sa.literal(value, column.type) for value, column in zip(values, order, strict=True)
        )
        key, last = sa.tuple_(*order), sa.tuple_(*bound)
        query = query.where(key > last if ascending else key < last)
    sorting = (column.asc() if ascending else column.desc() for column in order)
    return query.order_by(*sorting).limit(request.limit + 1)


def _cut(rows: Sequence[T], limit: int, key: Callable[[T], Sequence[int | str | bytes]]) -> Page[T]:
    shown = rows[:limit]
    return Page(shown, _written(key(shown[-1])) if len(rows) > limit else None)


def _written(values: Sequence[int | str | bytes]) -> str:
    plain = [{"hex": value.hex()} if isinstance(value, bytes) else value for value in values]
    text = json.dumps(plain, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def _padded(cursor: str) -> str:
    return cursor + "=" * (-len(cursor) % 4)


def _read(cursor: str, kinds: Sequence[type[Any]]) -> list[Any]:
    try:
        values = json.loads(base64.b64decode(_padded(cursor), altchars=b"-_", validate=True))
        if not isinstance(values, list) or len(values) != len(kinds):
            raise ValueError("length")
        return [_typed(value, kind) for value, kind in zip(values, kinds, strict=True)]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadInput(
            "cursor_malformed",
            "The cursor is not one that this list gave.",
            hint="Begin again without a cursor.",
        ) from error


def _typed(value: Any, kind: type[Any]) -> Any:
    if kind is bytes:
        value = bytes.fromhex(value["hex"])
    if type(value) is not kind or (kind is int and not -(2**63) <= value < 2**63):
        raise ValueError("type")
    if kind is str:
        value.encode()
    return value
