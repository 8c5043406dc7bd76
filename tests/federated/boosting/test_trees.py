"""Trees are those of plain xgboost on the same bins: each split, each leaf, each score."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import xgboost
from numpy.typing import NDArray

from federated.boosting.split_candidates import SplitCandidates
from federated.boosting.trees import (
    FRACTION,
    GrowingTree,
    TreeLevel,
    TreeNode,
    TreeParameters,
    base_score,
    gradients,
    grow_locally,
    with_siblings,
)
from federated.errors import BadInput


def table(rows: int, columns: int, seed: int) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_]]:
    source = np.random.default_rng(seed)
    values = source.normal(size=(rows, columns))
    log_odds = (
        values[:, 0] - 0.7 * values[:, 1] * values[:, 2] + 0.5 * np.sin(3 * values[:, -1]) - 0.8
    )
    return {f"c{index}": values[:, index] for index in range(columns)}, source.random(rows) < 1 / (
        1 + np.exp(-log_odds)
    )


def boosted(
    cuts: SplitCandidates, bad: NDArray[np.bool_], rows: int, rule: TreeParameters, trees: int
) -> tuple[list[list[TreeNode]], list[int], NDArray[np.float64]]:
    splits: list[int] = []
    scores, grown = np.full(rows, base_score(bad)), []
    for _ in range(trees):
        tree = grow_locally(cuts, gradients(scores[: len(bad)], bad), rows, rule, "bank", splits)
        scores = scores + tree.added
        grown.append(tree.nodes)
    return grown, splits, scores


def plain(
    codes: NDArray[np.float64], bad: NDArray[np.bool_], rule: TreeParameters, trees: int
) -> xgboost.Booster:
    """xgboost on the bins' numbers."""
    parameters = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "max_bin": 256,
        "max_depth": rule.max_depth,
        "eta": rule.learning_rate,
        "lambda": rule.reg_lambda,
        "gamma": rule.gamma,
        "min_child_weight": rule.min_child_weight,
        "base_score": float(bad.mean()),
        "nthread": 1,
    }
    return xgboost.train(parameters, xgboost.DMatrix(codes, bad), trees)


def theirs(node: dict[str, Any]) -> Any:
    """A tree of xgboost as nested (column, highest bin that goes left, left, right) or a leaf's
    weight.
    """
    if "leaf" in node:
        return node["leaf"]
    children = {child["nodeid"]: child for child in node["children"]}
    return (
        int(node["split"][1:]),
        int(np.ceil(node["split_condition"])) - 1,
        theirs(children[node["yes"]]),
        theirs(children[node["no"]]),
    )


def ours(nodes: list[TreeNode], splits: list[int], cuts: SplitCandidates, index: int = 0) -> Any:
    node = nodes[index]
    if node.split is None or node.left is None or node.right is None:
        return node.weight
    described = cuts.describe(splits[node.split])
    return (
        int(described["column"][1:]),
        described["code"],
        ours(nodes, splits, cuts, node.left),
        ours(nodes, splits, cuts, node.right),
    )


def require_same(own: Any, other: Any, codes: NDArray[np.float64], rows: NDArray[np.bool_]) -> int:
    """The same columns, the same rows on either side, the same weights; how many splits were
    compared. xgboost may name an empty bin.
    """
    if not isinstance(own, tuple) or not isinstance(other, tuple):
        assert own == pytest.approx(other, abs=2e-5)
        return 0
    assert own[0] == other[0]
    left, right = (rows & (codes[:, split[0]] <= split[1]) for split in (own, other))
    assert (left == right).all()
    return (
        1
        + require_same(own[2], other[2], codes, left)
        + require_same(own[3], other[3], codes, rows & ~left)
    )


