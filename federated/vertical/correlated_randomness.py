"""Named correlated randomness: masks that each party expands from its seed, and values that the
dealer deals.

A mask is uniform at every party, and no party knows the sum over all parties. A dealt value is a
function of such sums, for example the product of two masks of a Beaver triple (Beaver, CRYPTO
1991). The dealer knows all seeds: every party but the last expands its share from its seed, and the
last one receives the correction. This is the trusted-dealer preprocessing of Beaver
(*Commodity-based cryptography*, STOC 1997). Names give independent streams.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from federated.randomness import Randomness
from federated.session import Session
from federated.vertical.messages import receive_array, send_array
from federated.vertical.preprocessing import BlockShape, uniform_ring

RingArray = NDArray[np.unsignedinteger]
RingDtype = type[np.unsignedinteger]


class PartyRandomness:
    """A party's correlated randomness.

    ``last``: this party receives corrections from the dealer.
    """

    def __init__(self, session: Session, seed: Randomness, dealer: str, *, last: bool) -> None:
        self._session, self._seed, self._dealer, self._last = session, seed, dealer, last

    def mask(self, name: str, *shape: int, dtype: RingDtype = np.uint64) -> RingArray:
        """Return this party's share of a mask."""
        return uniform_ring(self._seed.child(name), dtype, *shape)

    async def dealt_share(self, name: str, *shape: int, dtype: RingDtype = np.uint64) -> RingArray:
        """Return this party's additive share of a dealer-generated value."""
        if not self._last:
            return self.mask(name, *shape, dtype=dtype)
        return (
            await receive_array(
                self._session,
                self._dealer,
                f"dealt/{name}",
                int(np.prod(shape)),
                np.dtype(dtype).name,
            )
        ).reshape(shape)


class DealerRandomness:
    """The dealer's end.

    It holds the seeds of all parties; the last party receives the corrections.
    """

    def __init__(self, session: Session, seeds: Mapping[str, Randomness]) -> None:
        self.session, self._seeds = session, seeds
        *self._drawing, self.last = seeds

    def mask(
        self, name: str, *shape: int, dtype: RingDtype = np.uint64, bits: bool = False
    ) -> RingArray:
        """Return a mask: the sum of all parties' shares, or with ``bits`` their exclusive or."""
        return _joined(
            [uniform_ring(seed.child(name), dtype, *shape) for seed in self._seeds.values()], bits
        )

    def block_mask(
        self, name: str, shape: BlockShape, *, dtype: RingDtype = np.uint64
    ) -> RingArray:
        """Return a mask (rows, all columns): the last party has a share of every column, any other
        of its own block.
        """
        total = uniform_ring(self._seeds[self.last].child(name), dtype, shape.rows, shape.total)
        for party in self._drawing:
            total[:, shape.span(party)] += uniform_ring(
                self._seeds[party].child(name), dtype, shape.rows, shape.columns[party]
            )
        return total

    async def deal(self, name: str, value: RingArray, *, bits: bool = False) -> None:
        """Deal a value: send the last party its share, which is the value less the other parties'
        shares.
        """
        dtype = value.dtype.type
        rest = _joined(
            [
                value,
                *(
                    _negated(
                        uniform_ring(self._seeds[party].child(name), dtype, *value.shape), bits
                    )
                    for party in self._drawing
                ),
            ],
            bits,
        )
        await send_array(self.session, self.last, f"dealt/{name}", rest)


def _negated(words: RingArray, bits: bool) -> RingArray:
    return words if bits else np.negative(words)


def _joined(parts: list[RingArray], bits: bool) -> RingArray:
    total = parts[0].copy()
    for part in parts[1:]:
        np.bitwise_xor(total, part, out=total) if bits else np.add(total, part, out=total)
    return total
