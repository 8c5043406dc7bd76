"""Numbers as people write them in tables: which are recognised, and how one that is not is described without its value.

Recognised are plain decimals, groups of three digits with commas (``1,234.5``) and full-width forms of both. What carries a unit (``12%``,
``¥1,200``, ``3 万元``) is not converted: another party's column may lack the unit, and nothing would show it.
"""

from __future__ import annotations

import re
import unicodedata

DEFAULT_MISSING = ("", "#N/A", "N/A", "N.A.", "NA", "NULL", "NaN", "n/a", "n.a.", "nan", "null")
"""Cells that mean that there is no value."""
NUMBER_LIKE = r"^\s*[+-]?\s*[¥$€£]?\s*[+-]?[0-9][0-9,.' ]*\s*(?:[%‰]|[十百千万亿]*元?)\s*$"
"""A cell, in Unicode's form NFKC, that is meant as a number, whether or not it is recognised."""
_NUMBER = re.compile(r"[+-]?(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,3})?")
_LONGEST_FORM = 24


def number_of(text: str) -> float | None:
    """The number that a cell says; None if it is none that is recognised."""
    plain = unicodedata.normalize("NFKC", text).strip()
    return float(plain.replace(",", "")) if _NUMBER.fullmatch(plain) else None


def form_of(text: str) -> str:
    """A cell's form, for messages: every digit is 9, every letter a; nothing of the value is left."""
    kinds = ["9" if character.isdecimal() else "a" if character.isalpha() else character for character in text[:_LONGEST_FORM]]
    return "".join(kinds) + ("…" if len(text) > _LONGEST_FORM else "")
