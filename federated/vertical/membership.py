"""Membership in the intersection as shares: a circuit that compares the outputs of circuit PSI.

In each bin the label party holds one 64-bit value for each department, and each department its
target. They are equal if the label party's row is one of the department's rows, and unrelated
otherwise (Pinkas, Schneider, Tkachenko and Yanai, *Efficient Circuit-Based PSI with Linear
Communication*, EUROCRYPT 2019). Bits are shared by exclusive or among all data parties. A circuit
of AND gates over packed words, 64 bins at a time, combines the bits of all equality tests (GMW,
with Beaver triples for bits: Beaver, CRYPTO 1991). The one bit left per bin is converted to an
additive share with a dealt bit that is shared both ways (daBit).

A bin without a common row passes with probability 2**-64 for each department in which it has no
match.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from federated.intersection.transpose import transpose
from federated.vertical.communicator import Communicator
from federated.vertical.correlated_randomness import DealerRandomness, PartyRandomness
from federated.vertical.fixed_point import Ring64

TARGET_BITS = 64
"""Bits of a target. Bins are processed 64 at a time too, so their number is a multiple of it."""


async def membership_shares(
    communicator: Communicator, randomness: PartyRandomness, words: Ring64
) -> Ring64:
    """Return this party's additive shares (bins,) of membership: 1 for a bin with a common row,
    else 0.

    ``words`` (bins, departments): at the label party its value in each bin for each department; at
    a department its targets in its own column, and 0 elsewhere.
    """
    planes = transpose(np.ascontiguousarray(words))
    if communicator.is_label:
        planes = ~planes
    for level, pairs in _levels(len(planes)):
        both = await _and(
            communicator,
            randomness,
            f"membership/{level}",
            planes[:pairs],
            planes[pairs : 2 * pairs],
        )
        planes = np.concatenate([both, planes[2 * pairs :]])
    return await _in_ring(communicator, randomness, planes[0])


async def deal_membership(randomness: DealerRandomness, bins: int, departments: int) -> None:
    """The dealer's side of ``membership_shares``."""
    words = bins // TARGET_BITS
    for level, pairs in _levels(TARGET_BITS * departments):
        name = f"membership/{level}"
        left, right = (
            randomness.mask(f"{name}/{side}", pairs, words, bits=True) for side in ("left", "right")
        )
        await randomness.deal(f"{name}/and", left & right, bits=True)
    hidden = randomness.mask("membership/bit", words, bits=True)
    await randomness.deal("membership/ring", unpack_bits(hidden).astype(np.uint64))


def _levels(planes: int) -> Iterator[tuple[int, int]]:
    """Yield each level of the circuit and its number of pairs; an odd plane waits for the next
    level.
    """
    level = 0
    while planes > 1:
        yield level, planes // 2
        planes, level = planes - planes // 2, level + 1


async def _and(
    communicator: Communicator, randomness: PartyRandomness, name: str, left: Ring64, right: Ring64
) -> Ring64:
    a, b = (randomness.mask(f"{name}/{side}", *left.shape) for side in ("left", "right"))
    opened_left, opened_right = await communicator.open(
        np.stack([left ^ a, right ^ b]), "circuit/and", bits=True
    )
    both: Ring64 = (
        await randomness.dealt_share(f"{name}/and", *left.shape)
        ^ (opened_left & b)
        ^ (opened_right & a)
    )
    return both ^ (opened_left & opened_right) if communicator.is_label else both


async def _in_ring(
    communicator: Communicator, randomness: PartyRandomness, plane: Ring64
) -> Ring64:
    """Convert a plane of shared bits to ring shares: an opened bit v and a dealt bit r give v + r -
    2vr.
    """
    opened = unpack_bits(
        await communicator.open(
            plane ^ randomness.mask("membership/bit", len(plane)), "circuit/bits", bits=True
        )
    )
    dealt = await randomness.dealt_share("membership/ring", len(opened))
    share: Ring64 = np.where(opened, np.negative(dealt), dealt)
    return share + opened if communicator.is_label else share


def unpack_bits(plane: NDArray[np.unsignedinteger]) -> NDArray[np.bool_]:
    """Return the bits of packed words, the lowest first."""
    return np.unpackbits(
        np.ascontiguousarray(plane, "<u8").view(np.uint8), bitorder="little"
    ).astype(np.bool_)
