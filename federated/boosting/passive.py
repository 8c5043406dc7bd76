"""The passive (feature) party of a joint forest: it adds up ciphertexts it cannot read, and answers
for its own splits.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.boosting.he import SCHEMES, Ciphertexts, PublicKey
from federated.boosting.messages import (
    GRADIENTS,
    SUMS,
    malformed,
    pack_bits,
    receive_ciphertexts,
    receive_key,
    rows_of_nodes,
    send_ciphertexts,
    unpack_bits,
)
from federated.boosting.packing import Packing
from federated.boosting.split_candidates import SplitCandidates
from federated.boosting.terms import ForestTerms
from federated.boosting.trees import TreeLevel
from federated.channel import Message
from federated.errors import PeerFault
from federated.session import Session


@dataclass(frozen=True)
class Level:
    """What the party offers of one level. ``allowed`` is in the tree's own order of cuts;
    ``disclosable`` has a row for each group of siblings.
    """

    frontier: TreeLevel
    counts: NDArray[np.int64]
    disclosable: NDArray[np.bool_]
    allowed: NDArray[np.bool_]


class Passive:
    """One training. ``splits``: this party's cuts that the forest uses; the label party knows only
    their numbers.
    """

    def __init__(
        self,
        session: Session,
        terms: ForestTerms,
        active_party: str,
        cuts: SplitCandidates,
        rows: int,
    ) -> None:
        self.splits: list[int] = []
        self._session, self._terms, self._channel = session, terms, session.to(active_party)
        self._cuts, self._rows = cuts, rows
        self._scheme = SCHEMES[terms.scheme]
        self._packing = Packing.of(cuts.train, self._scheme)

    async def run(self) -> None:
        """Take part in every tree except the label party's local ones."""
        trees = range(self._terms.first_trees_local, self._terms.trees)
        if not trees:
            return
        await self._channel.send("boosting/cuts", count=len(self._cuts))
        self._key = await receive_key(self._channel, self._scheme)
        for number in trees:
            await self._tree(number)
            self._session.progress("training", (number + 1) / self._terms.trees)

    async def _tree(self, number: int) -> None:
        gradients = await receive_ciphertexts(self._channel, GRADIENTS, self._cuts.train, self._key)
        loaded = await asyncio.to_thread(self._key.load, gradients)
        order = self._session.randomness.child(f"order/{number}").permutation(len(self._cuts))
        root = TreeLevel.root(self._rows, self._cuts.train)
        level = await asyncio.to_thread(
            self._level, root, np.ones((1, len(self._cuts)), np.bool_), order
        )
        for depth in range(self._terms.max_depth):
            await self._offer(level, loaded, order)
            await self._answer(level, order)
            if depth + 1 < self._terms.max_depth:
                level = await self._next(level, order)
            if not level.frontier.count:
                break

    # --- Each level -------------------------------------------------------------------------------

    def _level(
        self, frontier: TreeLevel, before: NDArray[np.bool_], order: NDArray[np.int64]
    ) -> Level:
        """Build a level. ``before``: the cuts disclosed for each group's parent."""
        counts, sizes = self._cuts.counts(frontier.training, frontier.count), frontier.sizes()
        shape = (len(before), frontier.siblings)
        disclosable = self._cuts.disclosable(
            counts.reshape(*shape, len(self._cuts)),
            sizes.reshape(shape),
            before,
            self._terms.min_rows_summed,
        )
        allowed = self._cuts.allowed(counts, sizes, self._terms.min_rows) & np.repeat(
            disclosable, frontier.siblings, axis=0
        )
        return Level(frontier, counts, disclosable, allowed[:, order])

    async def _offer(self, level: Level, loaded: object, order: NDArray[np.int64]) -> None:
        """Send the sums of the smaller children, and for every node the cuts with enough rows on
        both sides.
        """
        joined = await asyncio.to_thread(self._sums, level, loaded, order)
        # As they are before the library draws randomness.
        self._session.record("sums", joined.tobytes())
        rerandomised = await asyncio.to_thread(self._key.rerandomise, joined)
        await self._channel.send("boosting/allowed", bits=pack_bits(level.allowed))
        await send_ciphertexts(self._channel, SUMS, rerandomised, self._scheme)

    def _sums(self, level: Level, loaded: object, order: NDArray[np.int64]) -> Ciphertexts:
        summed = level.frontier.summed()
        sums = encrypted_sums(
            self._key, loaded, self._cuts, level.frontier.numbered_within(summed), len(summed)
        )
        sums[~level.disclosable] = self._key.identity
        return self._key.join(
            sums[:, order].reshape(-1, self._scheme.width),
            self._packing.slots,
            self._packing.slot_bits,
        )

    async def _answer(self, level: Level, order: NDArray[np.int64]) -> None:
        """Send which rows go left at the chosen splits; the label party then knows these sides."""
        message = await self._channel.receive("boosting/chosen")
        nodes, chosen = self._chosen(message, level)
        sides = []
        for node, cut, rows in zip(
            nodes, chosen, rows_of_nodes(level.frontier, nodes), strict=True
        ):
            lowest = self._cuts.lowest(int(order[cut]), level.counts[node])
            self.splits.append(lowest)
            sides.append(self._cuts.left(lowest)[rows])
        await self._channel.send(
            "boosting/sides", left=pack_bits(np.concatenate([np.empty(0, np.bool_), *sides]))
        )

    def _chosen(self, message: Message, level: Level) -> tuple[list[int], list[int]]:
        nodes = message.array("nodes", "uint32", [None]).astype(np.int64)
        cuts = message.array("cuts", "uint32", [len(nodes)]).astype(np.int64)
        if (
            (np.diff(nodes) <= 0).any()
            or (nodes >= level.frontier.count).any()
            or (cuts >= len(self._cuts)).any()
        ):
            raise malformed(message, "an unknown node or cut, or nodes out of order")
        if not level.allowed[nodes, cuts].all():
            sentence = (
                f"{message.peer} chose a cut with fewer than {self._terms.min_rows} rows on a side."
            )
            raise PeerFault("split_not_allowed", sentence, peer=message.peer)
        return nodes.tolist(), cuts.tolist()

    async def _next(self, level: Level, order: NDArray[np.int64]) -> Level:
        """Receive the next level from the label party."""
        frontier = level.frontier
        message = await self._channel.receive("boosting/level")
        split = unpack_bits(message, "split", frontier.count)
        inside = frontier.rows_in(split)
        left = np.zeros(self._rows, np.bool_)
        left[inside] = unpack_bits(message, "left", int(inside.sum()))
        divided = frontier.divided(split, left)
        if (divided.sizes() < self._terms.min_rows).any():
            raise PeerFault(
                "split_not_allowed",
                f"{message.peer} made a node of fewer than {self._terms.min_rows} rows.",
                peer=message.peer,
            )
        return await asyncio.to_thread(
            self._level,
            divided,
            level.disclosable[np.flatnonzero(split) // frontier.siblings],
            order,
        )


def encrypted_sums(
    key: PublicKey, loaded: object, cuts: SplitCandidates, node: NDArray[np.int64], nodes: int
) -> Ciphertexts:
    """Return the encrypted sums of each cut's left side, (nodes, cuts, width): those of
    ``SplitCandidates.sums``.
    """
    width = key.scheme.width
    if not len(cuts):
        return np.empty((nodes, 0, width), np.uint8)
    indexes, groups = cuts.groups(node)
    histogram = np.repeat(key.identity, nodes * cuts.width, axis=0)
    histogram[indexes] = key.sums(loaded, groups)
    running = key.running_sums(histogram, np.tile(cuts.starts_column, nodes))
    return running.reshape(nodes, cuts.width, width)[:, cuts.at]
