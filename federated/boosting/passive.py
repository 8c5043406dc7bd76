"""A feature party's side of a joint forest: it sums what it cannot read, and answers for the splits that are its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.boosting.cuts import Cuts
from federated.boosting.he import SCHEMES, Ciphertexts, PublicKey
from federated.boosting.messages import GRADIENTS, SUMS, bits, malformed, packed, receive_ciphertexts, receive_key, send_ciphertexts, standing
from federated.boosting.packing import Packing
from federated.boosting.terms import Terms
from federated.boosting.trees import Frontier
from federated.channel import Message
from federated.errors import PeerFault
from federated.session import Session


@dataclass(frozen=True)
class Level:
    """What is offered of one level. ``allowed`` is in the tree's own order of cuts; ``told`` has a row for each group of siblings."""

    frontier: Frontier
    counts: NDArray[np.int64]
    told: NDArray[np.bool_]
    allowed: NDArray[np.bool_]


class Passive:
    """One training. ``splits``: this party's cuts that the forest uses; their places are all that the label party knows of them."""

    def __init__(self, session: Session, terms: Terms, active: str, cuts: Cuts, rows: int) -> None:
        self.splits: list[int] = []
        self._session, self._terms, self._channel = session, terms, session.to(active)
        self._cuts, self._rows = cuts, rows
        self._scheme = SCHEMES[terms.scheme]
        self._packing = Packing.of(cuts.train, self._scheme)

    async def run(self) -> None:
        """Take part in every tree that is not the label party's alone."""
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
        root = Frontier.root(self._rows, self._cuts.train)
        level = await asyncio.to_thread(self._level, root, np.ones((1, len(self._cuts)), np.bool_), order)
        for depth in range(self._terms.depth):
            await self._offer(level, loaded, order)
            await self._answer(level, order)
            if depth + 1 < self._terms.depth:
                level = await self._next(level, order)
            if not level.frontier.count:
                break

    # --- Each level ---------------------------------------------------------------------------------------------------------------

    def _level(self, frontier: Frontier, before: NDArray[np.bool_], order: NDArray[np.int64]) -> Level:
        """``before``: the cuts told of each group's parent."""
        counts, sizes = self._cuts.counts(frontier.training, frontier.count), frontier.sizes()
        shape = (len(before), frontier.siblings)
        told = self._cuts.told(counts.reshape(*shape, len(self._cuts)), sizes.reshape(shape), before, self._terms.least_summed)
        allowed = self._cuts.allowed(counts, sizes, self._terms.least_rows) & np.repeat(told, frontier.siblings, axis=0)
        return Level(frontier, counts, told, allowed[:, order])

    async def _offer(self, level: Level, loaded: object, order: NDArray[np.int64]) -> None:
        """Send the sums of the smaller children, and for every node which cuts leave enough rows on both sides."""
        joined = await asyncio.to_thread(self._sums, level, loaded, order)
        self._session.note("sums", joined.tobytes())  # as they are before the library draws randomness
        hidden = await asyncio.to_thread(self._key.fresh, joined)
        await self._channel.send("boosting/allowed", bits=packed(level.allowed))
        await send_ciphertexts(self._channel, SUMS, hidden, self._scheme)

    def _sums(self, level: Level, loaded: object, order: NDArray[np.int64]) -> Ciphertexts:
        summed = level.frontier.summed()
        sums = sealed_sums(self._key, loaded, self._cuts, level.frontier.only(summed), len(summed))
        sums[~level.told] = self._key.identity
        return self._key.join(sums[:, order].reshape(-1, self._scheme.width), self._packing.slots, self._packing.slot_bits)

    async def _answer(self, level: Level, order: NDArray[np.int64]) -> None:
        """Say which rows go left at the splits that were chosen here; those rows are then known to the label party."""
        message = await self._channel.receive("boosting/chosen")
        nodes, chosen = self._chosen(message, level)
        sides = []
        for node, cut, rows in zip(nodes, chosen, standing(level.frontier, nodes), strict=True):
            lowest = self._cuts.lowest(int(order[cut]), level.counts[node])
            self.splits.append(lowest)
            sides.append(self._cuts.left(lowest)[rows])
        await self._channel.send("boosting/sides", left=packed(np.concatenate([np.empty(0, np.bool_), *sides])))

    def _chosen(self, message: Message, level: Level) -> tuple[list[int], list[int]]:
        nodes = message.array("nodes", "uint32", [None]).astype(np.int64)
        cuts = message.array("cuts", "uint32", [len(nodes)]).astype(np.int64)
        if (np.diff(nodes) <= 0).any() or (nodes >= level.frontier.count).any() or (cuts >= len(self._cuts)).any():
            raise malformed(message, "a node or a cut that is none, or nodes out of order")
        if not level.allowed[nodes, cuts].all():
            sentence = f"{message.peer} chose a cut that leaves fewer than {self._terms.least_rows} rows on a side."
            raise PeerFault("split_not_allowed", sentence, peer=message.peer)
        return nodes.tolist(), cuts.tolist()

    async def _next(self, level: Level, order: NDArray[np.int64]) -> Level:
        """The next level, as the label party tells it."""
        frontier = level.frontier
        message = await self._channel.receive("boosting/level")
        split = bits(message, "split", frontier.count)
        inside = frontier.inside(split)
        left = np.zeros(self._rows, np.bool_)
        left[inside] = bits(message, "left", int(inside.sum()))
        divided = frontier.divided(split, left)
        if (divided.sizes() < self._terms.least_rows).any():
            raise PeerFault("split_not_allowed", f"{message.peer} made a node of fewer than {self._terms.least_rows} rows.", peer=message.peer)
        return await asyncio.to_thread(self._level, divided, level.told[np.flatnonzero(split) // frontier.siblings], order)


def sealed_sums(key: PublicKey, loaded: object, cuts: Cuts, node: NDArray[np.int64], nodes: int) -> Ciphertexts:
    """The encrypted sums of each cut's left side, (nodes, cuts, width): those of ``Cuts.sums``."""
    width = key.scheme.width
    if not len(cuts):
        return np.empty((nodes, 0, width), np.uint8)
    places, groups = cuts.groups(node)
    histogram = np.repeat(key.identity, nodes * cuts.width, axis=0)
    histogram[places] = key.sums(loaded, groups)
    running = key.running_sums(histogram, np.tile(cuts.starts, nodes))
    return running.reshape(nodes, cuts.width, width)[:, cuts.at]
