"""The active (label) party of a joint forest: it encrypts gradients, decrypts sums, and chooses
splits.

A split of another party is stored as that party and a number; only its owner knows column and
threshold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from federated.boosting.he import SCHEMES, SecretKey
from federated.boosting.messages import (
    GRADIENTS,
    SUMS,
    message_slices,
    pack_bits,
    receive_ciphertexts,
    rows_of_nodes,
    unpack_bits,
)
from federated.boosting.packing import Packing
from federated.boosting.split_candidates import SplitCandidates
from federated.boosting.terms import MAX_BINS, ForestTerms
from federated.boosting.trees import (
    GradientSums,
    GrowingTree,
    Owner,
    Scores,
    TreeNode,
    apply_own_splits,
    base_score,
    gradients,
    grow_locally,
)
from federated.errors import PeerFault
from federated.session import Session


@dataclass
class Forest:
    """The label party's result: trees, log-odds of all rows, and its own cuts that are used."""

    base: float
    scores: Scores
    trees: list[list[TreeNode]] = field(default_factory=list)
    splits: list[int] = field(default_factory=list)

    def add(self, tree: GrowingTree) -> None:
        """Add a grown tree."""
        self.trees.append(tree.nodes)
        self.scores = self.scores + tree.added


class Active:
    """One training. ``passives``: each feature party and its number of columns."""

    def __init__(
        self,
        session: Session,
        terms: ForestTerms,
        passives: Mapping[str, int],
        cuts: SplitCandidates,
        rows: int,
    ) -> None:
        self._session, self._terms, self._rule = session, terms, terms.rule()
        self._passives, self._own, self._rows = passives, cuts, rows
        self._scheme = SCHEMES[terms.scheme]
        self._packing = Packing.of(cuts.train, self._scheme)
        self._offered: dict[str, int] = {}  # cuts of each party

    async def run(self, bad: NDArray[np.bool_]) -> Forest:
        """Train. ``bad``: the labels of the training rows."""
        base = base_score(bad)
        forest = Forest(base, np.full(self._rows, base))
        if self._terms.first_trees_local < self._terms.trees:
            await self._send_key()
        numbers = dict.fromkeys(self._passives, 0)
        for number in range(self._terms.trees):
            pairs = gradients(forest.scores[: self._own.train], bad)
            self._session.record("gradients", pairs.tobytes())
            if number < self._terms.first_trees_local:
                forest.add(
                    await asyncio.to_thread(
                        grow_locally,
                        self._own,
                        pairs,
                        self._rows,
                        self._rule,
                        self._session.party,
                        forest.splits,
                    )
                )
            else:
                forest.add(await self._grow(pairs, forest.splits, numbers))
            self._session.progress("training", (number + 1) / self._terms.trees)
        return forest

    async def _send_key(self) -> None:
        data = await asyncio.to_thread(
            self._session.persist, "key", lambda: SecretKey.generate(self._scheme)
        )
        self._key = await asyncio.to_thread(SecretKey, self._scheme, data)
        for peer, columns in self._passives.items():
            message = await self._session.to(peer).receive("boosting/cuts")
            self._offered[peer] = message.integer("count", maximum=(MAX_BINS + 1) * columns)
            await self._session.to(peer).send("boosting/key", key=self._key.public.to_bytes())

    # --- One tree ---------------------------------------------------------------------------------

    async def _grow(
        self, pairs: GradientSums, splits: list[int], numbers: dict[str, int]
    ) -> GrowingTree:
        await self._send_gradients(pairs)
        tree = GrowingTree(pairs, self._rows, self._rule)
        while tree.open:
            allowed = await self._collect_sums(tree)
            frontier = tree.frontier
            counts = await asyncio.to_thread(self._own.counts, frontier.training, frontier.count)
            own_allowed = self._own.allowed(counts, frontier.sizes(), self._rule.min_rows)
            chosen = tree.best(np.concatenate([own_allowed, *allowed], axis=1))
            own = np.where(chosen < len(self._own), chosen, -1)
            owners, left = apply_own_splits(
                self._own, frontier, own, counts, self._session.party, splits
            )
            await self._request_splits(tree, chosen, owners, left, numbers)
            tree.split(owners, left)
            if tree.level < self._rule.max_depth:
                await self._announce_level(
                    frontier.rows_in(np.array([owner is not None for owner in owners])),
                    owners,
                    left,
                )
        return tree

    async def _send_gradients(self, pairs: GradientSums) -> None:
        values = self._packing.packed(pairs)
        for piece in message_slices(len(values), self._scheme):
            ciphertexts = await asyncio.to_thread(self._key.public.encrypt, values[piece])
            await asyncio.gather(
                *(
                    self._session.to(peer).send(GRADIENTS, numbers=ciphertexts)
                    for peer in self._passives
                )
            )

    async def _collect_sums(self, tree: GrowingTree) -> list[NDArray[np.bool_]]:
        """Add all parties' sums to the tree; return which cuts each feature party allows."""
        frontier, summed = tree.frontier, tree.frontier.summed()
        own = await asyncio.to_thread(
            self._own.sums, frontier.numbered_within(summed), len(summed), tree.pairs
        )
        received = await asyncio.gather(
            *(self._receive_sums(peer, frontier.count, len(summed)) for peer in self._passives)
        )
        for peer, (_, sums) in zip(self._passives, received, strict=True):
            self._session.record(f"sums of {peer}", sums.tobytes())
        tree.add_sums(np.concatenate([own, *(sums for _, sums in received)], axis=1))
        first = len(self._own)
        for (peer, count), (allowed, _) in zip(self._offered.items(), received, strict=True):
            hessians = tree.sums[:, first : first + count, 1]
            if (allowed & ((hessians < 0) | (hessians > tree.totals[:, 1:]))).any():
                raise PeerFault(
                    "sums_impossible",
                    f"{peer}'s sums are negative or exceed the totals.",
                    peer=peer,
                )
            first += count
        return [allowed for allowed, _ in received]

    async def _receive_sums(
        self, peer: str, nodes: int, summed: int
    ) -> tuple[NDArray[np.bool_], GradientSums]:
        channel, count = self._session.to(peer), self._offered[peer]
        allowed = unpack_bits(
            await channel.receive("boosting/allowed"), "bits", nodes * count
        ).reshape(nodes, count)
        ciphertexts = await receive_ciphertexts(
            channel, SUMS, self._packing.ciphertexts(summed * count), self._key.public
        )
        values = await asyncio.to_thread(self._key.decrypt, ciphertexts)
        try:
            sums = self._packing.opened(values, summed * count)
        except (ValueError, OverflowError) as error:
            raise PeerFault(
                "sums_impossible", f"{peer}'s sums are malformed: {error}.", peer=peer
            ) from error
        return allowed, sums.reshape(summed, count, 2)

    async def _request_splits(
        self,
        tree: GrowingTree,
        chosen: NDArray[np.int64],
        owners: list[Owner | None],
        left: NDArray[np.bool_],
        numbers: dict[str, int],
    ) -> None:
        """Request from the owners of the other splits which rows go left, and check the answers
        against the sums.
        """
        first, requested = len(self._own), dict[str, tuple[list[int], list[int]]]()
        for peer, count in self._offered.items():
            nodes = np.flatnonzero((chosen >= first) & (chosen < first + count))
            requested[peer] = nodes.tolist(), chosen[nodes].tolist()
            cuts = (chosen[nodes] - first).astype(np.uint32)
            await self._session.to(peer).send(
                "boosting/chosen", nodes=nodes.astype(np.uint32), cuts=cuts
            )
            first += count
        for peer, (nodes_of_peer, columns) in requested.items():
            rows = rows_of_nodes(tree.frontier, nodes_of_peer)
            message = await self._session.to(peer).receive("boosting/sides")
            sides = np.split(
                unpack_bits(message, "left", sum(map(len, rows))),
                np.cumsum([len(node_rows) for node_rows in rows])[:-1],
            )
            for node, column, inside, side in zip(
                nodes_of_peer, columns, rows, sides, strict=False
            ):
                left[inside] = side
                training = inside < self._own.train
                here, there = inside[side & training], int((~side & training).sum())
                if (tree.pairs[here].sum(axis=0) != tree.sums[node, column]).any() or min(
                    len(here), there
                ) < self._rule.min_rows:
                    raise PeerFault(
                        "split_differs",
                        f"{peer} sends other rows to the left than it has summed, or too few.",
                        peer=peer,
                    )
                owners[node] = (peer, numbers[peer])
                numbers[peer] += 1

    async def _announce_level(
        self, inside: NDArray[np.bool_], owners: list[Owner | None], left: NDArray[np.bool_]
    ) -> None:
        """Announce the next level: which nodes were split, and the sides of their rows."""
        split = pack_bits(np.array([owner is not None for owner in owners]))
        for peer in self._passives:
            await self._session.to(peer).send(
                "boosting/level", split=split, left=pack_bits(left[inside])
            )
