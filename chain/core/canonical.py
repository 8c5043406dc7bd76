"""RFC 8785 canonical JSON, and a reader that accepts only canonical bytes.

Each value has exactly one encoding, so a signature or hash over bytes covers the JSON value.
The reader takes untrusted bytes: it checks size, depth and the number of values before it builds
anything, and refuses duplicate keys, floats, integers above 2^53-1, invalid UTF-8 and lone
surrogates.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

import rfc8785

from chain.core.errors import Malformed

MAX_BYTES = 20_000_000
MAX_DEPTH = 64
MAX_VALUES = 1_500_000
"""Values of one JSON text, each list and object with its members: what bounds the memory a text of
a few bytes a value can take.
"""
_LIMIT = 2**53 - 1
_STRINGS_AND_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+\\?(?:"|\Z)|[\[\]{}]', re.DOTALL)
"""A string never closed runs to the end, even behind a lone backslash, and nothing is tried twice:
linear in hostile text.
"""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


_PLAIN = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
).encode
_NOT_PLAIN = re.compile(r"[0-9]{16}|\.|e[+-]|[^\x00-\ud7ff\ue000-\uffff]")
"""Where two writers could differ: large integers, fractions, and characters that UTF-16 sorts
elsewhere or cannot hold.
"""
_BEYOND_UTF16 = re.compile(r"[^\x00-\ud7ff\ue000-\uffff]")


def dumps(value: Any) -> bytes:
    """The canonical bytes of a JSON value without floats, its keys text.

    The interpreter's own writer, three times as quick, gives the same text for nearly every value;
    the rest is left to the standard's.
    """
    try:
        text = _PLAIN(value)
    except (TypeError, ValueError):
        return rfc8785.dumps(value)
    return rfc8785.dumps(value) if _NOT_PLAIN.search(text) else text.encode()


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal; unlike ``==``, which takes ``true`` for 1.

    A value without a canonical form equals none.
    """
    try:
        return dumps(one) == dumps(other)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        return False


def loads(
    data: bytes,
    *,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    max_values: int = MAX_VALUES,
) -> Any:
    """Read JSON strictly.

    Raises:
        Malformed: ``json_too_large``, ``json_too_many_values``, ``json_not_utf8``,
            ``json_too_deep``, ``json_duplicate_key``, ``json_number_out_of_range``,
            ``json_not_unicode`` or ``json_malformed``.
    """
    if len(data) > max_bytes:
        raise Malformed("json_too_large", f"The JSON is larger than {max_bytes} bytes.")
    require_max_values(data, max_values)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("json_not_utf8", "The JSON is not UTF-8.") from error
    _require_depth(text, max_depth)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_float=_refuse_number,
            parse_int=_integer,
            parse_constant=_refuse_number,
        )
    except json.JSONDecodeError as error:
        raise Malformed(
            "json_malformed", f"This is not JSON (line {error.lineno}, column {error.colno})."
        ) from error
    if _SURROGATE.search(text):
        _require_unicode(value)
    return value


def require_max_values(data: bytes, limit: int) -> None:
    """Refuse a text of too many values before anything is built of it: ``json_too_many_values``."""
    # Commas and brackets within texts count as well: a few more than there are, and found at once.
    if data.count(b",") + data.count(b"[") + data.count(b"{") > limit:
        raise Malformed("json_too_many_values", f"The JSON has more than {limit:,} values.")


def loads_canonical(
    data: bytes, *, max_bytes: int = MAX_BYTES, max_values: int = MAX_VALUES
) -> Any:
    """Read JSON that must be exactly its own canonical bytes; else ``json_not_canonical``."""
    value = loads(data, max_bytes=max_bytes, max_values=max_values)
    try:
        same = _dump_parsed(value) == data
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        same = False
    if not same:
        raise Malformed("json_not_canonical", "The JSON is not in its canonical form (RFC 8785).")
    return value


def _dump_parsed(value: Any) -> bytes:
    """``dumps`` of what ``loads`` read: its numbers are plain whole ones, so that only the order of
    rare characters can differ.
    """
    text = _PLAIN(value)
    return rfc8785.dumps(value) if _BEYOND_UTF16.search(text) else text.encode()


def _require_depth(text: str, limit: int) -> None:
    """Count brackets outside strings, so that nesting cannot exhaust the parser's stack."""
    if text.count("[") + text.count("{") <= limit:
        return
    depth = 0
    for token in _STRINGS_AND_BRACKETS.finditer(text):
        character = text[token.start()]
        if character in "[{":
            depth += 1
            if depth > limit:
                raise Malformed("json_too_deep", f"The JSON nests deeper than {limit} levels.")
        elif character in "]}":
            depth -= 1


def _require_unicode(value: Any) -> None:
    """Half a surrogate pair can be written in JSON and in nothing else (RFC 7493, 2.1)."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise Malformed("json_not_unicode", "A JSON text holds half a surrogate pair.") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise Malformed("json_duplicate_key", "A JSON object has a key twice.")
    return value


def _integer(text: str) -> int:
    if len(text) > 17 or not -_LIMIT <= int(text) <= _LIMIT or text == "-0":
        _refuse_number(text)
    return int(text)


def _refuse_number(_text: str) -> NoReturn:
    raise Malformed(
        "json_number_out_of_range", "A JSON number is not a whole number within 2^53-1."
    )