@pytest.mark.parametrize(
    "rule",
    [
        TreeParameters(min_rows=1),
        TreeParameters(max_depth=3, learning_rate=0.1, reg_lambda=0.0, min_rows=1),
        TreeParameters(max_depth=6, reg_lambda=5.0, gamma=1.5, min_rows=1),
        TreeParameters(max_depth=4, min_child_weight=20.0, learning_rate=1.0, min_rows=1),
    ],
)
def test_every_split_leaf_and_score_is_that_of_xgboost_on_the_same_bins(
    rule: TreeParameters,
) -> None:
    columns, bad = table(1500, 6, 1)
    cuts = SplitCandidates.of(columns, 1500, max_bins=16, min_rows=20)
    codes = np.stack([bins.codes(columns[bins.column]) for bins in cuts.bins], axis=1).astype(
        np.float64
    )
    booster = plain(codes, bad, rule, 5)
    grown, splits, scores = boosted(cuts, bad, 1500, rule, 5)
    everybody, compared = np.ones(1500, np.bool_), 0
    for nodes, dumped in zip(grown, booster.get_dump(dump_format="json"), strict=True):
        compared += require_same(
            ours(nodes, splits, cuts), theirs(json.loads(dumped)), codes, everybody
        )
    assert compared > 25
    assert np.abs(scores - booster.predict(xgboost.DMatrix(codes), output_margin=True)).max() < 1e-4


def test_missing_values_and_texts_are_those_of_xgboost_too() -> None:
    """A missing number is the highest bin; a text is one column for each of its values."""
    columns, bad = table(1500, 3, 2)
    source = np.random.default_rng(5)
    columns["c1"][source.random(1500) < 0.2] = np.nan
    categories = np.array(["owner", "rent", "parents", None], object)[
        source.choice(4, 1500, p=[0.4, 0.3, 0.2, 0.1])
    ]
    bad = bad ^ (categories == "rent") & (source.random(1500) < 0.4)
    cuts = SplitCandidates.of({**columns, "c3": categories}, 1500, max_bins=16, min_rows=20)
    text = cuts.bins[3]
    assert text.names == ["owner", "parents", "rent", "missing"]
    numbers = [bins.codes(columns[bins.column]) for bins in cuts.bins[:3]]
    codes = np.stack(
        [*numbers, *(text.codes(categories) != code for code in range(4))], axis=1
    ).astype(np.float64)
    rule = TreeParameters(min_rows=1)
    booster = plain(codes, bad, rule, 4)
    grown, splits, scores = boosted(cuts, bad, 1500, rule, 4)
    assert np.abs(scores - booster.predict(xgboost.DMatrix(codes), output_margin=True)).max() < 1e-4
    asked = {cuts.describe(split)["column"] for split in splits}
    assert {"c1", "c3"} <= asked
    assert sum(len(nodes) for nodes in grown) == sum(
        dump.count("nodeid") for dump in booster.get_dump(dump_format="json")
    )


# --- Rules ----------------------------------------------------------------------------------------


def test_no_leaf_has_fewer_rows_than_the_least() -> None:
    columns, bad = table(900, 5, 3)
    cuts = SplitCandidates.of(columns, 900, max_bins=32, min_rows=10)
    grown, _, _ = boosted(
        cuts, bad, 900, TreeParameters(max_depth=6, min_child_weight=0.0, min_rows=40), 4
    )
    leaves = [node.rows for nodes in grown for node in nodes if node.split is None]
    assert min(leaves) >= 40
    assert all(sum(node.rows for node in nodes if node.split is None) == 900 for nodes in grown)
    free, _, _ = boosted(
        cuts, bad, 900, TreeParameters(max_depth=6, min_child_weight=0.0, min_rows=1), 4
    )
    assert min(node.rows for nodes in free for node in nodes) < 40


def test_the_smaller_childs_sums_complete_the_siblings() -> None:
    columns, bad = table(400, 4, 4)
    cuts = SplitCandidates.of(columns, 400, max_bins=8, min_rows=10)
    pairs = gradients(np.zeros(400), bad)
    root = TreeLevel.root(400, 400)
    whole = cuts.sums(root.training, 1, pairs)
    level = root.divided(np.ones(1, np.bool_), cuts.left(2))
    summed = level.summed()
    assert level.sizes()[summed[0]] == level.sizes().min()
    made = cuts.sums(level.numbered_within(summed), 1, pairs)
    assert (with_siblings(whole, made, summed) == cuts.sums(level.training, 2, pairs)).all()


