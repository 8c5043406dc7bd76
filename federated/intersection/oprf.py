"""The arithmetic of the oblivious PRF of KKRT16 (Kolesnikov, Kumaresan, Rosulek, Trieu, CCS 2016).

Figures 2 and 3 of the paper. For every bin the receiver, whose bin holds the tag x, gets H(bin, t).
The sender, with the secret s of 448 bits and the bin's row q = t ^ (C(x) & s), can compute
H(bin, q ^ (C(y) & s)) for any y. The two agree where x = y. Otherwise the sender's input differs
from what the receiver knows in the bits of s where the codes differ.

C is a pseudo-random code of ``CODE_BITS`` bits: the block cipher of the tag under four keys. The
codes of two tags that are compared must differ in at least 128 bits. For one pair that fails with
probability P[Bin(448, 1/2) < 128] = 2**-66.5. Three of the sender's tags are compared with one of
the receiver's for each of its rows, so that up to 2**24.9 rows it fails anywhere with probability
below 2**-40.

H chains x -> P(x) ^ x over the four blocks (bin, row), where P is a fixed-key permutation (Matyas,
Meyer, Oseas; correlation robust in the ideal-permutation model: Guo, Katz, Wang, Yu, S&P 2020). Its
output is cut to 40 + log2(3·n1·n2) bits, so that two different tags agree with probability below
2**-40.
"""

from __future__ import annotations

import numpy as np

from federated.intersection.base_ot import Seeds
from federated.intersection.cuckoo import FUNCTIONS
from federated.intersection.suites import Permutation, Suite, Words, blocks

CODE_BITS = 448
CODE_WORDS = CODE_BITS // 64
INPUT_WORDS = 1 + CODE_WORDS  # of an input of H: the bin, then the row

_STATISTICAL_BITS = 40


def mask_width(sender_rows: int, receiver_rows: int) -> int:
    """Return the bytes of a mask for so many padded rows: at least 8, at most 16."""
    bits = _STATISTICAL_BITS + (FUNCTIONS * sender_rows * receiver_rows - 1).bit_length()
    return min(max(-(-bits // 8), 8), 16)


def permutation(suite: Suite, value: bytes, label: str) -> Permutation:
    """Return the block cipher under the key that a run derives for a label."""
    return suite.permutation(suite.digest(b"qiaolian.psi.v1/" + label.encode(), value)[:16])


class OprfFunction:
    """The code C and the hash H of one run."""

    def __init__(self, suite: Suite, value: bytes) -> None:
        self._encoders = [
            permutation(suite, value, f"code/{number}") for number in range(INPUT_WORDS // 2)
        ]
        self._permutation = permutation(suite, value, "mask")

    def codes(self, tags: Words) -> Words:
        """Return C of each tag as (rows, 8) words; the first word, the bin's, is zero."""
        out = np.empty((len(tags), INPUT_WORDS), np.uint64)
        for number, encode in enumerate(self._encoders):
            out[:, 2 * number : 2 * number + 2] = encode(tags)
        out[:, 0] = 0
        return out

    def masks(self, inputs: Words) -> Words:
        """Return H of each input, (rows, 8) words, uncut: (rows, 2)."""
        state = self._one_way(inputs[:, :2])
        for word in range(2, INPUT_WORDS, 2):
            state = self._one_way(state ^ inputs[:, word : word + 2])
        return state

    def _one_way(self, blocks: Words) -> Words:
        return one_way(self._permutation, blocks)


def one_way(permutation: Permutation, blocks: Words) -> Words:
    """Return P(x) ^ x of each block."""
    out = permutation(blocks)
    out ^= blocks
    return out


class Pads:
    """One-time pads for programmed words, made from values of the OPRF.

    A value f gives P(f) ^ f, two words, for each permutation P of these pads. ``number``: the table
    the pads are for; ``words``: words a row.
    """

    def __init__(self, suite: Suite, value: bytes, number: int, words: int) -> None:
        self._permutations = [
            permutation(suite, value, f"pad/{number}/{index}") for index in range(-(-words // 2))
        ]

    def over(self, values: Words, words: Words) -> None:
        """Add or remove, in place, the pads of values (rows, 2) over words (rows, words)."""
        for block in blocks(len(values)):
            for number, cipher in enumerate(self._permutations):
                padded = words[block, 2 * number : 2 * number + 2]
                padded ^= one_way(cipher, values[block])[:, : padded.shape[1]]


class PrgColumns:
    """The pseudo-random bit columns that grow from base seeds, read in blocks of rows."""

    def __init__(self, suite: Suite, seeds: Seeds) -> None:
        self._streams = [suite.stream(seed.tobytes()) for seed in seeds]

    def take(self, rows: int) -> Words:
        """Return the next rows (a multiple of 64) of all columns: (448, rows/64) words."""
        out, zeros = np.empty((CODE_BITS, rows // 8), np.uint8), bytes(rows // 8)
        for stream, column in zip(self._streams, out, strict=True):
            stream.update_into(zeros, column.data)
        return out.view(np.uint64)


def hash_inputs(first_bin: int, rows: Words) -> Words:
    """Return inputs of H from the rows, (count, 7), of consecutive bins: (count, 8)."""
    out = np.empty((len(rows), INPUT_WORDS), np.uint64)
    out[:, 0] = np.arange(first_bin, first_bin + len(rows), dtype=np.uint64)
    out[:, 1:] = rows
    return out
