"""Secure counts of bad rows in the bins of another party's columns.

The owner holds bins B (rows, bins) of zeros and ones, the label party the label y (rows,). With
masks M and m the label party receives E = B - M and the owner d = y - m; then Bᵀy = Eᵀy + Mᵀd + Mᵀm
(a Beaver triple for matrices: Beaver, CRYPTO 1991; Mohassel and Zhang, SecureML, IEEE S&P 2017).
The owner adds its dealt share of Mᵀm to Mᵀd, and the dealer sends the label party the rest. The
label party learns the counts but no row's bin; the owner learns nothing. Ring elements are just
wide enough to count all rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from federated.errors import PeerFault
from federated.randomness import Randomness
from federated.session import Session
from federated.vertical.messages import receive_array, send_array
from federated.vertical.preprocessing import bin_mask, count_dtype, counts_share, label_mask


async def share_bin_counts(
    session: Session, label: str, seed: Randomness, one_hot: NDArray[np.bool_]
) -> None:
    """The owner's side. ``one_hot``: B."""
    (rows, bins), dtype = one_hot.shape, count_dtype(len(one_hot))
    bin_masks = await asyncio.to_thread(bin_mask, seed, rows, bins)
    await send_array(session, label, "counting/bins", one_hot.astype(dtype) - bin_masks)
    opened = await receive_array(session, label, "counting/label", rows, np.dtype(dtype).name)
    product = await asyncio.to_thread(np.matmul, opened, bin_masks)
    await session.to(label).send("counting/share", words=product + counts_share(seed, rows, bins))


async def count_bad_rows(
    session: Session, dealer: str, seed: Randomness, bad: NDArray[np.bool_], bins: Mapping[str, int]
) -> dict[str, NDArray[np.int64]]:
    """The label party's side: return the bad rows in each bin, by owner. ``bins``: the number of
    bins of each owner. Raises ``counts_impossible``.
    """
    dtype = count_dtype(len(bad))
    label = bad.astype(dtype)
    masked_label = label - label_mask(seed, len(bad))
    counts = {}
    for owner, width in bins.items():
        masked = await receive_array(
            session, owner, "counting/bins", len(bad) * width, np.dtype(dtype).name
        )
        await send_array(session, owner, "counting/label", masked_label)
        total = await asyncio.to_thread(np.matmul, label, masked.reshape(-1, width))
        for sender, name in ((owner, "counting/share"), (dealer, "counting/rest")):
            total = total + (await session.to(sender).receive(name)).array(
                "words", np.dtype(dtype).name, [width]
            )
        counts[owner] = total.astype(np.int64)
        if (counts[owner] > label.sum(dtype=np.int64)).any():
            raise PeerFault(
                "counts_impossible",
                f"The counts with {owner} are above the number of bad rows.",
                peer=owner,
            )
    return counts


async def deal_counts(
    session: Session,
    seeds: Mapping[str, Randomness],
    label: str,
    rows: int,
    bins: Mapping[str, int],
) -> None:
    """The dealer's side: send the label party its share of every Mᵀm."""
    masks_of_label = label_mask(seeds[label], rows)
    for owner, width in bins.items():
        bin_masks = await asyncio.to_thread(bin_mask, seeds[owner], rows, width)
        rest = await asyncio.to_thread(np.matmul, masks_of_label, bin_masks) - counts_share(
            seeds[owner], rows, width
        )
        await session.to(label).send("counting/rest", words=rest)
