"""Fixed-point numbers in the ring of integers mod 2**64, additively shared, with exact truncation
for any number of parties.

A value x is encoded as round(x · 2**14). Products add up the fraction bits, so sums of products are
truncated. Local truncation of each share (Mohassel and Zhang, SecureML, IEEE S&P 2017) works for
two parties only and fails with probability |value| / 2**64 per element: at 20 fraction bits a
training collapses. Here a value is opened under a dealer-generated mask, and the wrap is derived
from the shared top bit of the mask (Escudero, Ghosh, Keller, Rachuri and Scholl, CRYPTO 2020). The
result is exact to one unit for all values between -2**62 and 2**62. ``ring_bits_needed`` bounds the
values of a training. One value per column and step is truncated, none per row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ring64 = NDArray[np.uint64]

FRACTION = 14
"""Fraction bits of a value."""
ERROR_FRACTION = 26
"""Fraction bits of the error: those of a shared Fourier term and 12 of a public factor."""
VALUE_BITS = 62
"""Values are smaller than 2**62 in absolute value."""
MAX_WEIGHT = 16.0
"""The largest weight of a whitened column, lookahead included: half the period of the sine series.
Linearly separable rows reach 13.7 in 20 steps, as a test shows; others stay far below.
"""
_OFFSET = np.uint64(1 << VALUE_BITS)
_TOP = np.uint64(63)


def encode(values: NDArray[np.float64], bits: int = FRACTION) -> Ring64:
    """Encode values as ring elements."""
    return np.rint(values * float(1 << bits)).astype(np.int64).view(np.uint64)


def decode(words: Ring64, bits: int = FRACTION) -> NDArray[np.float64]:
    """Decode ring elements."""
    return words.view(np.int64).astype(np.float64) / float(1 << bits)


def shift_bits(rows: int, parties: int) -> int:
    """Return the step size as a shift: the weights move by gradient / 2**shift.

    The step is between half of 4/parties and all of it for the mean gradient, so it never
    overshoots: columns are whitened by party, so no eigenvalue of the correlation matrix of
    ``parties`` blocks exceeds ``parties``, and the slope of the logistic function is at most 1/4.
    """
    return ERROR_FRACTION + (rows - 1).bit_length() + (parties - 1).bit_length() - 2


def ring_bits_needed(rows: int, parties: int, fraction: int = FRACTION) -> float:
    """Return log2 of the largest value that a training truncates: the shifted weights less the
    gradient.

    Columns have mean square 1 and errors are at most 1, so by the Cauchy-Schwarz inequality no
    element of the gradient exceeds ``rows``. Each further fraction bit of a value needs one more of
    the error.
    """
    largest = MAX_WEIGHT * 2.0 ** shift_bits(rows, parties) + rows * 2.0**ERROR_FRACTION
    return math.log2(largest) + fraction + (fraction - FRACTION)


def shift_bits_for_eigenvalue(eigenvalue: float) -> int:
    """Return the step size, as a shift, for columns of which only an upper bound of the largest
    eigenvalue of XᵀX is known.
    """
    return ERROR_FRACTION + math.ceil(math.log2(eigenvalue)) - 2


MAX_SHIFT_BITS = 43
"""The largest shift for such columns. By Cauchy-Schwarz no element of the gradient exceeds the
eigenvalue if that is at least the number of rows; so with 14 fraction bits no value exceeds (16 +
4) · 2**shift, which is below 2**62.
"""


@dataclass(frozen=True)
class Shift:
    """A party's shares of a random mask, of the shifted mask and of its top bit: all (count,)."""

    mask: Ring64
    shifted: Ring64
    top: Ring64


def masked_share(share: Ring64, shift: Shift, *, adds_public: bool) -> Ring64:
    """Return this party's share of the masked value, to be opened. Exactly one party has
    ``adds_public``.
    """
    return share + shift.mask + (_OFFSET if adds_public else np.uint64(0))


def truncated_share(opened: Ring64, shift: Shift, bits: int, *, adds_public: bool) -> Ring64:
    """Return this party's share of the value divided by 2**bits, from the opened masked value."""
    wrapped = (np.uint64(1) - (opened >> _TOP)) << np.uint64(64 - bits)
    share = shift.top * wrapped - shift.shifted
    return (
        share + (opened >> np.uint64(bits)) - (_OFFSET >> np.uint64(bits)) if adds_public else share
    )
