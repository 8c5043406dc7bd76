"""Tables as CSV files that spreadsheets open without running what a stranger wrote in a cell.

A cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return is a formula to a
spreadsheet; it gets an apostrophe in front (OWASP, CSV Injection). Numbers are written as they are.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from starlette.responses import Response

Cell = str | int | None

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def safe_cell(value: Cell) -> str:
    """The text of one cell."""
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    # A full-width sign is a formula to some spreadsheets too.
    first = value.lstrip(" ")[:1]
    return (
        "'" + value if value.startswith(_FORMULA) or (first in "=+-@＝＋－＠" and first) else value
    )


_DIGITS_KEPT = 15
"""Digits that a spreadsheet keeps of a number."""


def identifier_cell(text: str) -> str:
    """A text that a spreadsheet shall not read as a number: a long one would lose its last digits,
    one with a leading zero that zero.
    """
    is_number = text.isdecimal() and (len(text) > _DIGITS_KEPT or text.startswith("0"))
    return "'" + text if is_number and text != "0" else text


def csv_text(headers: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """The file's text: RFC 4180, with a byte order mark so that spreadsheets read Chinese."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([safe_cell(header) for header in headers])
    for row in rows:
        writer.writerow([safe_cell(cell) for cell in row])
    return "\ufeff" + out.getvalue()


def csv_response(name: str, headers: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Response:
    """The file as a download named ``name`` + ``.csv``."""
    return Response(
        csv_text(headers, rows),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f"attachment; filename*=UTF-8''{quote(name)}.csv"},
    )
