"""Text from strangers, made safe to print.

Bundles, trust files and other nodes carry text that nobody vouches for. Printed raw, it can move
the cursor, change colours, reverse the reading direction, hide characters or start a line of its
own. Everything the commands print goes through this module: characters that do more than show in a
line become escapes such as ``\\x1b`` or ``\\u202e``, and long text is cut.

- ``printable``: one line of any origin, as the last step before printing.
- ``quoted``: a stranger's text within a sentence of ours, in quotation marks, so that its ends can
  be seen.
- ``as_json``: a JSON value for programs; the escapes are JSON's own, so that the value read back is
  exact.
"""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import UTC, datetime
from typing import Any

MAX_LINE = 2_000
"""Characters of a printed line; a cut line says how many were left out."""
MAX_QUOTED = 120
"""Characters of a stranger's text within a sentence."""

_INVISIBLE = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")
"""Letters and marks that are drawn as nothing."""
_SUPPLEMENTS = re.compile("[\ufe00-\ufe0f\U000e0000-\U000e0fff\u180b-\u180f]")
"""Variation selectors and tags: they carry hidden data."""
MAX_MARKS = 2
"""Combining marks on one character; more are drawn over the lines above and below."""


def printable(text: str, *, limit: int = MAX_LINE) -> str:
    """One line without control over the text around it; idempotent."""
    cut = text[:limit]
    shown = cut if cut.isascii() and cut.isprintable() else _escaped(cut)
    left_out = len(text) - len(cut)
    return f"{shown}… ({left_out:,} more characters)" if left_out else shown


def quoted(text: str, *, limit: int = MAX_QUOTED) -> str:
    """A stranger's text in quotation marks; quotation marks and backslashes inside are escaped."""
    cut = text[:limit]
    inner = _escaped(cut.replace("\\", "\\\\").replace('"', '\\"'))
    left_out = len(text) - len(cut)
    return f'"{inner}"… ({left_out:,} more characters)' if left_out else f'"{inner}"'


def as_json(value: Any, *, indent: int | None = None) -> str:
    """JSON text that is safe to print and reads back as the same value."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return "\n".join(
        line if line.isascii() and line.isprintable() else _escaped(line, _json_escape)
        for line in text.split("\n")
    )


def _escaped(text: str, escape: Any = None) -> str:
    shown, marks = [], 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category[0] == "M" else 0
        shown.append(
            (escape or _escape)(character)
            if _is_unsafe(character, category) or marks > MAX_MARKS
            else character
        )
    return "".join(shown)


def _is_unsafe(character: str, category: str) -> bool:
    """Controls, format characters (bidi, zero-width), surrogates, private and unassigned code
    points, and every space but the plain ones.
    """
    if character == " ":
        return False
    if category[0] in "CZ":
        return character != "\u3000"
    return character in _INVISIBLE or _SUPPLEMENTS.match(character) is not None


def _escape(character: str) -> str:
    code = ord(character)
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    if named:
        return named
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )


def _json_escape(character: str) -> str:
    return json.dumps(character)[1:-1]


def utc(seconds: int) -> str:
    """Unix seconds as ``2026-11-30 05:45:40 UTC``; beyond the calendar the number itself."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} seconds after 1970 UTC"
