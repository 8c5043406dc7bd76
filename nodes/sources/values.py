"""Cells as the types records know: text, whole numbers, decimals, booleans, and None for what is
missing.

Decimals and dates stay text, exactly as written, since commitments and money know no floating
point; ``registry.sources.normalised`` gives a decimal its one published form.
"""

from __future__ import annotations

import datetime
import decimal
import re
from typing import Any

from registry.sources import (
    BOOLEAN,
    BOOLEAN_TEXTS,
    DECIMAL,
    DECIMAL_TEXT,
    INTEGER,
    INTEGER_TEXT,
    TEXT,
    SourceColumn,
    normalised,
)

_DIGITS = re.compile(r"[0-9]+")


class TypeGuess:
    """The narrowest type that every cell of a text column had so far, and where the first cell was
    that is no number.
    """

    __slots__ = ("_boolean", "_identifier", "_numbers", "_odd_line", "_others", "_whole")

    def __init__(self) -> None:
        self._boolean = True
        self._whole = True
        self._identifier = False
        self._numbers = 0
        self._others = 0
        self._odd_line: int | None = None

    def see(self, cell: str, line: int) -> None:
        """Take one cell into account."""
        if not cell or self._identifier:
            return
        if INTEGER_TEXT.fullmatch(cell) is not None:
            self._numbers += 1
        elif _DIGITS.fullmatch(cell) is not None:
            # Digits that no number is written with, as 007 or 18 of them: a column of codes.
            self._identifier = True
        elif DECIMAL_TEXT.fullmatch(cell) is not None:
            self._numbers, self._whole = self._numbers + 1, False
        else:
            self._others += 1
            self._odd_line = line if self._odd_line is None else self._odd_line
            self._boolean = self._boolean and cell in BOOLEAN_TEXTS

    @property
    def odd_line(self) -> int | None:
        """The line of the first cell that is no number."""
        return self._odd_line

    def column(self, name: str) -> SourceColumn:
        """The column these cells make."""
        if self._identifier or (self._numbers == 0 and self._others == 0):
            return SourceColumn(name, TEXT)
        if self._others == 0:
            return SourceColumn(name, INTEGER if self._whole else DECIMAL)
        if self._numbers == 0:
            return SourceColumn(name, BOOLEAN if self._boolean else TEXT)
        return SourceColumn(name, TEXT, self._odd_line if self._numbers > self._others else None)


def from_text(cell: str, type_: str) -> str | int | bool | None:
    """A text cell as its column's type; ValueError if it is not of it. A decimal stays as it is
    written.
    """
    if cell == "":
        return None
    return cell if type_ == DECIMAL else normalised(cell, type_)


def from_python(value: Any) -> str | int | bool | None:
    """A database's or Parquet's value as text, whole number, boolean or None. What is no number
    (NaN) stays visible as text.
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return str(value)
