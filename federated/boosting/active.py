"""The label party's side of a joint forest: it encrypts gradients, reads sums, and decides.

A split of another party is kept as that party and a number; what it asks, only its owner knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from federated.boosting.cuts import Cuts
from federated.boosting.he import SCHEMES, SecretKey
from federated.boosting.messages import GRADIENTS, SUMS, bits, packed, pieces, receive_ciphertexts, standing
from federated.boosting.packing import Packing
from federated.boosting.terms import MOST_BINS, Terms
from federated.boosting.trees import Growth, Node, Owner, Scores, Sums, base_of, gradients, grow_alone, own_splits
from federated.errors import PeerFault
from federated.session import Session


@dataclass
class Forest:
    """What the label party has in the end: trees, log-odds of all rows, its own cuts that are used."""

    base: float
    scores: Scores
    trees: list[list[Node]] = field(default_factory=list)
    splits: list[int] = field(default_factory=list)

    def add(self, growth: Growth) -> None:
        """Take in a grown tree."""
        self.trees.append(growth.nodes)
        self.scores = self.scores + growth.added


class Active:
    """One training. ``passives``: each feature party and how many columns it brings."""

    def __init__(self, session: Session, terms: Terms, passives: Mapping[str, int], cuts: Cuts, rows: int) -> None:
        self._session, self._terms, self._rule = session, terms, terms.rule()
        self._passives, self._own, self._rows = passives, cuts, rows
        self._scheme = SCHEMES[terms.scheme]
        self._packing = Packing.of(cuts.train, self._scheme)
        self._offered: dict[str, int] = {}  # cuts of each party

    async def run(self, bad: NDArray[np.bool_]) -> Forest:
        """Train. ``bad``: of the training rows."""
        base = base_of(bad)
        forest = Forest(base, np.full(self._rows, base))
        if self._terms.first_trees_local < self._terms.trees:
            await self._hand_out_key()
        numbers = dict.fromkeys(self._passives, 0)
        for number in range(self._terms.trees):
            pairs = gradients(forest.scores[: self._own.train], bad)
            self._session.note("gradients", pairs.tobytes())
            if number < self._terms.first_trees_local:
                forest.add(await asyncio.to_thread(grow_alone, self._own, pairs, self._rows, self._rule, self._session.party, forest.splits))
            else:
                forest.add(await self._grow(pairs, forest.splits, numbers))
            self._session.progress("training", (number + 1) / self._terms.trees)
        return forest

    async def _hand_out_key(self) -> None:
        data = await asyncio.to_thread(self._session.keep, "key", lambda: SecretKey.generate(self._scheme))
        self._key = await asyncio.to_thread(SecretKey, self._scheme, data)
        for peer, columns in self._passives.items():
            message = await self._session.to(peer).receive("boosting/cuts")
            self._offered[peer] = message.integer("count", most=(MOST_BINS + 1) * columns)
            await self._session.to(peer).send("boosting/key", key=self._key.public.to_bytes())

    # --- One tree -----------------------------------------------------------------------------------------------------------------

    async def _grow(self, pairs: Sums, splits: list[int], numbers: dict[str, int]) -> Growth:
        await self._send_gradients(pairs)
        growth = Growth(pairs, self._rows, self._rule)
        while growth.open:
            allowed = await self._sum(growth)
            frontier = growth.frontier
            counts = await asyncio.to_thread(self._own.counts, frontier.training, frontier.count)
            mine = self._own.allowed(counts, frontier.sizes(), self._rule.least_rows)
            chosen = growth.best(np.concatenate([mine, *allowed], axis=1))
            own = np.where(chosen < len(self._own), chosen, -1)
            owners, left = own_splits(self._own, frontier, own, counts, self._session.party, splits)
            await self._ask(growth, chosen, owners, left, numbers)
            growth.divide(owners, left)
            if growth.level < self._rule.depth:
                await self._tell(frontier.inside(np.array([each is not None for each in owners])), owners, left)
        return growth

    async def _send_gradients(self, pairs: Sums) -> None:
        values = self._packing.packed(pairs)
        for piece in pieces(len(values), self._scheme):
            sealed = await asyncio.to_thread(self._key.public.encrypt, values[piece])
            await asyncio.gather(*(self._session.to(peer).send(GRADIENTS, numbers=sealed) for peer in self._passives))

    async def _sum(self, growth: Growth) -> list[NDArray[np.bool_]]:
        """Give the tree everybody's sums; which cuts each feature party allows."""
        frontier, summed = growth.frontier, growth.frontier.summed()
        own = await asyncio.to_thread(self._own.sums, frontier.only(summed), len(summed), growth.pairs)
        heard = await asyncio.gather(*(self._hear(peer, frontier.count, len(summed)) for peer in self._passives))
        for peer, (_, sums) in zip(self._passives, heard, strict=True):
            self._session.note(f"sums of {peer}", sums.tobytes())
        growth.take(np.concatenate([own, *(sums for _, sums in heard)], axis=1))
        first = len(self._own)
        for (peer, count), (allowed, _) in zip(self._offered.items(), heard, strict=True):
            hessians = growth.sums[:, first : first + count, 1]
            if (allowed & ((hessians < 0) | (hessians > growth.totals[:, 1:]))).any():
                raise PeerFault("sums_impossible", f"{peer}'s sums are below nothing or above those of all rows.", peer=peer)
            first += count
        return [allowed for allowed, _ in heard]

    async def _hear(self, peer: str, nodes: int, summed: int) -> tuple[NDArray[np.bool_], Sums]:
        channel, count = self._session.to(peer), self._offered[peer]
        allowed = bits(await channel.receive("boosting/allowed"), "bits", nodes * count).reshape(nodes, count)
        sealed = await receive_ciphertexts(channel, SUMS, self._packing.ciphertexts(summed * count), self._key.public)
        values = await asyncio.to_thread(self._key.decrypt, sealed)
        try:
            sums = self._packing.opened(values, summed * count)
        except (ValueError, OverflowError) as error:
            raise PeerFault("sums_impossible", f"{peer}'s sums are none: {error}.", peer=peer) from error
        return allowed, sums.reshape(summed, count, 2)

    async def _ask(
        self, growth: Growth, chosen: NDArray[np.int64], owners: list[Owner | None], left: NDArray[np.bool_], numbers: dict[str, int]
    ) -> None:
        """Ask the owners of the other splits which rows go left."""
        first, asked = len(self._own), dict[str, tuple[list[int], list[int]]]()
        for peer, count in self._offered.items():
            nodes = np.flatnonzero((chosen >= first) & (chosen < first + count))
            asked[peer] = nodes.tolist(), chosen[nodes].tolist()
            cuts = (chosen[nodes] - first).astype(np.uint32)
            await self._session.to(peer).send("boosting/chosen", nodes=nodes.astype(np.uint32), cuts=cuts)
            first += count
        for peer, (listed, columns) in asked.items():
            rows = standing(growth.frontier, listed)
            message = await self._session.to(peer).receive("boosting/sides")
            sides = np.split(bits(message, "left", sum(map(len, rows))), np.cumsum([len(each) for each in rows])[:-1])
            for node, column, inside, side in zip(listed, columns, rows, sides, strict=False):
                left[inside] = side
                training = inside < self._own.train
                here, there = inside[side & training], int((~side & training).sum())
                if (growth.pairs[here].sum(axis=0) != growth.sums[node, column]).any() or min(len(here), there) < self._rule.least_rows:
                    raise PeerFault("split_differs", f"{peer} sends other rows left than it has summed, or too few.", peer=peer)
                owners[node] = (peer, numbers[peer])
                numbers[peer] += 1

    async def _tell(self, inside: NDArray[np.bool_], owners: list[Owner | None], left: NDArray[np.bool_]) -> None:
        """Tell everybody the next level: which nodes were split, and the sides of their rows."""
        split = packed(np.array([each is not None for each in owners]))
        for peer in self._passives:
            await self._session.to(peer).send("boosting/level", split=split, left=packed(left[inside]))
