"""Lists in pages, and whole lists for exports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, TypeVar

from fastapi import Query

from registry.list_limits import MAX_CURSOR_CHARACTERS, MAX_ROWS
from registry.pages import Page, PageRequest

ROWS = 25
"""Rows of a page of the console."""
MAX_EXPORT_ROWS = 100_000

T = TypeVar("T")


def console_page(
    cursor: Annotated[str, Query(max_length=MAX_CURSOR_CHARACTERS)] = "",
) -> PageRequest:
    """The page of a list that a request asks for, for ``Depends``."""
    return PageRequest(ROWS, cursor)


def all_rows(pages: Callable[[PageRequest], Page[T]]) -> Iterator[T]:
    """Every row of a list, at most ``MAX_EXPORT_ROWS``."""
    cursor, left = "", MAX_EXPORT_ROWS
    while left > 0:
        found = pages(PageRequest(min(MAX_ROWS, left), cursor))
        yield from found.rows
        left -= len(found.rows)
        if found.next is None:
            return
        cursor = found.next
