"""Boosted trees over cuts of columns (Chen and Guestrin, *XGBoost*, KDD 2016; histograms as its ``hist``): arithmetic without I/O.

Gradients and hessians of the logistic loss become integers with ``FRACTION`` fraction bits before anything is added, so that sums are exact and in
no order: a party that sums ciphertexts and one that sums numbers get the same. ``Sums`` hold the pair in their last axis.

A tree grows level by level. Of two siblings only the one with fewer training rows is summed; the other is their parent less it. Rows to test with
walk along and weigh nothing: they come after the training rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.boosting.cuts import Cuts

FRACTION = 24
"""Of a float32 gradient no bit is lost; 2**24 rows of them fit a double."""

LEAST_GAIN = 1e-6
"""A smaller gain is rounding: xgboost's ``kRtEps``."""

Sums = NDArray[np.int64]
Scores = NDArray[np.float64]
Owner = tuple[str, int]
"""Who decides at a split, and that party's number for it."""


@dataclass(frozen=True)
class Rule:
    """How trees grow; xgboost's names are ``max_depth``, ``eta``, ``lambda``, ``gamma``, ``min_child_weight``. ``least_rows`` it has not."""

    depth: int = 5
    rate: float = 0.3
    penalty: float = 1.0
    gamma: float = 0.0
    least_weight: float = 1.0
    least_rows: int = 20

    def gains(self, sums: Sums, totals: Sums) -> Scores:
        """The loss that each cut saves, (nodes, cuts); -inf where a side is too light. ``sums`` (nodes, cuts, 2) are of the left sides."""
        left, whole = sums / 2.0**FRACTION, totals[:, None] / 2.0**FRACTION
        right = whole - left
        with np.errstate(divide="ignore", invalid="ignore"):
            gains = self._score(left) + self._score(right) - self._score(whole)
        heavy = (left[..., 1] >= self.least_weight) & (right[..., 1] >= self.least_weight)
        return np.where(heavy, gains, -np.inf)

    def weight(self, total: Sums) -> float:
        """What a leaf adds to the log-odds of its rows."""
        gradient, hessian = (total / 2.0**FRACTION).tolist()
        return float(-self.rate * gradient / (hessian + self.penalty))

    def _score(self, sums: Scores) -> Scores:
        score: Scores = sums[..., 0] ** 2 / (sums[..., 1] + self.penalty)
        return score


def gradients(scores: Scores, bad: NDArray[np.bool_]) -> Sums:
    """First and second derivative of the logistic loss at each row's log-odds, (rows, 2). A hessian is never 0."""
    chance = chances(scores)
    pairs = np.stack([chance - bad, chance * (1 - chance)], axis=1)
    rounded = np.rint(pairs * 2.0**FRACTION).astype(np.int64)
    rounded[:, 1] = np.maximum(rounded[:, 1], 1)
    return rounded


def chances(scores: Scores) -> Scores:
    """The probability of bad at these log-odds."""
    chance: Scores = 1 / (1 + np.exp(-scores))
    return chance


def base_of(bad: NDArray[np.bool_]) -> float:
    """The log-odds before the first tree: those of the training rows."""
    share = float(bad.mean())
    return float(np.log(share / (1 - share)))


