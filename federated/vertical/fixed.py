"""Real numbers as integers mod 2**64, shared as uniform words whose sum is the number; and an exact truncation for any number of parties.

A value x is held as round(x · 2**14). Multiplying adds the fraction bits up, so sums of products are truncated. Shifting each share by itself, the
known way (Mohassel and Zhang, SecureML, 2017), is only for two parties, and loses everything with probability |value| / 2**63: at 20 fraction bits
a training collapses. Here values are opened under a dealer's mask instead, and the wrap is found from the mask's shared top bit (Escudero and
others, *Improved Primitives for MPC over Mixed Arithmetic-Binary Circuits*, CRYPTO 2020): right to one unit, always, for values between -2**62 and
2**62. ``bits_needed`` says what a training's largest value takes; only a few values for each column are truncated, none for each row.
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
_OFFSET = np.uint64(1 << LARGEST)
_TOP = np.uint64(63)


def encode(values: NDArray[np.float64], bits: int = FRACTION) -> Words:
    """Values as ring elements."""
    return np.rint(values * float(1 << bits)).astype(np.int64).view(np.uint64)


def decode(words: Words, bits: int = FRACTION) -> NDArray[np.float64]:
    """Ring elements as values."""
    return words.view(np.int64).astype(np.float64) / float(1 << bits)


def bits_needed(rows: int, fraction: int = FRACTION, error_fraction: int = ERROR_FRACTION) -> float:
    """log2 of the largest a gradient can get. Columns have mean square 1 and errors are at most 1: by Cauchy and Schwarz at most ``rows``."""
    return math.log2(rows) + fraction + error_fraction


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
