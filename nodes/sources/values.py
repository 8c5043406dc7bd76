"""Cells as the three types records know: text, whole numbers, booleans, and None for what is missing.

Fractions and dates stay text, exactly as written, since commitments and money know no floating point.
"""

from __future__ import annotations

import datetime
import decimal
import math
import re
from typing import Any

TEXT, INTEGER, BOOLEAN = "text", "integer", "boolean"

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,14}")
_BOOLEANS = {"true": True, "false": False}


class TypeGuess:
    """The narrowest type that every cell of a text column had so far."""

    __slots__ = ("_boolean", "_integer", "_seen")

    def __init__(self) -> None:
        self._integer = True
        self._boolean = True
        self._seen = False

    def see(self, cell: str) -> None:
        """Take one cell into account."""
        if not cell:
            return
        self._seen = True
        if self._integer and _INTEGER.fullmatch(cell) is None:
            self._integer = False
        if self._boolean and cell not in _BOOLEANS:
            self._boolean = False

    @property
    def type(self) -> str:
        """``integer``, ``boolean`` or ``text``."""
        if not self._seen:
            return TEXT
        return INTEGER if self._integer else BOOLEAN if self._boolean else TEXT


def from_text(cell: str, type_: str) -> str | int | bool | None:
    """A text cell as its column's type; ValueError if it is not of it."""
    if cell == "":
        return None
    if type_ == INTEGER:
        return int(cell)
    if type_ == BOOLEAN:
        try:
            return _BOOLEANS[cell]
        except KeyError:
            raise ValueError("not a boolean") from None
    return cell


def from_python(value: Any) -> str | int | bool | None:
    """A database's or Parquet's value as text, whole number, boolean or None."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, float):
        return None if math.isnan(value) else repr(value)
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return str(value)
