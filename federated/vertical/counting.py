"""Bad rows in each bin of another party's columns, counted under masks.

The owner has bins B (rows, bins) of zeros and ones, the label party the label y (rows,). Masks M and m hide the two: the label party gets E = B - M,
the owner d = y - m. Then Bᵀy = Eᵀy + Mᵀd + Mᵀm. The owner adds its dealt share of the last product to Mᵀd, the dealer gives the label party the rest
of it. The label party learns the counts and nothing of a row's bin; the owner learns nothing. Words are just wide enough for a count of all rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from federated.errors import PeerFault
from federated.randomness import Randomness
from federated.session import Session
from federated.vertical.dealing import bins_mask, count_type, counts_share, label_mask
from federated.vertical.messages import receive_words, send_words


async def be_counted(session: Session, label: str, seed: Randomness, inside: NDArray[np.bool_]) -> None:
    """The owner's side. ``inside``: B."""
    (rows, bins), kind = inside.shape, count_type(len(inside))
    hiding = await asyncio.to_thread(bins_mask, seed, rows, bins)
    await send_words(session, label, "counting/bins", inside.astype(kind) - hiding)
    opened = await receive_words(session, label, "counting/label", rows, np.dtype(kind).name)
    product = await asyncio.to_thread(np.matmul, opened, hiding)
    await session.to(label).send("counting/share", words=product + counts_share(seed, rows, bins))


async def count(session: Session, dealer: str, seed: Randomness, bad: NDArray[np.bool_], bins: Mapping[str, int]) -> dict[str, NDArray[np.int64]]:
    """The label party's side: bad rows in each bin, by owner. ``bins``: how many each owner has."""
    kind = count_type(len(bad))
    label = bad.astype(kind)
    hidden = label - label_mask(seed, len(bad))
    found = {}
    for owner, width in bins.items():
        masked = await receive_words(session, owner, "counting/bins", len(bad) * width, np.dtype(kind).name)
        await send_words(session, owner, "counting/label", hidden)
        total = await asyncio.to_thread(np.matmul, label, masked.reshape(-1, width))
        for giver, name in ((owner, "counting/share"), (dealer, "counting/rest")):
            total = total + (await session.to(giver).receive(name)).array("words", np.dtype(kind).name, [width])
        found[owner] = total.astype(np.int64)
        if (found[owner] > label.sum(dtype=np.int64)).any():
            raise PeerFault("counts_impossible", f"The counts with {owner} are above the number of bad rows.", peer=owner)
    return found


async def deal_counts(session: Session, seeds: Mapping[str, Randomness], label: str, rows: int, bins: Mapping[str, int]) -> None:
    """The dealer's side: what the owners' shares leave of each Mᵀm."""
    label_hiding = label_mask(seeds[label], rows)
    for owner, width in bins.items():
        hiding = await asyncio.to_thread(bins_mask, seeds[owner], rows, width)
        rest = await asyncio.to_thread(np.matmul, label_hiding, hiding) - counts_share(seeds[owner], rows, width)
        await session.to(label).send("counting/rest", words=rest)
