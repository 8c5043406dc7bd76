"""Recursive Length Prefix, strict: one encoding for each value, anything else is refused (Ethereum
yellow paper, appendix B).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

from chain.core.errors import Malformed

Item = Union[bytes, Sequence["Item"]]  # noqa: UP007 - a name in quotes has no "|"


def encode(item: Item) -> bytes:
    """The encoding of bytes or of a list of items."""
    if isinstance(item, bytes | bytearray):
        if len(item) == 1 and item[0] < 0x80:
            return bytes(item)
        return _prefix(len(item), 0x80) + bytes(item)
    body = b"".join(encode(entry) for entry in item)
    return _prefix(len(body), 0xC0) + body


def integer(value: int) -> bytes:
    """An integer as RLP carries it: big-endian without leading zeros, empty for 0."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def decode(data: bytes) -> Item:
    """The one item ``data`` encodes.

    Raises:
        Malformed: ``rlp_malformed`` for truncated, trailing or non-canonical bytes.
    """
    item, end = _decode(data, 0, len(data), 0)
    if end != len(data):
        raise _bad()
    return item


def decode_list(data: bytes) -> list[Item]:
    """Like ``decode`` where a list is expected."""
    item = decode(data)
    if isinstance(item, bytes):
        raise _bad()
    return list(item)


def as_bytes(item: Item, *, length: int | None = None) -> bytes:
    """``item`` as bytes (of the given length)."""
    if not isinstance(item, bytes) or (length is not None and len(item) != length):
        raise _bad()
    return item


def as_integer(item: Item) -> int:
    """``item`` as an integer without leading zeros."""
    data = as_bytes(item)
    if data[:1] == b"\0":
        raise _bad()
    return int.from_bytes(data, "big")


def _prefix(length: int, offset: int) -> bytes:
    if length < 56:
        return bytes([offset + length])
    size = integer(length)
    return bytes([offset + 55 + len(size)]) + size


def _decode(data: bytes, at: int, limit: int, depth: int) -> tuple[Item, int]:
    """The item that starts at ``at`` and ends by ``limit``, the end of the list around it."""
    if at >= limit or depth > 16:
        raise _bad()
    first = data[at]
    if first < 0x80:
        return data[at : at + 1], at + 1
    is_list = first >= 0xC0
    short = first - (0xC0 if is_list else 0x80)
    start, length = (at + 1, short) if short < 56 else _long(data, at + 1, short - 55)
    end = start + length
    if end > limit:
        raise _bad()
    if not is_list:
        if length == 1 and data[start] < 0x80:
            raise _bad()
        return data[start:end], end
    items: list[Item] = []
    while start < end:
        item, start = _decode(data, start, end, depth + 1)
        items.append(item)
    return items, end


def _long(data: bytes, at: int, size: int) -> tuple[int, int]:
    raw = data[at : at + size]
    if len(raw) != size or raw[:1] == b"\0" or int.from_bytes(raw, "big") < 56:
        raise _bad()
    return at + size, int.from_bytes(raw, "big")


def _bad() -> Malformed:
    return Malformed("rlp_malformed", "A piece of chain data is not a canonical RLP encoding.")
