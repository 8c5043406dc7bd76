"""A bound of the largest eigenvalue of G = XᵀX on shares: it fixes the step size when nobody knows
the rows.

When each party knows the rows, it whitens its columns over them and the number of parties is the
bound. Over hidden rows it can only whiten its whole table, so the bound is computed: the squared
Frobenius norm of G·Gᵀ is the sum of the fourth powers of the eigenvalues. Its fourth root is at
least the largest eigenvalue, and at most (columns)**(1/4) times as large.

G follows from the opened E = X - U: G = EᵀE + EᵀU + UᵀE + UᵀU, whose last term is dealt. The trace
of G is opened to the label party, which chooses by how many bits to shift G so that the fourth
power fits into the ring. Shifted elements are off by up to one unit: by a matrix of norm at most
the number of columns.
"""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray

from federated.randomness import Randomness
from federated.vertical.communicator import Communicator
from federated.vertical.correlated_randomness import DealerRandomness, PartyRandomness
from federated.vertical.fixed_point import FRACTION, Ring64, Shift, masked_share, truncated_share
from federated.vertical.preprocessing import column_mask
from federated.vertical.training import MaskedColumns

TRACE_BITS = 15
"""The trace of the shifted G is below 2**15, so the sum is only just above 2**60 at most."""
MAX_SCALE_BITS = 62 - TRACE_BITS


async def largest_eigenvalue(
    communicator: Communicator,
    randomness: PartyRandomness,
    seed: Randomness,
    dealer: str,
    columns: MaskedColumns,
    rows: int,
) -> float | None:
    """Return an upper bound of the largest eigenvalue of XᵀX over the first ``rows`` at the label
    party; ``None`` at the others.
    """
    width = columns.share.shape[1]
    column_masks = (await asyncio.to_thread(column_mask, seed, *columns.share.shape))[:rows]
    mask_product = await randomness.dealt_share("eigenvalue/squared", width, width)
    share = await asyncio.to_thread(
        _gram, columns.masked[:rows], column_masks, mask_product, communicator.is_label
    )
    trace = await communicator.open_to_label(
        np.array([np.trace(share)], np.uint64), "eigenvalue/trace"
    )
    bits = await _scale(communicator, dealer, trace)

    dealt = [randomness.mask("eigenvalue/mask", width * width)]
    dealt += [
        await randomness.dealt_share(f"eigenvalue/{name}", width * width)
        for name in ("shifted", "top")
    ]
    shift = Shift(*dealt)
    opened = await communicator.open(
        masked_share(share.reshape(-1), shift, adds_public=communicator.is_label),
        "eigenvalue/shift",
    )
    shifted = truncated_share(opened, shift, bits, adds_public=communicator.is_label).reshape(
        width, width
    )

    first, second = (
        randomness.mask("eigenvalue/first", width, width),
        randomness.mask("eigenvalue/second", width, width),
    )
    factor = await communicator.open(shifted - first, "eigenvalue/factor")
    cross_term = factor @ first.T
    square = (
        cross_term
        + cross_term.T
        + await randomness.dealt_share("eigenvalue/first_squared", width, width)
        + (factor @ factor.T if communicator.is_label else np.uint64(0))
    )
    opened_square = await communicator.open(square - second, "eigenvalue/square")
    cross = np.uint64(2) * second + (opened_square if communicator.is_label else np.uint64(0))
    fourth = (opened_square * cross).sum(keepdims=True).reshape(1) + await randomness.dealt_share(
        "eigenvalue/power", 1
    )
    power = await communicator.open_to_label(fourth, "eigenvalue/power")
    return (
        None if power is None else 2.0 ** (bits - 2 * FRACTION) * (float(power[0]) ** 0.25 + width)
    )


async def _scale(
    communicator: Communicator, dealer: str, trace: NDArray[np.unsignedinteger] | None
) -> int:
    if trace is None:
        return (
            await communicator.session.to(communicator.label).receive("eigenvalue/scale")
        ).integer("bits", minimum=1, maximum=MAX_SCALE_BITS)
    bits = min(max(int(trace[0]).bit_length() - TRACE_BITS, 1), MAX_SCALE_BITS)
    for peer in (*communicator.peers, dealer):
        await communicator.session.to(peer).send("eigenvalue/scale", bits=bits)
    return bits


def _gram(masked: Ring64, column_masks: Ring64, mask_product: Ring64, first: bool) -> Ring64:
    half = _times(masked, column_masks)
    share: Ring64 = half + half.T + mask_product
    return share + _times(masked, masked) if first else share


def _times(left: Ring64, right: Ring64) -> Ring64:
    return np.stack(
        [np.einsum("n,nk->k", column, right) for column in np.ascontiguousarray(left.T)]
    )


async def deal_largest_eigenvalue(randomness: DealerRandomness, masks: Ring64, label: str) -> None:
    """The dealer's side. ``masks``: U over the training rows."""
    width = masks.shape[1]
    await randomness.deal("eigenvalue/squared", await asyncio.to_thread(_times, masks, masks))
    bits = np.uint64(
        (await randomness.session.to(label).receive("eigenvalue/scale")).integer(
            "bits", minimum=1, maximum=MAX_SCALE_BITS
        )
    )
    shift_mask = randomness.mask("eigenvalue/mask", width * width)
    await randomness.deal("eigenvalue/shifted", shift_mask >> bits)
    await randomness.deal("eigenvalue/top", shift_mask >> np.uint64(63))
    first, second = (
        randomness.mask("eigenvalue/first", width, width),
        randomness.mask("eigenvalue/second", width, width),
    )
    await randomness.deal("eigenvalue/first_squared", first @ first.T)
    await randomness.deal("eigenvalue/power", (second * second).sum(keepdims=True).reshape(1))
