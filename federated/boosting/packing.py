"""Packing: gradient and hessian in one plaintext, and several sums in one ciphertext (Chen and
others, *SecureBoost+*, 2021).

A row's plaintext is gradient · 2**b + hessian. Hessians are positive and b is wide enough for the
sum over all rows, so both sums can be read from the plaintext of a sum. The gradient part is
signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.boosting.he import Scheme
from federated.boosting.trees import FRACTION, GradientSums


@dataclass(frozen=True)
class Packing:
    """The layout of plaintexts.

    ``hessian_bits``: of the lower part of a sum. ``slot_bits``: of a whole sum, sign included.
    ``slots``: sums in one ciphertext.
    """

    hessian_bits: int
    slot_bits: int
    slots: int

    @classmethod
    def of(cls, rows: int, scheme: Scheme) -> Packing:
        """Return the layout for sums over ``rows`` rows: gradients are at most 1, hessians at most
        1/4.
        """
        hessian = FRACTION - 2 + rows.bit_length()
        slot = hessian + FRACTION + rows.bit_length() + 1
        return cls(hessian, slot, scheme.plaintext_bits // slot)

    def packed(self, pairs: GradientSums) -> NDArray[np.object_]:
        """Return one integer per row."""
        packed: NDArray[np.object_] = (pairs[:, 0].astype(object) << self.hessian_bits) + pairs[
            :, 1
        ].astype(object)
        return packed

    def ciphertexts(self, count: int) -> int:
        """Return how many ciphertexts ``count`` sums need."""
        return -(-count // self.slots)

    def opened(self, values: Sequence[int], count: int) -> GradientSums:
        """Unpack the sums of joined plaintexts, (count, 2); ``ValueError`` if they
        are malformed.
        """
        half, whole = 1 << (self.slot_bits - 1), (1 << self.slot_bits) - 1
        sums: list[tuple[int, int]] = []
        for value in values:
            rest = value
            for _ in range(self.slots):
                slot = (rest + half & whole) - half
                sums.append((slot >> self.hessian_bits, slot & ((1 << self.hessian_bits) - 1)))
                rest = rest - slot >> self.slot_bits
            if rest:
                raise ValueError("a plaintext is longer than its sums")
        if any(any(pair) for pair in sums[count:]):
            raise ValueError("an unused slot is not zero")
        return np.array(sums[:count], np.int64).reshape(-1, 2)
