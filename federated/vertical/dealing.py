"""What the dealer prepares, and how a party gets its share of it.

The dealer brings no data and sees none: it is told how many rows and bins there are, sends each party a seed, and the last one, the label party,
what the seeds leave to be corrected. It must not collude with a party: from what a party received and all seeds, the others' columns follow.

All parties' masks come from these streams:

    U        (rows, own columns)   hides a party's columns, for the whole training
    rho      (all columns)         a fresh share for each step: hides the weights
    a        (rows,)               a fresh share for each step: hides the scores' angle
    R        (rows,)               a fresh share for each step: hides the error
    shift    (all columns)         a fresh share for each step: hides what is truncated
    bins     (rows, own bins)      hides in which bin each row stands
    label    (rows,)               hides the label, where bad rows are counted
    counts   (own bins)            a share of the product of the two
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.randomness import Randomness
from federated.vertical.fixed import Shift, Words
from federated.vertical.sigmoid import TERMS, Angles, waves


@dataclass(frozen=True)
class Shape:
    """The public size of a training. ``columns`` by party, in the parties' order; the last party takes the corrections."""

    rows: int
    columns: Mapping[str, int]

    @property
    def total(self) -> int:
        """Columns of all parties together."""
        return sum(self.columns.values())

    @property
    def last(self) -> str:
        """Who takes the corrections."""
        return next(reversed(list(self.columns)))

    def span(self, party: str) -> slice:
        """Where a party's columns stand among all."""
        names = list(self.columns)
        start = sum(self.columns[name] for name in names[: names.index(party)])
        return slice(start, start + self.columns[party])


@dataclass(frozen=True)
class Step:
    """A party's shares for one step: ``rho`` (columns,), ``forward`` of U·ρ (rows,), ``angle`` (rows,), ``waves`` (8, rows), ``error`` R
    (rows,), ``backward`` of Uᵀ·R (columns,), ``shift`` (columns,)."""

    rho: Words
    forward: Words
    angle: Angles
    waves: Words
    error: Words
    backward: Words
    shift: Shift


@dataclass(frozen=True)
class Corrections:
    """What the last party has in the place of seeds."""

    forward: Words
    waves: Words
    backward: Words
    shifted: Words
    top: Words


def mask(seed: Randomness, rows: int, columns: int) -> Words:
    """U: what hides a party's columns."""
    return seed.child("columns").words(rows, columns)


def shares(seed: Randomness, shape: Shape, step: int, corrections: Corrections | None = None) -> Step:
    """A party's shares for one step: from its seed, and for the last party from the dealer's corrections."""
    stream = seed.child(f"step/{step}")
    rho, error, hidden = stream.words(shape.total), stream.words(shape.rows), stream.words(shape.total)
    angle = stream.words(-(-shape.rows // 4)).view(np.uint16)[: shape.rows]
    if corrections is None:
        words = stream.words
        corrections = Corrections(words(shape.rows), words(2 * TERMS, shape.rows), words(shape.total), words(shape.total), words(shape.total))
    shift = Shift(hidden, corrections.shifted, corrections.top)
    return Step(rho, corrections.forward, angle, corrections.waves, error, corrections.backward, shift)


def corrections(seeds: Mapping[str, Randomness], masks: Words, shape: Shape, step: int, bits: int) -> Corrections:
    """The last party's shares of U·ρ, the waves, Uᵀ·R and the shift by ``bits``: what is missing in the others'."""
    parts = {name: shares(seed, shape, step, _NONE if name == shape.last else None) for name, seed in seeds.items()}
    others = [each for name, each in parts.items() if name != shape.last]
    rho, error = _sum([each.rho for each in parts.values()]), _sum([each.error for each in parts.values()])
    angle, hidden = _sum([each.angle for each in parts.values()]), _sum([each.shift.mask for each in parts.values()])
    return Corrections(
        forward=masks @ rho - _sum([each.forward for each in others]),
        waves=waves(angle) - _sum([each.waves for each in others]),
        backward=np.einsum("n,nk->k", error, masks) - _sum([each.backward for each in others]),
        shifted=(hidden >> np.uint64(bits)) - _sum([each.shift.shifted for each in others]),
        top=(hidden >> np.uint64(63)) - _sum([each.shift.top for each in others]),
    )


_NOTHING = np.empty(0, np.uint64)
_NONE = Corrections(_NOTHING, _NOTHING, _NOTHING, _NOTHING, _NOTHING)


def _sum(parts: Sequence[NDArray[np.unsignedinteger]]) -> NDArray[np.unsignedinteger]:
    total = parts[0].copy()
    for each in parts[1:]:
        total += each
    return total


# --- Counts of bad rows -----------------------------------------------------------------------------------------------------------


def count_type(rows: int) -> type[np.unsignedinteger]:
    """The smallest words that hold a count of rows."""
    return np.uint16 if rows < 1 << 16 else np.uint32


def bins_mask(owner: Randomness, rows: int, bins: int) -> NDArray[np.unsignedinteger]:
    """M: what hides an owner's bins."""
    return narrow(owner.child("bins"), count_type(rows), rows, bins)


def label_mask(label: Randomness, rows: int) -> NDArray[np.unsignedinteger]:
    """m: what hides the label."""
    return narrow(label.child("label"), count_type(rows), rows)


def counts_share(owner: Randomness, rows: int, bins: int) -> NDArray[np.unsignedinteger]:
    """The owner's share of Mᵀ·m; the label party has the rest from the dealer."""
    return narrow(owner.child("counts"), count_type(rows), bins)


def narrow(stream: Randomness, kind: type[np.unsignedinteger], *shape: int) -> NDArray[np.unsignedinteger]:
    """Uniform words of this width: the stream's next bytes."""
    size = np.dtype(kind).itemsize
    count = int(np.prod(shape))
    return stream.words(-(-count * size // 8)).view(kind)[:count].reshape(shape)
