"""Transposition of bit matrices, for many blocks of 64 by 64 bits at once.

Six steps of masks and shifts (Warren, Hacker's Delight, 7-3).
"""

from __future__ import annotations

import numpy as np

from federated.intersection.suites import Words

_MASKS = {
    width: np.uint64(mask)
    for width, mask in {
        32: 0x00000000FFFFFFFF,
        16: 0x0000FFFF0000FFFF,
        8: 0x00FF00FF00FF00FF,
        4: 0x0F0F0F0F0F0F0F0F,
        2: 0x3333333333333333,
        1: 0x5555555555555555,
    }.items()
}


def transpose(columns: Words) -> Words:
    """Rows of bits from columns of bits.

    Args:
        columns: (64·g, w) words; overwritten. Bit b of word v of column c is the entry of row 64·v
            + b.

    Returns:
        (64·w, g) words; bit b of word v of a row is the entry of column 64·v + b.
    """
    groups, words = len(columns) // 64, columns.shape[1]
    for width, mask in _MASKS.items():
        halves = columns.reshape(groups, 32 // width, 2, width, words)
        upper, lower, by = halves[:, :, 0], halves[:, :, 1], np.uint64(width)
        moved = upper >> by
        moved ^= lower
        moved &= mask
        lower ^= moved
        moved <<= by
        upper ^= moved
    return np.ascontiguousarray(columns.reshape(groups, 64, words).transpose(2, 1, 0)).reshape(
        64 * words,
        groups,
    )
