"""Output as tables and lines; ``--json`` prints the node's own answer.

Answers carry text of other members. All of it is escaped here (``chain.core.printable``), so
no control sequence reaches the terminal.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from chain.core import printable
from chain.core.zone import local_time

Columns = Mapping[str, str | Callable[[Mapping[str, Any]], Any]]
"""Heading to the row's key, or to a function of the row."""


def table(rows: Sequence[Mapping[str, Any]], columns: Columns) -> Iterator[str]:
    """Lines of a table, each column as wide as its widest cell; Chinese characters count twice."""
    if not rows:
        yield "none"
        return
    cells = [
        [_text(row.get(key) if isinstance(key, str) else key(row)) for key in columns.values()]
        for row in rows
    ]
    widths = [max(map(_width, column)) for column in zip(columns, *cells, strict=True)]
    for line in (list(columns), *cells):
        yield "  ".join(
            cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)
        ).rstrip()


def lines(value: Any, indent: str = "") -> Iterator[str]:
    """An answer as ``name: value`` lines, what is inside it indented."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if (isinstance(item, Mapping | list) and item) or _is_block(item):
                yield f"{indent}{_text(name)}:"
                yield from (
                    _block(item, indent) if isinstance(item, str) else lines(item, indent + "  ")
                )
            else:
                yield f"{indent}{_text(name)}: {_text(item)}"
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, Mapping):
                inner = list(lines(item))
                yield f"{indent}- {inner[0]}" if inner else f"{indent}-"
                yield from (f"{indent}  {line}" for line in inner[1:])
            else:
                yield f"{indent}- {_text(item)}"
    else:
        yield indent + _text(value)


def yuan(fen: Any) -> str:
    """Fen as yuan, for people: ``1,234.50 yuan``."""
    whole = int(fen)
    sign, amount = ("-" if whole < 0 else ""), abs(whole)
    return f"{sign}{amount // 100:,}.{amount % 100:02d} yuan"


def when(seconds: Any) -> str:
    """Unix seconds as a time in the city's zone, with its offset."""
    return local_time(int(seconds))


def as_json(value: Any) -> str:
    """Return a value as JSON."""
    return printable.as_json(value, indent=1)


def _is_block(value: Any) -> bool:
    """Whether the value is text of several lines, such as a checkpoint."""
    return isinstance(value, str) and "\n" in value.strip()


def _block(text: str, indent: str) -> Iterator[str]:
    """Text of several lines, each marked as part of it."""
    for line in text.strip().split("\n"):
        yield f"{indent}  | {_text(line)}"


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping | list):
        return printable.as_json(value) if value else "none"
    return printable.printable(str(value))


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(name) in "WF" else 1 for name in text)
