"""Sums of points at the label party under pairwise masks (Bonawitz and others, *Practical Secure
Aggregation*, CCS 2017).

Each pair of departments shares a seed; one adds the mask drawn from it and the other subtracts it,
so that the masks cancel in the sum. The label party learns each row's sum of the departments'
points. With one department there is no mask: its points are that sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.randomness import Randomness
from federated.session import Session
from federated.vertical.messages import receive_array, send_array
from federated.vertical.points import Points

Ring32 = NDArray[np.uint32]


@dataclass(frozen=True)
class PairwiseMask:
    """A department's masks: the seed it shares with each other department, and whether it adds."""

    seeds: tuple[tuple[bytes, bool], ...]

    @classmethod
    async def agree(cls, session: Session, departments: Sequence[str]) -> PairwiseMask:
        """Agree on seeds: of two departments the one named first draws the seed."""
        seeds, me = [], departments.index(session.party)
        for peer in departments[me + 1 :]:
            seed = session.randomness.child(f"points/{peer}").bytes(32)
            await session.to(peer).send("points/seed", seed=seed)
            seeds.append((seed, True))
        for peer in departments[:me]:
            seeds.append(((await session.to(peer).receive("points/seed")).blob("seed", 32), False))
        return cls(tuple(seeds))

    def apply(self, points: Points, first: int) -> Ring32:
        """Return the masked points.

        Masks depend on the rows, from ``first`` on: a label party that requests from two
        departments
        different rows learns nothing.
        """
        hidden = points.astype(np.uint32)
        for seed, adds in self.seeds:
            words = (
                Randomness(seed, f"{first}+{len(points)}")
                .words(-(-len(points) // 2))
                .view(np.uint32)[: len(points)]
            )
            hidden = hidden + words if adds else hidden - words
        return hidden


async def send_masked_points(
    session: Session, label: str, pairwise_mask: PairwiseMask, points: Points, first: int = 0
) -> None:
    """At a department, send the masked points of the rows from ``first``. Once per row: equal rows
    have equal masks.
    """
    await send_array(session, label, "points/masked", pairwise_mask.apply(points, first))


async def sum_points(session: Session, departments: Sequence[str], own: Points) -> Points:
    """At the label party, return the sum of all parties' points."""
    total = own.astype(np.uint32)
    for name in departments:
        total = total + await receive_array(session, name, "points/masked", len(own), "uint32")
    return total.view(np.int32).astype(np.int64)
