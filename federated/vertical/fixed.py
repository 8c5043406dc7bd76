"""Real numbers as integers mod 2**64, shared as uniform words whose sum is the number; and an exact truncation for any number of parties.

A value x is held as round(x · 2**14). Multiplying adds the fraction bits up, so sums of products are truncated. Shifting each share by itself, the
known way (Mohassel and Zhang, SecureML, 2017), is only for two parties, and loses everything with probability |value| / 2**64: at 20 fraction bits
a training collapses. Here values are opened under a dealer's mask instead, and the wrap is found from the mask's shared top bit (Escudero and
others, *Improved Primitives for MPC over Mixed Arithmetic-Binary Circuits*, CRYPTO 2020): right to one unit, always, for values between -2**62 and
2**62. ``bits_needed`` says what a training's largest value takes. One value for each column and step is truncated, none for each row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

FRACTION = 14
"""Fraction bits of a value."""
ERROR_FRACTION = 26
"""Fraction bits of the error: those of a shared wave and 12 of a public factor."""
LARGEST = 62
"""Values are below 2**62 in size."""
LARGEST_WEIGHT = 16.0
"""Of a whitened column, the step ahead included: half the sine series' period. Rows that a line separates reach 13.7 in 20 steps, as a test shows;
others stay far below."""
_OFFSET = np.uint64(1 << LARGEST)
_TOP = np.uint64(63)


def encode(values: NDArray[np.float64], bits: int = FRACTION) -> Words:
    """Values as ring elements."""
    return np.rint(values * float(1 << bits)).astype(np.int64).view(np.uint64)


def decode(words: Words, bits: int = FRACTION) -> NDArray[np.float64]:
    """Ring elements as values."""
    return words.view(np.int64).astype(np.float64) / float(1 << bits)


def shift_bits(rows: int, parties: int) -> int:
    """A step moves the weights by gradient / 2**shift: by between half of 4/parties and all of it for the mean gradient, so it never overshoots.

    Each party's columns are whitened, so the correlation matrix of ``parties`` blocks has no eigenvalue above ``parties``, and the logistic
    function's slope is at most 1/4.
    """
    return ERROR_FRACTION + (rows - 1).bit_length() + (parties - 1).bit_length() - 2


def bits_needed(rows: int, parties: int, fraction: int = FRACTION) -> float:
    """log2 of the largest value that a training truncates: the weights shifted up, less the gradient.

    Columns have mean square 1 and errors are at most 1, so by Cauchy and Schwarz no element of the gradient is above ``rows``. With more fraction
    bits of a value there are as many more of the error.
    """
    largest = LARGEST_WEIGHT * 2.0 ** shift_bits(rows, parties) + rows * 2.0**ERROR_FRACTION
    return math.log2(largest) + fraction + (fraction - FRACTION)


def shift_bits_of(curvature: float) -> int:
    """The same for columns of which no more is known than the largest eigenvalue of XᵀX, or a number above it."""
    return ERROR_FRACTION + math.ceil(math.log2(curvature)) - 2


MOST_SHIFT_BITS = 43
"""Of such a step. By Cauchy and Schwarz no element of the gradient is above the eigenvalue, as long as that is not below the number of rows; so no
value is above (16 + 4) · 2**shift with 14 fraction bits, and that is below 2**62."""


@dataclass(frozen=True)
class Shift:
    """A party's shares of a random mask, of the mask shifted right, and of its top bit: all (count,)."""

    mask: Words
    shifted: Words
    top: Words


def hide(share: Words, shift: Shift, *, first: bool) -> Words:
    """This party's share of the value under the mask, to be opened. Exactly one party is ``first``."""
    return share + shift.mask + (_OFFSET if first else np.uint64(0))


def truncated(opened: Words, shift: Shift, bits: int, *, first: bool) -> Words:
    """This party's share of the value divided by 2**bits, from the opened value."""
    wrapped = (np.uint64(1) - (opened >> _TOP)) << np.uint64(64 - bits)
    share = shift.top * wrapped - shift.shifted
    return share + (opened >> np.uint64(bits)) - (_OFFSET >> np.uint64(bits)) if first else share
