"""How far a step of training may go over rows that nobody knows: the largest eigenvalue of G = XᵀX, bounded from shares.

Where each party knows the rows, it whitens its columns over them and the bound is the number of parties. Here it whitens over its whole table, and
what the common rows look like in these columns is not known to it. So the bound is measured: the sum of squares of the elements of G·Gᵀ is the sum
of the fourth powers of the eigenvalues, and its fourth root is at least the largest of them, and at most (columns)**(1/4) times it.

G comes from E = X - U, which is open: G = EᵀE + EᵀU + UᵀE + UᵀU with a dealt last term. Its trace is opened to the label party, which says by how
many bits to shift G so that the fourth power fits the ring. Shifted elements are up to one unit off: a matrix of norm at most the number of columns.
"""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray

from federated.randomness import Randomness
from federated.vertical.circle import Circle
from federated.vertical.dealing import mask
from federated.vertical.fixed import FRACTION, Shift, Words, hide, truncated
from federated.vertical.hands import Deck, Hand
from federated.vertical.training import Columns

TRACE_BITS = 15
"""The trace of the shifted G is below 2**15, so the sum is below 2**60 and a little."""
MOST_SCALE = 62 - TRACE_BITS


async def curvature(circle: Circle, hand: Hand, seed: Randomness, dealer: str, columns: Columns, rows: int) -> float | None:
    """At the label party a number not below the largest eigenvalue of XᵀX over the first ``rows``; ``None`` elsewhere."""
    width = columns.share.shape[1]
    hiding = (await asyncio.to_thread(mask, seed, *columns.share.shape))[:rows]
    squared = await hand.share("curvature/squared", width, width)
    share = await asyncio.to_thread(_gram, columns.masked[:rows], hiding, squared, circle.first)
    trace = await circle.tell(np.array([np.trace(share)], np.uint64), "curvature/trace")
    bits = await _scale(circle, dealer, trace)

    dealt = [hand.mask("curvature/mask", width * width)]
    dealt += [await hand.share(f"curvature/{name}", width * width) for name in ("shifted", "top")]
    shift = Shift(*dealt)
    opened = await circle.open(hide(share.reshape(-1), shift, first=circle.first), "curvature/shift")
    small = truncated(opened, shift, bits, first=circle.first).reshape(width, width)

    first, second = hand.mask("curvature/first", width, width), hand.mask("curvature/second", width, width)
    factor = await circle.open(small - first, "curvature/factor")
    crossing = factor @ first.T
    square = crossing + crossing.T + await hand.share("curvature/crossed", width, width) + (factor @ factor.T if circle.first else np.uint64(0))
    opened_square = await circle.open(square - second, "curvature/square")
    cross = np.uint64(2) * second + (opened_square if circle.first else np.uint64(0))
    fourth = (opened_square * cross).sum(keepdims=True).reshape(1) + await hand.share("curvature/power", 1)
    power = await circle.tell(fourth, "curvature/power")
    return None if power is None else 2.0 ** (bits - 2 * FRACTION) * (float(power[0]) ** 0.25 + width)


async def _scale(circle: Circle, dealer: str, trace: NDArray[np.unsignedinteger] | None) -> int:
    if trace is None:
        return (await circle.session.to(circle.label).receive("curvature/scale")).integer("bits", least=1, most=MOST_SCALE)
    bits = min(max(int(trace[0]).bit_length() - TRACE_BITS, 1), MOST_SCALE)
    for peer in (*circle.peers, dealer):
        await circle.session.to(peer).send("curvature/scale", bits=bits)
    return bits


def _gram(masked: Words, hiding: Words, squared: Words, first: bool) -> Words:
    half = _times(masked, hiding)
    share: Words = half + half.T + squared
    return share + _times(masked, masked) if first else share


def _times(left: Words, right: Words) -> Words:
    return np.stack([np.einsum("n,nk->k", each, right) for each in np.ascontiguousarray(left.T)])


async def deal_curvature(deck: Deck, masks: Words, label: str) -> None:
    """The dealer's side. ``masks``: U over the rows to train with."""
    width = masks.shape[1]
    await deck.give("curvature/squared", await asyncio.to_thread(_times, masks, masks))
    bits = np.uint64((await deck.session.to(label).receive("curvature/scale")).integer("bits", least=1, most=MOST_SCALE))
    hidden = deck.mask("curvature/mask", width * width)
    await deck.give("curvature/shifted", hidden >> bits)
    await deck.give("curvature/top", hidden >> np.uint64(63))
    first, second = deck.mask("curvature/first", width, width), deck.mask("curvature/second", width, width)
    await deck.give("curvature/crossed", first @ first.T)
    await deck.give("curvature/power", (second * second).sum(keepdims=True).reshape(1))
