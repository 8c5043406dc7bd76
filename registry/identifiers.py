"""The one form in which nodes compare identifiers of firms and citizens (ADR 24)."""

from __future__ import annotations

import re
import unicodedata

CODE_PATTERN = "^(?:[0-9A-HJ-NPQRTUWXY]{2}[0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}|[0-9]{17}X)$"
"""A unified social credit code or a citizen's number, in upper case."""
_CODE = re.compile(CODE_PATTERN)


def normalised_identifier(text: str) -> str:
    """Unicode's NFKC, no blanks around, upper case for codes of organisations and citizens."""
    trimmed = unicodedata.normalize("NFKC", text).strip()
    upper = trimmed.upper()
    return upper if _CODE.match(upper) else trimmed
