"""Sums of points at the label party, to which each department adds its own under masks.

Every two departments share a seed; one adds what is drawn from it and the other subtracts it, so that masks vanish in the sum of all. The label
party learns what the departments' points add up to for each row. A single department has nobody to hide behind: its points are that sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.randomness import Randomness
from federated.session import Session
from federated.vertical.messages import receive_words, send_words
from federated.vertical.points import Points

Words = NDArray[np.uint32]


@dataclass(frozen=True)
class Veil:
    """A department's masks: the seed it shares with each other department, and whether it adds."""

    seeds: tuple[tuple[bytes, bool], ...]

    @classmethod
    async def agree(cls, session: Session, departments: Sequence[str]) -> Veil:
        """Of every two departments the one that is named first draws their seed."""
        seeds, me = [], departments.index(session.party)
        for peer in departments[me + 1 :]:
            seed = session.randomness.child(f"points/{peer}").bytes(32)
            await session.to(peer).send("points/seed", seed=seed)
            seeds.append((seed, True))
        for peer in departments[:me]:
            seeds.append(((await session.to(peer).receive("points/seed")).blob("seed", 32), False))
        return cls(tuple(seeds))

    def over(self, points: Points, first: int) -> Words:
        """The points under this party's masks.

        The masks belong to exactly these rows, from ``first``: a label party that asks two departments for different rows learns nothing.
        """
        hidden = points.astype(np.uint32)
        for seed, adds in self.seeds:
            words = Randomness(seed, f"{first}+{len(points)}").words(-(-len(points) // 2)).view(np.uint32)[: len(points)]
            hidden = hidden + words if adds else hidden - words
        return hidden


async def add_points(session: Session, label: str, veil: Veil, points: Points, first: int = 0) -> None:
    """As a department, send the points of the rows from ``first`` under masks. Once for a row: the same rows have the same masks."""
    await send_words(session, label, "points/masked", veil.over(points, first))


async def sum_points(session: Session, departments: Sequence[str], own: Points) -> Points:
    """As the label party, what all parties' points add up to."""
    total = own.astype(np.uint32)
    for name in departments:
        total = total + await receive_words(session, name, "points/masked", len(own), "uint32")
    return total.view(np.int32).astype(np.int64)
