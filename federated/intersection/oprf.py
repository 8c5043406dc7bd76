"""The arithmetic of KKRT16's oblivious pseudo-random function (Kolesnikov, Kumaresan, Rosulek, Trieu, CCS 2016, figures 2 and 3).

For every bin the receiver, whose bin holds the tag x, gets H(bin, t); the sender, with the secret s of 448 bits and the bin's row
q = t ^ (C(x) & s), can compute H(bin, q ^ (C(y) & s)) for any y. Both agree where x = y. Elsewhere the sender's argument differs from what the
receiver knows by the bits of s where the codes differ.

C is a pseudo-random code of ``COLUMNS`` bits: the block cipher on the tag under four keys. Two codes that meet must differ in at least 128 places.
That fails for a pair with probability P[Bin(448, 1/2) < 128] = 2**-66.5; with three tags of the sender's meeting one of the receiver's for each
of his rows, it fails nowhere but with probability 2**-40 up to 2**24.9 rows.

H chains x -> P(x) ^ x over the four blocks (bin ‖ row), P a fixed-key permutation (Matyas, Meyer, Oseas; correlation robust in the ideal-permutation
model: Guo, Katz, Wang, Yu, S&P 2020), and is cut to 40 + log2(3·n1·n2) bits, so that no two different tags agree but with probability 2**-40.
"""

from __future__ import annotations

import numpy as np

from federated.intersection.base_ot import Seeds
from federated.intersection.cuckoo import FUNCTIONS
from federated.intersection.suites import Permutation, Suite, Words, blocks

COLUMNS = 448
WORDS = COLUMNS // 64
SLOTS = 1 + WORDS  # words of an argument of H: the bin, then the row

_STATISTICAL = 40


def mask_width(senders: int, receivers: int) -> int:
    """The bytes of a mask for so many padded rows: at least 8, at most 16."""
    bits = _STATISTICAL + (FUNCTIONS * senders * receivers - 1).bit_length()
    return min(max(-(-bits // 8), 8), 16)


def permutation(suite: Suite, value: bytes, label: str) -> Permutation:
    """The block cipher under a run's key for a label."""
    return suite.permutation(suite.digest(b"qiaolian.psi.v1/" + label.encode(), value)[:16])


class Function:
    """The code C and the hash H of one run."""

    def __init__(self, suite: Suite, value: bytes) -> None:
        self._encoders = [permutation(suite, value, f"code/{number}") for number in range(SLOTS // 2)]
        self._permutation = permutation(suite, value, "mask")

    def codes(self, tags: Words) -> Words:
        """C of each tag as (rows, 8) words, the first (the bin's slot) zero."""
        out = np.empty((len(tags), SLOTS), np.uint64)
        for number, encode in enumerate(self._encoders):
            out[:, 2 * number : 2 * number + 2] = encode(tags)
        out[:, 0] = 0
        return out

    def masks(self, arguments: Words) -> Words:
        """H of each argument, (rows, 8) words, before it is cut: (rows, 2)."""
        state = self._one_way(arguments[:, :2])
        for place in range(2, SLOTS, 2):
            state = self._one_way(state ^ arguments[:, place : place + 2])
        return state

    def _one_way(self, blocks: Words) -> Words:
        return one_way(self._permutation, blocks)


def one_way(permutation: Permutation, blocks: Words) -> Words:
    """P(x) ^ x of each block."""
    out = permutation(blocks)
    out ^= blocks
    return out


class Pads:
    """Words that hide what is programmed for values of the function: a value f gives P(f) ^ f for each P of the pads' own, two words each."""

    def __init__(self, suite: Suite, value: bytes, number: int, words: int) -> None:
        self._permutations = [permutation(suite, value, f"pad/{number}/{place}") for place in range(-(-words // 2))]

    def over(self, values: Words, words: Words) -> None:
        """Put the pads of values (rows, 2) over words (rows, words), or take them off: in place."""
        for block in blocks(len(values)):
            for place, cipher in enumerate(self._permutations):
                shown = words[block, 2 * place : 2 * place + 2]
                shown ^= one_way(cipher, values[block])[:, : shown.shape[1]]


class Columns:
    """The pseudo-random bit columns that grow from base seeds, read from the top in blocks of rows."""

    def __init__(self, suite: Suite, seeds: Seeds) -> None:
        self._streams = [suite.stream(seed.tobytes()) for seed in seeds]

    def take(self, rows: int) -> Words:
        """The next rows (a multiple of 64) of all columns: (448, rows/64) words."""
        out, zeros = np.empty((COLUMNS, rows // 8), np.uint8), bytes(rows // 8)
        for stream, column in zip(self._streams, out, strict=True):
            stream.update_into(zeros, column.data)
        return out.view(np.uint64)


def arguments(first_bin: int, rows: Words) -> Words:
    """Arguments of H from the rows (count, 7) of consecutive bins: (count, 8)."""
    out = np.empty((len(rows), SLOTS), np.uint64)
    out[:, 0] = np.arange(first_bin, first_bin + len(rows), dtype=np.uint64)
    out[:, 1:] = rows
    return out
