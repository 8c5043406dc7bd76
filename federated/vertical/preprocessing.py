"""Preprocessing of a training: the masks and the correlated randomness of each step (trusted
dealer).

The dealer brings no data and sees none. It learns the number of rows and bins, sends each party a
seed, and sends the last party, the label party, the corrections that seeds cannot give. It must not
collude with a party: the columns of the others follow from what a party received together with all
seeds.

All parties' masks come from these streams:

    U        (rows, own columns)   masks a party's columns, for the whole training
    rho      (all columns)         a fresh share for each step: masks the weights
    a        (rows,)               a fresh share for each step: masks the scores' angle
    R        (rows,)               a fresh share for each step: masks the error
    shift    (all columns)         a fresh share for each step: masks what is truncated
    bins     (rows, own bins)      masks the bin of each row
    label    (rows,)               masks the label, where bad rows are counted
    counts   (own bins)            a share of the product of the last two
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.randomness import Randomness
from federated.vertical.fixed_point import Ring64, Shift
from federated.vertical.sigmoid import TERMS, Angles, fourier_terms


@dataclass(frozen=True)
class BlockShape:
    """The public shape of a matrix in column blocks: ``columns`` by party, in the parties' order.
    The last party receives the corrections.
    """

    rows: int
    columns: Mapping[str, int]

    @property
    def total(self) -> int:
        """The columns of all parties together."""
        return sum(self.columns.values())

    @property
    def last(self) -> str:
        """The party that receives the corrections."""
        return next(reversed(list(self.columns)))

    def span(self, party: str) -> slice:
        """Return where a party's columns are among all columns."""
        names = list(self.columns)
        start = sum(self.columns[name] for name in names[: names.index(party)])
        return slice(start, start + self.columns[party])


@dataclass(frozen=True)
class StepShares:
    """A party's shares for one step.

    ``rho`` (columns,), ``forward`` of U·ρ (rows,), ``angle`` (rows,), ``fourier_terms`` (8, rows),
    ``error`` R (rows,), ``backward`` of Uᵀ·R (columns,), ``shift`` (columns,).
    """

    rho: Ring64
    forward: Ring64
    angle: Angles
    fourier_terms: Ring64
    error: Ring64
    backward: Ring64
    shift: Shift


@dataclass(frozen=True)
class Corrections:
    """What the last party receives instead of expanding it from its seed."""

    forward: Ring64
    fourier_terms: Ring64
    backward: Ring64
    shifted: Ring64
    top: Ring64


def column_mask(seed: Randomness, rows: int, columns: int) -> Ring64:
    """Return U, the mask of a party's columns."""
    return seed.child("columns").words(rows, columns)


def step_shares(
    seed: Randomness, shape: BlockShape, step: int, corrections: Corrections | None = None
) -> StepShares:
    """Return a party's shares for one step: expanded from its seed, and at the last party from the
    corrections.
    """
    stream = seed.child(f"step/{step}")
    rho, error, hidden = (
        stream.words(shape.total),
        stream.words(shape.rows),
        stream.words(shape.total),
    )
    angle = stream.words(-(-shape.rows // 4)).view(np.uint16)[: shape.rows]
    if corrections is None:
        words = stream.words
        corrections = Corrections(
            words(shape.rows),
            words(2 * TERMS, shape.rows),
            words(shape.total),
            words(shape.total),
            words(shape.total),
        )
    shift = Shift(hidden, corrections.shifted, corrections.top)
    return StepShares(
        rho,
        corrections.forward,
        angle,
        corrections.fourier_terms,
        error,
        corrections.backward,
        shift,
    )


def step_corrections(
    seeds: Mapping[str, Randomness], masks: Ring64, shape: BlockShape, step: int, bits: int
) -> Corrections:
    """Return the last party's shares of U·ρ, the Fourier terms, Uᵀ·R and the mask shifted by
    ``bits``.
    """
    parts = {
        name: step_shares(seed, shape, step, _NONE if name == shape.last else None)
        for name, seed in seeds.items()
    }
    others = [step for name, step in parts.items() if name != shape.last]
    rho, error = (
        _sum([step.rho for step in parts.values()]),
        _sum([step.error for step in parts.values()]),
    )
    angle, hidden = (
        _sum([step.angle for step in parts.values()]),
        _sum([step.shift.mask for step in parts.values()]),
    )
    return Corrections(
        forward=masks @ rho - _sum([other.forward for other in others]),
        fourier_terms=fourier_terms(angle) - _sum([other.fourier_terms for other in others]),
        backward=np.einsum("n,nk->k", error, masks) - _sum([other.backward for other in others]),
        shifted=(hidden >> np.uint64(bits)) - _sum([other.shift.shifted for other in others]),
        top=(hidden >> np.uint64(63)) - _sum([other.shift.top for other in others]),
    )


_NOTHING = np.empty(0, np.uint64)
_NONE = Corrections(_NOTHING, _NOTHING, _NOTHING, _NOTHING, _NOTHING)


def _sum(parts: Sequence[NDArray[np.unsignedinteger]]) -> NDArray[np.unsignedinteger]:
    total = parts[0].copy()
    for part in parts[1:]:
        total += part
    return total


# --- Counts of bad rows ---------------------------------------------------------------------------


def count_dtype(rows: int) -> type[np.unsignedinteger]:
    """Return the smallest type that can count the rows."""
    return np.uint16 if rows < 1 << 16 else np.uint32


def bin_mask(owner: Randomness, rows: int, bins: int) -> NDArray[np.unsignedinteger]:
    """Return M, the mask of an owner's bins."""
    return uniform_ring(owner.child("bins"), count_dtype(rows), rows, bins)


def label_mask(label: Randomness, rows: int) -> NDArray[np.unsignedinteger]:
    """Return m, the mask of the label."""
    return uniform_ring(label.child("label"), count_dtype(rows), rows)


def counts_share(owner: Randomness, rows: int, bins: int) -> NDArray[np.unsignedinteger]:
    """Return the owner's share of Mᵀ·m. The dealer sends the label party the rest."""
    return uniform_ring(owner.child("counts"), count_dtype(rows), bins)


def uniform_ring(
    stream: Randomness, dtype: type[np.unsignedinteger], *shape: int
) -> NDArray[np.unsignedinteger]:
    """Return uniform ring elements of this type from the next bytes of the stream."""
    size = np.dtype(dtype).itemsize
    count = int(np.prod(shape))
    return stream.words(-(-count * size // 8)).view(dtype)[:count].reshape(shape)