# --- The level that grows -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Frontier:
    """The nodes of one level and who stands in them. ``node``: (rows,), -1 in a finished leaf; the first ``train`` rows count."""

    node: NDArray[np.int64]
    count: int
    train: int

    @classmethod
    def root(cls, rows: int, train: int) -> Frontier:
        """All rows in one node."""
        return cls(np.zeros(rows, np.int64), 1, train)

    @property
    def training(self) -> NDArray[np.int64]:
        """The node of each training row."""
        return self.node[: self.train]

    @property
    def siblings(self) -> int:
        """How many nodes have one parent: two, but for the root."""
        return 1 if self.count == 1 else 2

    def sizes(self) -> NDArray[np.int64]:
        """Training rows in each node."""
        return np.bincount(self.training[self.training >= 0], minlength=self.count)

    def summed(self) -> NDArray[np.int64]:
        """The nodes whose sums are made: the root, or the smaller child of each parent (the left one where they are equal)."""
        if self.count == 1:
            return np.zeros(1, np.int64)
        left, right = self.sizes().reshape(-1, 2).T
        return 2 * np.arange(len(left)) + (right < left)

    def only(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The node of each training row, counted within these nodes; -1 for rows of others."""
        number = np.full(self.count + 1, -1, np.int64)  # the last place is that of -1
        number[nodes] = np.arange(len(nodes))
        return number[self.training]

    def inside(self, nodes: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The rows that stand in these nodes, for a mask of nodes."""
        return np.append(nodes, False)[self.node]

    def divided(self, split: NDArray[np.bool_], left: NDArray[np.bool_]) -> Frontier:
        """The next level: two nodes for each that is split, left before right. ``left``: (rows,)."""
        number = np.append(np.cumsum(split) - 1, 0)
        node = np.where(self.inside(split), 2 * number[self.node] + ~left, -1)
        return Frontier(node, 2 * int(split.sum()), self.train)


def completed(parents: Sums, made: Sums, summed: NDArray[np.int64]) -> Sums:
    """The sums of all nodes of a level from those of their parents and of the smaller children: (parents, cuts, 2) each."""
    whole = np.empty((2 * len(parents), *parents.shape[1:]), np.int64)
    whole[summed] = made
    whole[summed ^ 1] = parents - made
    return whole


# --- Trees --------------------------------------------------------------------------------------------------------------------------------


@dataclass
class Node:
    """A branch or a leaf. A branch knows whose split decides and that party's number for it, not what it asks."""

    rows: int
    weight: float = 0.0
    gain: float = 0.0
    party: str | None = None
    split: int | None = None
    left: int | None = None
    right: int | None = None


class Growth:
    """One tree at the label party, while it grows."""

    def __init__(self, pairs: Sums, rows: int, rule: Rule) -> None:
        self.rule, self.pairs = rule, pairs
        self.frontier = Frontier.root(rows, len(pairs))
        self.nodes: list[Node] = []
        self.added = np.zeros(rows)  # to each row's log-odds
        self.level = 0
        self._sums: Sums | None = None
        self._numbers = self._open(self.frontier)

    @property
    def open(self) -> bool:
        """Whether there are nodes that might be split."""
        return bool(self.frontier.count) and self.level < self.rule.depth

    def take(self, made: Sums) -> None:
        """Take the sums of ``frontier.summed()``: (nodes, cuts, 2), of left sides."""
        self._sums = made if self._sums is None else completed(self._sums, made, self.frontier.summed())

    @property
    def sums(self) -> Sums:
        """The sums of all nodes of the level: (nodes, cuts, 2)."""
        assert self._sums is not None
        return self._sums

    def best(self, allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The best cut of each node among those that are allowed, (nodes, cuts); -1 where none is worth it. The first of equals."""
        gains = np.where(allowed, self.rule.gains(self.sums, self.totals), -np.inf)
        if not gains.shape[1]:
            return np.full(len(gains), -1, np.int64)
        cut = gains.argmax(axis=1)
        self._gains = gains[np.arange(len(gains)), cut]
        worth = (self._gains > LEAST_GAIN) & (self._gains >= self.rule.gamma)
        return np.where(worth, cut, -1)

    def divide(self, owners: list[Owner | None], left: NDArray[np.bool_]) -> None:
        """Split each node that has an owner; ``left``: the rows that go there."""
        split = np.array([each is not None for each in owners], np.bool_)
        before, self.frontier = self._numbers, self.frontier.divided(split, left)
        self.level += 1
        self._numbers = self._open(self.frontier)
        children = iter(self._numbers)
        for place, owner in enumerate(owners):
            if owner is not None:
                node = self.nodes[before[place]]
                node.party, node.split = owner
                node.gain = float(self._gains[place])
                node.left, node.right = next(children), next(children)
        self._sums = self.sums[split]

    def _open(self, frontier: Frontier) -> list[int]:
        """Add a level's nodes, as the leaves they are until they are split."""
        inside, node = frontier.training >= 0, frontier.training
        self.totals = np.zeros((frontier.count, 2), np.int64)
        np.add.at(self.totals, node[inside], self.pairs[inside])
        first, weights = len(self.nodes), [self.rule.weight(total) for total in self.totals]
        self.nodes += [Node(int(rows), weight) for rows, weight in zip(frontier.sizes(), weights, strict=True)]
        self.added = np.where(frontier.node < 0, self.added, np.append(weights, 0.0)[frontier.node])
        return list(range(first, len(self.nodes)))


def own_splits(
    cuts: Cuts, frontier: Frontier, chosen: NDArray[np.int64], counts: NDArray[np.int64], party: str, splits: list[int]
) -> tuple[list[Owner | None], NDArray[np.bool_]]:
    """Split nodes by the label party's own cuts: the owner of each node's split, and the rows that go left.

    ``chosen``: for each node the cut, -1 for none; ``counts`` as of ``Cuts.counts``. The cuts are added to ``splits``.
    """
    owners: list[Owner | None] = [None] * frontier.count
    left = np.zeros(len(frontier.node), np.bool_)
    for node in np.flatnonzero(chosen >= 0).tolist():
        cut = cuts.lowest(int(chosen[node]), counts[node])
        owners[node] = (party, len(splits))
        splits.append(cut)
        inside = frontier.node == node
        left[inside] = cuts.left(cut)[inside]
    return owners, left


def grow_alone(cuts: Cuts, pairs: Sums, rows: int, rule: Rule, party: str, splits: list[int]) -> Growth:
    """A tree from one party's own columns. The cuts it uses are added to ``splits``."""
    growth = Growth(pairs, rows, rule)
    while growth.open:
        frontier = growth.frontier
        growth.take(cuts.sums(frontier.only(frontier.summed()), len(frontier.summed()), pairs))
        counts = cuts.counts(frontier.training, frontier.count)
        chosen = growth.best(cuts.allowed(counts, frontier.sizes(), rule.least_rows))
        growth.divide(*own_splits(cuts, frontier, chosen, counts, party, splits))
    return growth
