"""Forms of single values, shared by nodes and verifiers: nodes accept what a verifier reads.

A salt of another length, a signature in other digits or a number above JSON's exact range could be
signed, stored and paid for, and would fail only when somebody has to prove it. Nodes and
``chain.bundle`` therefore use the same functions; statements have their own closed schema in
``chain.ethereum.eip712``. Pure: a value in, the typed value or ``ValueError`` out; the caller words
the error.
"""

from __future__ import annotations

import re
from typing import Any

HASH_BYTES = 32
SALT_BYTES = 32
SIGNATURE_BYTES = 65
MAX_INTEGER = 2**53 - 1
"""The largest whole number that every JSON reader gets right (RFC 8785, RFC 7493)."""
MAX_TEXT = 256
MAX_COLUMNS = 256
MAX_IDENTITY_TEXT = 65_536
"""Nodes bound an identity as a whole, far below."""

_HEX = re.compile(r"0x(?:[0-9a-f]{2})*")


def hex_bytes(value: Any, length: int | None = None) -> bytes:
    """Lowercase ``0x`` hexadecimal, of ``length`` bytes if one is given."""
    if not isinstance(value, str) or _HEX.fullmatch(value) is None:
        raise ValueError("not lowercase 0x hexadecimal")
    if length is not None and len(value) != 2 + 2 * length:
        raise ValueError(f"not {length} bytes")
    return bytes.fromhex(value[2:])


def hash32(value: Any) -> bytes:
    """A hash, commitment or id: 32 bytes."""
    return hex_bytes(value, HASH_BYTES)


def salt(value: Any) -> bytes:
    """A commitment's salt: 32 bytes."""
    return hex_bytes(value, SALT_BYTES)


def signature(value: Any) -> bytes:
    """A secp256k1 signature r, s, v: 65 bytes."""
    return hex_bytes(value, SIGNATURE_BYTES)


def count(value: Any) -> int:
    """A number that counts something: 0 to 2^53-1."""
    if type(value) is not int or not 0 <= value <= MAX_INTEGER:
        raise ValueError("not a whole number within 2^53-1")
    return value


def text(value: Any) -> str:
    """A name, code or number of somebody else's: 1 to 256 characters."""
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_TEXT:
        raise ValueError(f"not a text of 1 to {MAX_TEXT} characters")
    return value


def columns(value: Any) -> tuple[str, ...]:
    """Column names: 1 to 256, each once."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_COLUMNS:
        raise ValueError(f"not a list of 1 to {MAX_COLUMNS} columns")
    names = tuple(text(item) for item in value)
    if len(set(names)) != len(names):
        raise ValueError("a column twice")
    return names


def scope(value: Any) -> tuple[str, ...]:
    """A grant's scope ``{"columns": […]}``: its columns."""
    if not isinstance(value, dict) or set(value) != {"columns"}:
        raise ValueError("not exactly the columns")
    return columns(value["columns"])


def identity(value: Any) -> dict[str, str]:
    """Who a subject is: texts by name, its code at the issuer among them."""
    if (
        not isinstance(value, dict)
        or not 1 <= len(value) <= 32
        or not all(map(_is_text, (*value, *value.values())))
    ):
        raise ValueError("not texts by name")
    if not value.get("code"):
        raise ValueError("no code")
    return value


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_IDENTITY_TEXT
