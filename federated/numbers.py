"""Number parsing: which notations are recognised, and how others are described without their value.

Recognised are plain decimals, groups of three digits with commas (``1,234.5``) and full-width forms
of both. Cells with a unit (``12%``, ``¥1,200``, ``3 万元``) are not converted: another party's
column may lack the unit, and nothing would show it.
"""

from __future__ import annotations

import re
import unicodedata

DEFAULT_MISSING = ("", "#N/A", "N/A", "N.A.", "NA", "NULL", "NaN", "n/a", "n.a.", "nan", "null")
"""Cells that mean a missing value."""
NUMBER_LIKE = r"^\s*[+-]?\s*[¥$€£]?\s*[+-]?[0-9][0-9,.' ]*\s*(?:[%‰]|[十百千万亿]*元?)\s*$"
"""A cell, in Unicode NFKC, that is meant as a number, whether or not it is recognised."""
_NUMBER = re.compile(
    r"[+-]?(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,3})?"
)
_LONGEST_FORM = 24


def parse_number(text: str) -> float | None:
    """Return the number in a cell, or None if it is not recognised."""
    plain = unicodedata.normalize("NFKC", text).strip()
    return float(plain.replace(",", "")) if _NUMBER.fullmatch(plain) else None


def digit_pattern(text: str) -> str:
    """Return the pattern of a cell, for messages: every digit as 9, every letter as a; nothing of
    the value is left.
    """
    kinds = [
        "9" if character.isdecimal() else "a" if character.isalpha() else character
        for character in text[:_LONGEST_FORM]
    ]
    return "".join(kinds) + ("…" if len(text) > _LONGEST_FORM else "")
