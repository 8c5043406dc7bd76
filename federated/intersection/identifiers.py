"""Identifiers: their format, and the 128-bit tags that represent them within one run.

A tag is the CBC-MAC, under a key that both parties derive for this run, of the identifier padded
with zeros to whole blocks of a common width. For inputs of one fixed width that were chosen before
the key, CBC-MAC is a pseudo-random function (Bellare, Kilian, Rogaway, JCSS 2000): two of
2**24 + 2**24 identifiers have the same tag with probability below 2**-70. A tag is sent only for a
row that the other party is entitled to: whoever has the key can compute the tag of any identifier
it can guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.channel import Message
from federated.errors import BadInput, Conflict, PeerFault
from federated.intersection.suites import Suite, Words

MAX_BYTES = 64
MAX_ROWS = 1 << 24

_CASES = ("none", "lower", "upper", "mixed")


@dataclass(frozen=True)
class IdentifierFormat:
    """The format of a party's identifiers, as shown to a peer.

    ``width``: the longest one's length in bytes; ``fixed``: whether all have that length; ``case``:
    of their letters, ``none``, ``lower``, ``upper`` or ``mixed``.
    """

    width: int
    fixed: bool
    case: str

    @classmethod
    def of(cls, ids: NDArray[np.bytes_]) -> IdentifierFormat:
        """Return the format of identifiers.

        Raises:
            BadInput: ``ids_empty``, ``ids_malformed``, ``ids_too_many``.
        """
        if ids.ndim != 1 or ids.dtype.kind != "S":
            raise BadInput("ids_malformed", "The identifiers are not one column of byte strings.")
        if not len(ids):
            raise BadInput("ids_empty", "There are no identifiers.", hint="Give at least one row.")
        if len(ids) > MAX_ROWS:
            raise BadInput(
                "ids_too_many",
                f"There are {len(ids)} identifiers; at most {MAX_ROWS} are allowed.",
                hint="Split the set.",
            )
        letters = np.ascontiguousarray(ids).view(np.uint8).reshape(len(ids), -1)
        used = np.flatnonzero(letters.any(axis=0))
        if not len(used) or not letters[:, 0].all() or used[-1] >= MAX_BYTES:
            raise BadInput(
                "ids_malformed",
                f"An identifier is empty or longer than {MAX_BYTES} bytes.",
            )
        width = int(used[-1]) + 1
        return cls(
            width,
            bool(letters[:, width - 1].all()),
            _CASES[_contains_between(letters, b"az") + 2 * _contains_between(letters, b"AZ")],
        )

    @classmethod
    def received(cls, message: Message) -> IdentifierFormat:
        """Read a peer's format; PeerFault ``message_malformed``."""
        width, fixed = (
            message.integer("width", minimum=1, maximum=MAX_BYTES),
            message.integer("fixed", maximum=1),
        )
        case = message.text("case", max_length=8)
        if case not in _CASES:
            raise PeerFault(
                "message_malformed",
                f"{message.peer} sent an unknown format of identifiers.",
                peer=message.peer,
            )
        return cls(width, bool(fixed), case)

    def common_width(self, other: IdentifierFormat) -> int:
        """Return the width in bytes that both parties pad to.

        Raises:
            Conflict: ``ids_form_differs`` where no identifier of one could equal one of the other.
        """
        if self.fixed and other.fixed and self.width != other.width:
            sentence = (
                f"The identifiers here have {self.width} bytes, the other party's {other.width}."
            )
            raise Conflict("ids_form_differs", sentence, hint="Agree on one kind of identifier.")
        if {self.case, other.case} == {"lower", "upper"}:
            raise Conflict(
                "ids_form_differs",
                "One party writes identifiers in lower case, the other in upper case.",
                hint="Agree on one.",
            )
        return max(self.width, other.width)


@dataclass(frozen=True)
class Tagging:
    """How identifiers become tags in one run.

    ``width``: bytes they are padded to; ``value``: the session value, from which each attempt at
    cuckoo hashing derives its own key.
    """

    suite: Suite
    width: int  # bytes
    value: bytes

    def key(self, attempt: int = 0) -> bytes:
        """Return the 16-byte key of the tags in an attempt at cuckoo hashing."""
        return self.suite.digest(b"qiaolian.psi.v1/tags", self.value, attempt.to_bytes(4, "big"))[
            :16
        ]

    def tags(self, ids: NDArray[np.bytes_], attempt: int = 0) -> Words:
        """Return the tags of identifiers under this attempt's key, as ``tags_of``."""
        return tags_of(ids, self.width, self.suite, self.key(attempt))


def tags_of(ids: NDArray[np.bytes_], width: int, suite: Suite, key: bytes) -> Words:
    """Return the tags of identifiers, (rows, 2); BadInput ``ids_repeat`` if two rows are equal."""
    blocks = -(-width // 16)
    padded = np.ascontiguousarray(ids.astype(f"S{16 * blocks}"))
    padded_blocks = padded.view(np.uint64).reshape(len(ids), blocks, 2)
    permutation = suite.permutation(key)
    tags = permutation(padded_blocks[:, 0])
    for index in range(1, blocks):
        tags = permutation(tags ^ padded_blocks[:, index])
    if _repeats(tags):
        raise BadInput(
            "ids_repeat",
            "Two rows have the same identifier.",
            hint="Keep one row for each identifier.",
        )
    return tags


def locate(tags: Words, wanted: Words) -> NDArray[np.int64]:
    """Return each wanted tag's row, (wanted,), -1 for a missing one. Tags are (rows, 2)."""
    order, pending = _sorted_order(tags[:, 0]), _sorted_order(wanted[:, 0])
    heads, tails = tags[order, 0], tags[order, 1]
    rows = np.full(len(wanted), -1, np.int64)
    # Both are sorted: neighbours stay in the cache.
    position = np.searchsorted(heads, wanted[pending, 0])
    while len(pending):  # once, but for heads that occur twice
        inside = position < len(heads)
        position, pending = position[inside], pending[inside]
        same = heads[position] == wanted[pending, 0]
        position, pending = position[same], pending[same]
        found = tails[position] == wanted[pending, 1]
        rows[pending[found]] = order[position[found]]
        position, pending = position[~found] + 1, pending[~found]
    return rows


def _sorted_order(heads: Words) -> NDArray[np.int64]:
    return np.arange(len(heads)) if (heads[1:] >= heads[:-1]).all() else np.argsort(heads)


def _repeats(tags: Words) -> bool:
    heads = np.sort(tags[:, 0])
    if not (heads[1:] == heads[:-1]).any():
        return False
    both: NDArray[Any] = tags.view([("head", np.uint64), ("tail", np.uint64)])
    return len(np.unique(both)) != len(tags)


def _contains_between(letters: NDArray[np.uint8], ends: bytes) -> bool:
    """Return whether any byte is between these two; unsigned subtraction wraps what is below."""
    return bool((letters - np.uint8(ends[0]) <= ends[1] - ends[0]).any())
