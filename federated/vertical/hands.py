"""Masks that fit each other, by name: what a party draws from its seed, and what the dealer tells the last party in the place of such a draw.

A mask is uniform at every party, and nobody knows the sum of all. A dealt value is a function of such sums (the product of two masks, say), which
the dealer knows: every party but the last draws its share, the last one is sent what is missing. Names give independent streams.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from federated.randomness import Randomness
from federated.session import Session
from federated.vertical.dealing import Shape, narrow
from federated.vertical.messages import receive_words, send_words

Narrow = NDArray[np.unsignedinteger]
Kind = type[np.unsignedinteger]


class Hand:
    """A party's end."""

    def __init__(self, session: Session, seed: Randomness, dealer: str, *, last: bool) -> None:
        self._session, self._seed, self._dealer, self._last = session, seed, dealer, last

    def mask(self, name: str, *shape: int, kind: Kind = np.uint64) -> Narrow:
        """This party's share of a mask."""
        return narrow(self._seed.child(name), kind, *shape)

    async def share(self, name: str, *shape: int, kind: Kind = np.uint64) -> Narrow:
        """This party's share of a dealt value."""
        if not self._last:
            return self.mask(name, *shape, kind=kind)
        return (await receive_words(self._session, self._dealer, f"dealt/{name}", int(np.prod(shape)), np.dtype(kind).name)).reshape(shape)


class Deck:
    """The dealer's end: it holds all seeds. The last of them is of the party that is told what is missing."""

    def __init__(self, session: Session, seeds: Mapping[str, Randomness]) -> None:
        self.session, self._seeds = session, seeds
        *self._drawing, self.last = seeds

    def mask(self, name: str, *shape: int, kind: Kind = np.uint64, bits: bool = False) -> Narrow:
        """A mask: what all parties' shares make. ``bits``: by exclusive or."""
        return _joined([narrow(seed.child(name), kind, *shape) for seed in self._seeds.values()], bits)

    def mask_of_blocks(self, name: str, shape: Shape, *, kind: Kind = np.uint64) -> Narrow:
        """A mask (rows, all columns) of which the last party has a share of every column, and each other one of its own."""
        total = narrow(self._seeds[self.last].child(name), kind, shape.rows, shape.total)
        for party in self._drawing:
            total[:, shape.span(party)] += narrow(self._seeds[party].child(name), kind, shape.rows, shape.columns[party])
        return total

    async def give(self, name: str, value: Narrow, *, bits: bool = False) -> None:
        """Deal a value: the last party is sent what the others' draws leave of it."""
        kind = value.dtype.type
        rest = _joined([value, *(_negated(narrow(self._seeds[party].child(name), kind, *value.shape), bits) for party in self._drawing)], bits)
        await send_words(self.session, self.last, f"dealt/{name}", rest)


def _negated(words: Narrow, bits: bool) -> Narrow:
    return words if bits else np.negative(words)


def _joined(parts: list[Narrow], bits: bool) -> Narrow:
    total = parts[0].copy()
    for each in parts[1:]:
        np.bitwise_xor(total, each, out=total) if bits else np.add(total, each, out=total)
    return total
