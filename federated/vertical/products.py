"""Products of shared values, by Beaver's triples (CRYPTO 1991): each factor is opened under a mask, the dealer deals the product of the masks.

Columns (rows, all columns) come in blocks: the label party holds a share of every column and each department one of its own. Nobody else has a
share of a column, but every party gets one of each product.
"""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray

from federated.vertical.circle import Circle
from federated.vertical.dealing import Shape
from federated.vertical.fixed import Words
from federated.vertical.hands import Deck, Hand, Kind

Narrow = NDArray[np.unsignedinteger]


def held(circle: Circle, shape: Shape) -> slice:
    """The columns of which this party holds a share."""
    return slice(0, shape.total) if circle.first else shape.span(circle.me)


async def kept(circle: Circle, hand: Hand, name: str, keep: Words, columns: Words, shape: Shape) -> Words:
    """This party's share of each row times its ``keep`` (rows,), in all columns. ``columns`` (rows, held): the share it holds."""
    mine = held(circle, shape)
    hidden, hiding = hand.mask(f"{name}/keep", shape.rows), hand.mask(f"{name}/columns", *columns.shape)
    opened = await circle.open(keep - hidden, "products/keep")
    wide = await circle.open_blocks(columns - hiding, shape, "products/columns")
    dealt = await hand.share(f"{name}/product", shape.rows, shape.total)

    def together() -> Words:
        share: Words = hidden[:, None] * wide + dealt
        share[:, mine] += opened[:, None] * hiding
        if circle.first:
            share += opened[:, None] * wide
        return share

    return await asyncio.to_thread(together)


async def deal_kept(deck: Deck, name: str, shape: Shape) -> None:
    """The dealer's side of ``kept``."""
    hidden, hiding = deck.mask(f"{name}/keep", shape.rows), deck.mask_of_blocks(f"{name}/columns", shape)
    await deck.give(f"{name}/product", hidden[:, None] * hiding)


async def crossed(circle: Circle, hand: Hand, name: str, left: Narrow, columns: Narrow, shape: Shape) -> Narrow:
    """This party's share of leftᵀ · columns (a, all columns), in words as wide as ``columns``'. ``left`` (rows, a): a share at every party."""
    kind: Kind = columns.dtype.type
    mine = held(circle, shape)
    hidden, hiding = hand.mask(f"{name}/left", *left.shape, kind=kind), hand.mask(f"{name}/columns", *columns.shape, kind=kind)
    opened = await circle.open(left - hidden, "products/left")
    wide = await circle.open_blocks(columns - hiding, shape, "products/columns")
    dealt = await hand.share(f"{name}/product", left.shape[1], shape.total, kind=kind)

    def together() -> Narrow:
        share = _times(opened + hidden if circle.first else hidden, wide) + dealt
        share[:, mine] += _times(opened, hiding)
        return share

    return await asyncio.to_thread(together)


async def deal_crossed(deck: Deck, name: str, left: int, shape: Shape, kind: Kind) -> None:
    """The dealer's side of ``crossed``. ``left``: how many vectors."""
    hidden, hiding = deck.mask(f"{name}/left", shape.rows, left, kind=kind), deck.mask_of_blocks(f"{name}/columns", shape, kind=kind)
    await deck.give(f"{name}/product", await asyncio.to_thread(_times, hidden, hiding))


def _times(left: Narrow, right: Narrow) -> Narrow:
    """leftᵀ · right. Vector by vector, which numpy does several times as fast as a product of matrices of integers."""
    return np.stack([np.einsum("n,nk->k", each, right) for each in np.ascontiguousarray(left.T)])
