"""Which bins hold a row that all parties have, as shares that nobody can read.

In each bin the label party holds one word for each department, and the department its target: equal where the label party's row is one of the
department's, unrelated elsewhere. Bits are shared by exclusive or among all data parties; a circuit of ANDs over packed words, 64 bins at a time,
joins the bits of all equal words (Beaver's triples, CRYPTO 1991, for bits). The one bit that is left of a bin is then shared as a ring element,
from a dealt bit that is shared both ways.

A bin without a common row passes for one with probability 2**-64 for each department in which it has no match.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from federated.intersection.transpose import transpose
from federated.vertical.circle import Circle
from federated.vertical.fixed import Words
from federated.vertical.hands import Deck, Hand

BITS = 64
"""Of a target; bins are worked on 64 at a time too, so there are a multiple of it."""


async def members(circle: Circle, hand: Hand, words: Words) -> Words:
    """This party's share, as ring elements (bins,), of 1 for each bin that holds a common row and of 0 for others.

    ``words`` (bins, departments): at the label party what it has in each bin for each department; at a department its targets in its own column and 0
    elsewhere.
    """
    planes = transpose(np.ascontiguousarray(words))
    if circle.first:
        planes = ~planes
    for level, pairs in _levels(len(planes)):
        both = await _and(circle, hand, f"membership/{level}", planes[:pairs], planes[pairs : 2 * pairs])
        planes = np.concatenate([both, planes[2 * pairs :]])
    return await _in_ring(circle, hand, planes[0])


async def deal_members(deck: Deck, bins: int, departments: int) -> None:
    """The dealer's side of ``members``."""
    words = bins // BITS
    for level, pairs in _levels(BITS * departments):
        name = f"membership/{level}"
        left, right = (deck.mask(f"{name}/{side}", pairs, words, bits=True) for side in ("left", "right"))
        await deck.give(f"{name}/both", left & right, bits=True)
    hidden = deck.mask("membership/bit", words, bits=True)
    await deck.give("membership/ring", unpacked(hidden).astype(np.uint64))


def _levels(planes: int) -> Iterator[tuple[int, int]]:
    """The circuit's levels, and how many pairs are joined at each; a plane that is left over waits."""
    level = 0
    while planes > 1:
        yield level, planes // 2
        planes, level = planes - planes // 2, level + 1


async def _and(circle: Circle, hand: Hand, name: str, left: Words, right: Words) -> Words:
    a, b = (hand.mask(f"{name}/{side}", *left.shape) for side in ("left", "right"))
    opened_left, opened_right = await circle.open(np.stack([left ^ a, right ^ b]), "circuit/and", bits=True)
    both: Words = await hand.share(f"{name}/both", *left.shape) ^ (opened_left & b) ^ (opened_right & a)
    return both ^ (opened_left & opened_right) if circle.first else both


async def _in_ring(circle: Circle, hand: Hand, plane: Words) -> Words:
    """A plane of bits as ring elements: an opened bit v and a dealt one r give v + r - 2vr."""
    opened = unpacked(await circle.open(plane ^ hand.mask("membership/bit", len(plane)), "circuit/bits", bits=True))
    dealt = await hand.share("membership/ring", len(opened))
    share: Words = np.where(opened, np.negative(dealt), dealt)
    return share + opened if circle.first else share


def unpacked(plane: NDArray[np.unsignedinteger]) -> NDArray[np.bool_]:
    """The bits of packed words, the lowest of each first."""
    return np.unpackbits(np.ascontiguousarray(plane, "<u8").view(np.uint8), bitorder="little").astype(np.bool_)
