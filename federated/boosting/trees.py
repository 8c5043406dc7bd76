"""Gradient-boosted trees over cuts of columns, without I/O (Chen and Guestrin, *XGBoost*, KDD 2016;
histograms as its ``hist``).

Gradients and hessians of the logistic loss are rounded to integers with ``FRACTION`` fraction bits
before they are added, so sums are exact and independent of order: encrypted and plain sums are
equal. ``GradientSums`` hold the pair (gradient, hessian) in the last axis.

A tree grows level by level. Of two siblings only the one with fewer training rows is summed; the
other is the difference to the parent. Test rows come after the training rows: they follow the
splits and do not count in sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.boosting.split_candidates import SplitCandidates

FRACTION = 24
"""No bit of a float32 gradient is lost, and the sum of 2**24 rows fits a double."""

MIN_GAIN = 1e-6
"""A smaller gain is rounding: xgboost's ``kRtEps``."""

GradientSums = NDArray[np.int64]
Scores = NDArray[np.float64]
Owner = tuple[str, int]
"""The party that decides at a split, and its number for the split."""


@dataclass(frozen=True)
class TreeParameters:
    """How trees grow, with xgboost's names; ``min_rows``, the least rows of a leaf, is ours."""

    max_depth: int = 5
    learning_rate: float = 0.3
    reg_lambda: float = 1.0
    gamma: float = 0.0
    min_child_weight: float = 1.0
    min_rows: int = 20

    def gains(self, sums: GradientSums, totals: GradientSums) -> Scores:
        """Return the gain of each cut, (nodes, cuts); -inf where a side is too light. ``sums``: of
        the left sides, (nodes, cuts, 2).
        """
        left, whole = sums / 2.0**FRACTION, totals[:, None] / 2.0**FRACTION
        right = whole - left
        with np.errstate(divide="ignore", invalid="ignore"):
            gains = self._score(left) + self._score(right) - self._score(whole)
        heavy = (left[..., 1] >= self.min_child_weight) & (right[..., 1] >= self.min_child_weight)
        return np.where(heavy, gains, -np.inf)

    def weight(self, total: GradientSums) -> float:
        """Return what a leaf adds to the log-odds of its rows."""
        gradient, hessian = (total / 2.0**FRACTION).tolist()
        return float(-self.learning_rate * gradient / (hessian + self.reg_lambda))

    def _score(self, sums: Scores) -> Scores:
        score: Scores = sums[..., 0] ** 2 / (sums[..., 1] + self.reg_lambda)
        return score


def gradients(scores: Scores, bad: NDArray[np.bool_]) -> GradientSums:
    """Return gradient and hessian of the logistic loss at each row's log-odds, (rows, 2). Hessians
    are never 0.
    """
    probability = probabilities(scores)
    pairs = np.stack([probability - bad, probability * (1 - probability)], axis=1)
    rounded = np.rint(pairs * 2.0**FRACTION).astype(np.int64)
    rounded[:, 1] = np.maximum(rounded[:, 1], 1)
    return rounded


def probabilities(scores: Scores) -> Scores:
    """Return the probability of bad at these log-odds."""
    probability: Scores = 1 / (1 + np.exp(-scores))
    return probability


def base_score(bad: NDArray[np.bool_]) -> float:
    """Return the log-odds of the training rows, the score before the first tree."""
    share = float(bad.mean())
    return float(np.log(share / (1 - share)))


# --- The level that grows -------------------------------------------------------------------------


