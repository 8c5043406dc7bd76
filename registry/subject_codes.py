"""Codes that name subjects, and what is wrong with one. Pure.

A firm has a unified social credit code (GB 32100-2015), a person an identity number
(GB 11643-1999). Both have 18 characters, the last of which is a check character.
"""

from __future__ import annotations

import re
import unicodedata

from chain.core.errors import BadInput
from registry.uscc import require_valid

_FIRM = re.compile(r"[0-9A-Z]{18}")
_PERSON = re.compile(r"[0-9]{17}[0-9Xx]")
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK_CHARACTERS = "10X98765432"
_HIDDEN = frozenset({"Cc", "Cf", "Co", "Cn", "Zl", "Zp"})


def looks_official(code: str) -> bool:
    """Whether a code has the form of a firm's or a person's."""
    return _FIRM.fullmatch(code) is not None or _PERSON.fullmatch(code) is not None


def is_official(code: str) -> bool:
    """Whether a code is a firm's or a person's, by its check character."""
    return _is_persons(code) or _is_firms(code)


def has_hidden_characters(code: str) -> bool:
    """Whether a code has blanks around it, full-width characters or some that nobody can see."""
    return code != unicodedata.normalize("NFKC", code).strip() or any(
        unicodedata.category(character) in _HIDDEN for character in code
    )


def _is_persons(code: str) -> bool:
    if _PERSON.fullmatch(code) is None:
        return False
    total = sum(int(digit) * weight for digit, weight in zip(code[:17], _WEIGHTS, strict=True))
    return _CHECK_CHARACTERS[total % 11] == code[17].upper()


def _is_firms(code: str) -> bool:
    try:
        require_valid(code)
    except BadInput:
        return False
    return True
