"""Identifiers: their form, and the 128-bit tags that stand for them within one run.

A tag is CBC-MAC, under a key both parties made for this run, over the identifier padded with zeros to whole blocks of a common width. For inputs
of one fixed width that were chosen before the key, CBC-MAC is a pseudo-random function (Bellare, Kilian, Rogaway, JCSS 2000): two of
2**24 + 2**24 identifiers get the same tag with probability below 2**-70. Tags are never sent except for rows the other party is entitled to:
anybody with the key can compute the tag of any identifier he can guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.channel import Message
from federated.errors import BadInput, Conflict, PeerFault
from federated.intersection.suites import Suite, Words

MOST_BYTES = 64
MOST_ROWS = 1 << 24

_CASES = ("none", "lower", "upper", "mixed")


@dataclass(frozen=True)
class Form:
    """What a party tells of its identifiers' form: the longest one's bytes, whether all are that long, and the case of their letters."""

    width: int
    fixed: bool
    case: str

    @classmethod
    def of(cls, ids: NDArray[np.bytes_]) -> Form:
        """The form of these identifiers; ``ids_empty``, ``ids_malformed``, ``ids_too_many``."""
        if ids.ndim != 1 or ids.dtype.kind != "S":
            raise BadInput("ids_malformed", "The identifiers are not one column of byte strings.")
        if not len(ids):
            raise BadInput("ids_empty", "There are no identifiers.", hint="Give at least one row.")
        if len(ids) > MOST_ROWS:
            raise BadInput("ids_too_many", f"There are {len(ids)} identifiers; at most {MOST_ROWS} are taken.", hint="Split the set.")
        letters = np.ascontiguousarray(ids).view(np.uint8).reshape(len(ids), -1)
        used = np.flatnonzero(letters.any(axis=0))
        if not len(used) or not letters[:, 0].all() or used[-1] >= MOST_BYTES:
            raise BadInput("ids_malformed", f"An identifier is empty or longer than {MOST_BYTES} bytes.")
        width = int(used[-1]) + 1
        return cls(width, bool(letters[:, width - 1].all()), _CASES[_within(letters, b"az") + 2 * _within(letters, b"AZ")])

    @classmethod
    def received(cls, message: Message) -> Form:
        """A peer's form."""
        width, fixed = message.integer("width", least=1, most=MOST_BYTES), message.integer("fixed", most=1)
        case = message.text("case", most=8)
        if case not in _CASES:
            raise PeerFault("message_malformed", f"{message.peer}'s identifiers have a form that is none.", peer=message.peer)
        return cls(width, bool(fixed), case)

    def common_width(self, other: Form) -> int:
        """The width both pad to; ``ids_form_differs`` where no identifier could ever be equal."""
        if self.fixed and other.fixed and self.width != other.width:
            sentence = f"The identifiers here have {self.width} bytes, the other party's {other.width}."
            raise Conflict("ids_form_differs", sentence, hint="Agree on one kind of identifier.")
        if {self.case, other.case} == {"lower", "upper"}:
            raise Conflict("ids_form_differs", "One party writes the letters of identifiers small, the other large.", hint="Agree on one.")
        return max(self.width, other.width)


@dataclass(frozen=True)
class Tagging:
    """How identifiers become tags in one run: the width they are padded to, and a key of the run's value for every attempt at placing them."""

    suite: Suite
    width: int  # bytes
    value: bytes

    def key(self, attempt: int = 0) -> bytes:
        """The key of the tags; another for every attempt at cuckoo hashing."""
        return self.suite.digest(b"qiaolian.psi.v1/tags", self.value, attempt.to_bytes(4, "big"))[:16]

    def tags(self, ids: NDArray[np.bytes_], attempt: int = 0) -> Words:
        """``tags_of`` under this attempt's key."""
        return tags_of(ids, self.width, self.suite, self.key(attempt))


def tags_of(ids: NDArray[np.bytes_], width: int, suite: Suite, key: bytes) -> Words:
    """The tags of identifiers, (rows, 2); ``ids_repeat`` if two rows have the same identifier."""
    blocks = -(-width // 16)
    padded = np.ascontiguousarray(ids.astype(f"S{16 * blocks}")).view(np.uint64).reshape(len(ids), blocks, 2)
    permutation = suite.permutation(key)
    tags = permutation(padded[:, 0])
    for place in range(1, blocks):
        tags = permutation(tags ^ padded[:, place])
    if _repeats(tags):
        raise BadInput("ids_repeat", "An identifier stands on two rows.", hint="Keep one row for each identifier.")
    return tags


def locate(tags: Words, wanted: Words) -> NDArray[np.int64]:
    """The row of each wanted tag; -1 for one that is not there. Both are pairs of words."""
    order, asked = _sorted_order(tags[:, 0]), _sorted_order(wanted[:, 0])
    heads, tails = tags[order, 0], tags[order, 1]
    rows = np.full(len(wanted), -1, np.int64)
    place = np.searchsorted(heads, wanted[asked, 0])  # both sorted: neighbours stay in the cache
    while len(asked):  # once, but for heads that occur twice
        inside = place < len(heads)
        place, asked = place[inside], asked[inside]
        same = heads[place] == wanted[asked, 0]
        place, asked = place[same], asked[same]
        found = tails[place] == wanted[asked, 1]
        rows[asked[found]] = order[place[found]]
        place, asked = place[~found] + 1, asked[~found]
    return rows


def _sorted_order(heads: Words) -> NDArray[np.int64]:
    return np.arange(len(heads)) if (heads[1:] >= heads[:-1]).all() else np.argsort(heads)


def _repeats(tags: Words) -> bool:
    heads = np.sort(tags[:, 0])
    if not (heads[1:] == heads[:-1]).any():
        return False
    both: NDArray[Any] = tags.view([("head", np.uint64), ("tail", np.uint64)])
    return len(np.unique(both)) != len(tags)


def _within(letters: NDArray[np.uint8], ends: bytes) -> bool:
    """Whether any byte is between these two; unsigned subtraction wraps what is below."""
    return bool((letters - np.uint8(ends[0]) <= ends[1] - ends[0]).any())
