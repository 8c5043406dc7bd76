"""Gradient and hessian in one plaintext, and several sums of them in one ciphertext (Chen et al., *SecureBoost+*, 2021).

A row's plaintext is gradient · 2**b + hessian. The hessian is positive and b wide enough for the sum over all rows, so both sums are read off the
plaintext of a sum, whose gradient part is signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.boosting.he import Scheme
from federated.boosting.trees import FRACTION, Sums


@dataclass(frozen=True)
class Packing:
    """``hessian_bits``: of a sum's lower part; ``slot_bits``: of a whole sum, sign included; ``slots``: sums in one ciphertext."""

    hessian_bits: int
    slot_bits: int
    slots: int

    @classmethod
    def of(cls, rows: int, scheme: Scheme) -> Packing:
        """Room for the sums of this many rows: a gradient is at most 1, a hessian at most 1/4."""
        hessian = FRACTION - 2 + rows.bit_length()
        slot = hessian + FRACTION + rows.bit_length() + 1
        return cls(hessian, slot, scheme.plaintext_bits // slot)

    def packed(self, pairs: Sums) -> NDArray[np.object_]:
        """One integer for each row."""
        packed: NDArray[np.object_] = (pairs[:, 0].astype(object) << self.hessian_bits) + pairs[:, 1].astype(object)
        return packed

    def ciphertexts(self, count: int) -> int:
        """How many ciphertexts so many sums take."""
        return -(-count // self.slots)

    def opened(self, values: Sequence[int], count: int) -> Sums:
        """The sums in joined plaintexts, (count, 2); ``ValueError`` if they are none."""
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
            raise ValueError("a sum stands where none should be")
        return np.array(sums[:count], np.int64).reshape(-1, 2)