@dataclass(frozen=True)
class TreeLevel:
    """The nodes of one level. ``node`` (rows,): the node of each row, -1 in a finished leaf; the
    first ``train`` rows are training rows.
    """

    node: NDArray[np.int64]
    count: int
    train: int

    @classmethod
    def root(cls, rows: int, train: int) -> TreeLevel:
        """Return all rows in one node."""
        return cls(np.zeros(rows, np.int64), 1, train)

    @property
    def training(self) -> NDArray[np.int64]:
        """The node of each training row."""
        return self.node[: self.train]

    @property
    def siblings(self) -> int:
        """The number of nodes with the same parent: two, or one at the root."""
        return 1 if self.count == 1 else 2

    def sizes(self) -> NDArray[np.int64]:
        """Return the training rows in each node."""
        return np.bincount(self.training[self.training >= 0], minlength=self.count)

    def summed(self) -> NDArray[np.int64]:
        """Return the nodes whose sums are computed: the root, or the smaller child of each parent
        (the left one if equal).
        """
        if self.count == 1:
            return np.zeros(1, np.int64)
        left, right = self.sizes().reshape(-1, 2).T
        return 2 * np.arange(len(left)) + (right < left)

    def numbered_within(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the node of each training row as an index into these nodes, -1 for
        rows of others.
        """
        number = np.full(self.count + 1, -1, np.int64)  # the last place is that of -1
        number[nodes] = np.arange(len(nodes))
        return number[self.training]

    def rows_in(self, nodes: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which rows are in the nodes of a mask."""
        return np.append(nodes, False)[self.node]

    def divided(self, split: NDArray[np.bool_], left: NDArray[np.bool_]) -> TreeLevel:
        """Return the next level: two nodes for each split one, left before right. ``left``:
        (rows,).
        """
        number = np.append(np.cumsum(split) - 1, 0)
        node = np.where(self.rows_in(split), 2 * number[self.node] + ~left, -1)
        return TreeLevel(node, 2 * int(split.sum()), self.train)


def with_siblings(
    parents: GradientSums, made: GradientSums, summed: NDArray[np.int64]
) -> GradientSums:
    """Return the sums of all nodes of a level from those of their parents and of the smaller
    children, (parents, cuts, 2).
    """
    whole = np.empty((2 * len(parents), *parents.shape[1:]), np.int64)
    whole[summed] = made
    whole[summed ^ 1] = parents - made
    return whole


# --- Trees ----------------------------------------------------------------------------------------


@dataclass
class TreeNode:
    """A branch or a leaf. A branch holds the party that decides and its number for the split, not
    the condition.
    """

    rows: int
    weight: float = 0.0
    gain: float = 0.0
    party: str | None = None
    split: int | None = None
    left: int | None = None
    right: int | None = None


class GrowingTree:
    """One tree at the label party while it grows."""

    def __init__(self, pairs: GradientSums, rows: int, rule: TreeParameters) -> None:
        self.rule, self.pairs = rule, pairs
        self.frontier = TreeLevel.root(rows, len(pairs))
        self.nodes: list[TreeNode] = []
        self.added = np.zeros(rows)  # to each row's log-odds
        self.level = 0
        self._sums: GradientSums | None = None
        self._numbers = self._open(self.frontier)

    @property
    def open(self) -> bool:
        """Whether there are nodes that may be split."""
        return bool(self.frontier.count) and self.level < self.rule.max_depth

    def add_sums(self, made: GradientSums) -> None:
        """Add the sums of ``frontier.summed()``: of left sides, (nodes, cuts, 2)."""
        self._sums = (
            made if self._sums is None else with_siblings(self._sums, made, self.frontier.summed())
        )

    @property
    def sums(self) -> GradientSums:
        """The sums of all nodes of the level, (nodes, cuts, 2)."""
        assert self._sums is not None
        return self._sums

    def best(self, allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the best allowed cut of each node, -1 if no gain is large enough. Of equal gains
        the first wins. ``allowed``: (nodes, cuts).
        """
        gains = np.where(allowed, self.rule.gains(self.sums, self.totals), -np.inf)
        if not gains.shape[1]:
            return np.full(len(gains), -1, np.int64)
        cut = gains.argmax(axis=1)
        self._gains = gains[np.arange(len(gains)), cut]
        worth = (self._gains > MIN_GAIN) & (self._gains >= self.rule.gamma)
        return np.where(worth, cut, -1)

    def split(self, owners: list[Owner | None], left: NDArray[np.bool_]) -> None:
        """Split each node that has an owner. ``left``: the rows that go left."""
        split = np.array([owner is not None for owner in owners], np.bool_)
        before, self.frontier = self._numbers, self.frontier.divided(split, left)
        self.level += 1
        self._numbers = self._open(self.frontier)
        children = iter(self._numbers)
        for index, owner in enumerate(owners):
            if owner is not None:
                node = self.nodes[before[index]]
                node.party, node.split = owner
                node.gain = float(self._gains[index])
                node.left, node.right = next(children), next(children)
        self._sums = self.sums[split]

    def _open(self, frontier: TreeLevel) -> list[int]:
        """Add the nodes of a level; they are leaves until they are split."""
        inside, node = frontier.training >= 0, frontier.training
        self.totals = np.zeros((frontier.count, 2), np.int64)
        np.add.at(self.totals, node[inside], self.pairs[inside])
        first, weights = len(self.nodes), [self.rule.weight(total) for total in self.totals]
        self.nodes += [
            TreeNode(int(rows), weight)
            for rows, weight in zip(frontier.sizes(), weights, strict=True)
        ]
        self.added = np.where(frontier.node < 0, self.added, np.append(weights, 0.0)[frontier.node])
        return list(range(first, len(self.nodes)))


def apply_own_splits(
    cuts: SplitCandidates,
    frontier: TreeLevel,
    chosen: NDArray[np.int64],
    counts: NDArray[np.int64],
    party: str,
    splits: list[int],
) -> tuple[list[Owner | None], NDArray[np.bool_]]:
    """Split nodes by the label party's own cuts; return the owner of each node's split, and the
    rows that go left.

    ``chosen``: the cut of each node, -1 for none. ``counts``: as of ``SplitCandidates.counts``. The
    cuts are appended to ``splits``.
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


def grow_locally(
    cuts: SplitCandidates,
    pairs: GradientSums,
    rows: int,
    rule: TreeParameters,
    party: str,
    splits: list[int],
) -> GrowingTree:
    """Grow a tree from one party's own columns. The cuts it uses are appended to ``splits``."""
    tree = GrowingTree(pairs, rows, rule)
    while tree.open:
        frontier = tree.frontier
        tree.add_sums(
            cuts.sums(frontier.numbered_within(frontier.summed()), len(frontier.summed()), pairs)
        )
        counts = cuts.counts(frontier.training, frontier.count)
        chosen = tree.best(cuts.allowed(counts, frontier.sizes(), rule.min_rows))
        tree.split(*apply_own_splits(cuts, frontier, chosen, counts, party, splits))
    return tree