def test_rows_to_test_with_walk_along_and_weigh_nothing() -> None:
    columns, bad = table(1000, 4, 5)
    train = 700
    cuts = SplitCandidates.of(columns, train, max_bins=16, min_rows=20)
    grown, splits, scores = boosted(cuts, bad[:train], 1000, TreeParameters(), 3)
    alone = SplitCandidates.of(
        {name: values[:train] for name, values in columns.items()}, train, max_bins=16, min_rows=20
    )
    again, same, fewer = boosted(alone, bad[:train], train, TreeParameters(), 3)
    assert (grown, splits) == (again, same)
    assert (scores[:train] == fewer).all()
    walked = np.full(1000, base_score(bad[:train]))
    for nodes in grown:
        for row in range(1000):
            index = 0
            while (node := nodes[index]).split is not None:
                assert node.left is not None
                assert node.right is not None
                index = node.left if cuts.left(splits[node.split])[row] else node.right
            walked[row] += node.weight
    assert np.abs(walked - scores).max() < 1e-12


def test_gradients_are_integers_whose_sums_are_exact_in_any_order() -> None:
    _, bad = table(5000, 3, 6)
    pairs = gradients(np.random.default_rng(0).normal(size=5000) * 20, bad)
    assert pairs.dtype == np.int64
    assert np.abs(pairs[:, 0]).max() <= 1 << FRACTION
    assert pairs[:, 1].min() >= 1
    assert pairs[:, 1].max() <= 1 << (FRACTION - 2)
    assert (pairs[::-1].sum(axis=0) == pairs.sum(axis=0)).all()


def test_of_cuts_that_divide_alike_the_lowest_is_named() -> None:
    """Bins that are empty in a node make cuts equal there; which one is named must not depend on
    the order they came in.
    """
    column = np.repeat([0.0, 1.0, 2.0, 3.0], 25)
    cuts = SplitCandidates.of({"c0": column}, 100, max_bins=8, min_rows=5)
    assert len(cuts) == 3
    inside = np.where((column == 0) | (column == 3), 0, -1).astype(np.int64)
    counts = cuts.counts(inside, 1)[0]
    assert counts.tolist() == [25, 25, 25]
    assert [cuts.lowest(cut, counts) for cut in range(3)] == [0, 0, 0]
    assert cuts.lowest(2, cuts.counts(np.zeros(100, np.int64), 1)[0]) == 2


def test_a_gain_that_is_rounding_splits_nothing() -> None:
    bad = np.array([True, False] * 50)
    column = np.repeat([0.0, 1.0], 50)
    tree = grow_locally(
        SplitCandidates.of({"c0": column}, 100, max_bins=4, min_rows=5),
        gradients(np.zeros(100), bad),
        100,
        TreeParameters(min_rows=5),
        "bank",
        [],
    )
    assert [node.split for node in tree.nodes] == [None]


def test_a_party_without_columns_has_no_cuts() -> None:
    cuts = SplitCandidates.of({}, 30, max_bins=8, min_rows=5)
    assert len(cuts) == 0
    tree = GrowingTree(gradients(np.zeros(30), np.arange(30) < 9), 30, TreeParameters())
    tree.add_sums(cuts.sums(tree.frontier.training, 1, tree.pairs))
    assert tree.best(
        cuts.allowed(cuts.counts(tree.frontier.training, 1), tree.frontier.sizes(), 5)
    ).tolist() == [-1]


@pytest.mark.parametrize(
    ("column", "code"),
    [
        (np.full(60, 3.0), "column_constant"),
        (np.full(60, np.nan), "column_constant"),
        (np.array(["same"] * 60, object), "column_constant"),
        (np.append(np.arange(59.0), np.inf), "column_malformed"),
        (np.append(np.arange(59.0), -np.inf), "column_malformed"),
    ],
)
def test_columns_no_tree_can_use_are_refused(column: NDArray[Any], code: str) -> None:
    with pytest.raises(BadInput, check=lambda error: error.code == code):
        SplitCandidates.of({"c0": column}, 50, max_bins=8, min_rows=5)


def test_groups_hold_each_row_once_for_each_column() -> None:
    columns, _ = table(200, 3, 7)
    cuts = SplitCandidates.of(columns, 200, max_bins=8, min_rows=10)
    node = np.tile([0, 1, -1, 0], 50)
    indexes, groups = cuts.groups(node)
    assert len(indexes) == len(groups) == len(set(indexes.tolist()))
    assert sorted(row for group in groups for row in group) == sorted(
        3 * np.flatnonzero(node >= 0).tolist()
    )
    for index, group in zip(indexes.tolist(), groups, strict=True):
        assert {index // cuts.width} == set(node[group].tolist())
