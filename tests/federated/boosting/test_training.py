"""A forest grown on encrypted gradients is the forest of the pooled columns, split for split; no
party need be believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import xgboost
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from federated.boosting.active import Active, Forest
from federated.boosting.he import OU, PAILLIER, SecretKey
from federated.boosting.packing import Packing
from federated.boosting.passive import Passive, encrypted_sums
from federated.boosting.split_candidates import SplitCandidates
from federated.boosting.terms import ForestTerms
from federated.boosting.trees import FRACTION, base_score, gradients, grow_locally
from federated.local import run_local
from federated.session import Session

Columns = dict[str, NDArray[Any]]
TRAIN = 500


def cuts_of(pooled: Columns, names: tuple[str, ...], terms: ForestTerms) -> SplitCandidates:
    return SplitCandidates.of(
        {name: pooled[name] for name in names}, TRAIN, max_bins=terms.bins, min_rows=terms.min_rows
    )


def grown(
    terms: ForestTerms, pooled: Columns, brought: Mapping[str, tuple[str, ...]]
) -> tuple[Forest, dict[str, Passive], dict[str, SplitCandidates]]:
    """The bank's forest, the departments' sides and everybody's cuts, without alignment: the first
    rows are trained on.
    """
    cuts = {party: cuts_of(pooled, names, terms) for party, names in brought.items()}
    rows, bad = len(pooled["Status"]), pooled["Status"][:TRAIN] == "bad"
    sides: dict[str, Passive] = {}

    async def bank(session: Session) -> Forest | None:
        peers = {party: len(names) for party, names in brought.items() if party != "bank"}
        return await Active(session, terms, peers, cuts["bank"], rows).run(bad)

    async def department(session: Session) -> Forest | None:
        sides[session.party] = Passive(session, terms, "bank", cuts[session.party], rows)
        await sides[session.party].run()
        return None

    forest = run_local({party: bank if party == "bank" else department for party in brought})[
        "bank"
    ]
    assert forest is not None
    return forest, sides, cuts


def nested(
    forest: Forest, splits: Mapping[str, list[int]], cuts: Mapping[str, SplitCandidates]
) -> list[Any]:
    """Every tree with the questions of all parties filled in."""

    def tree(nodes: Any, index: int) -> Any:
        node = nodes[index]
        if node.party is None:
            return node.rows, node.weight
        described = cuts[node.party].describe(splits[node.party][node.split])
        return (
            described["column"],
            described["code"],
            node.rows,
            tree(nodes, node.left),
            tree(nodes, node.right),
        )

    return [tree(nodes, 0) for nodes in forest.trees]


BROUGHT = [
    {"bank": ("Income", "Debt"), "tax": ("Records", "Expenses", "Seniority", "Age")},
    {"tax": ("Records", "Expenses"), "bank": ("Income", "Debt"), "social": ("Seniority", "Age")},
    {"bank": (), "tax": ("Income", "Debt", "Records"), "social": ("Expenses", "Seniority", "Age")},
]


@pytest.mark.parametrize(
    ("brought", "scheme"), [*((columns, "ou") for columns in BROUGHT), (BROUGHT[0], "paillier")]
)
def test_every_split_and_weight_is_that_of_the_pooled_columns(
    pooled: Columns, brought: dict[str, tuple[str, ...]], scheme: str
) -> None:
    require_pooled_forest(pooled, brought, scheme)


@pytest.mark.long
@pytest.mark.usefixtures("full_keys")
@pytest.mark.parametrize("scheme", ["ou", "paillier"])
def test_every_split_and_weight_is_that_of_the_pooled_columns_with_full_keys(
    pooled: Columns, scheme: str
) -> None:
    require_pooled_forest(pooled, BROUGHT[1], scheme)


def require_pooled_forest(
    pooled: Columns, brought: dict[str, tuple[str, ...]], scheme: str
) -> None:
    terms = ForestTerms(
        "Status",
        "bad",
        trees=2,
        max_depth=4,
        bins=12,
        min_rows=10,
        min_rows_summed=1,
        scheme=scheme,
    )
    forest, sides, cuts = grown(terms, pooled, brought)
    joint = nested(
        forest, {"bank": forest.splits} | {name: side.splits for name, side in sides.items()}, cuts
    )
    whole = cuts_of(
        pooled, tuple(name for party in ("bank", *sides) for name in brought[party]), terms
    )
    rows, bad = len(pooled["Status"]), pooled["Status"][:TRAIN] == "bad"
    alone = Forest(base_score(bad), np.full(rows, base_score(bad)))
    for _ in range(terms.trees):
        alone.add(
            grow_locally(
                whole,
                gradients(alone.scores[:TRAIN], bad),
                rows,
                terms.rule(),
                "pooled",
                alone.splits,
            )
        )
    assert joint == nested(alone, {"pooled": alone.splits}, {"pooled": whole})
    assert (forest.scores == alone.scores).all()
    owners = {node.party for nodes in forest.trees for node in nodes if node.party is not None}
    assert owners == {party for party, names in brought.items() if names}


def test_auc_is_that_of_xgboost_on_the_same_bins(pooled: Columns) -> None:
    numbers = ("Income", "Debt", "Expenses", "Seniority", "Age")
    terms = ForestTerms(
        "Status", "bad", trees=12, max_depth=4, bins=16, min_rows=1, min_rows_summed=1
    )
    forest, _, cuts = grown(terms, pooled, {"bank": numbers[:2], "tax": numbers[2:]})
    codes = np.stack(
        [bins.codes(pooled[bins.column]) for party in ("bank", "tax") for bins in cuts[party].bins],
        axis=1,
    ).astype(np.float64)
    bad = pooled["Status"] == "bad"
    parameters = {
        "objective": "binary:logistic",
        "max_depth": 4,
        "eta": 0.3,
        "base_score": float(bad[:TRAIN].mean()),
        "nthread": 1,
    }
    booster = xgboost.train(parameters, xgboost.DMatrix(codes[:TRAIN], bad[:TRAIN]), 12)
    theirs = booster.predict(xgboost.DMatrix(codes[TRAIN:]))
    assert (
        abs(roc_auc_score(bad[TRAIN:], forest.scores[TRAIN:]) - roc_auc_score(bad[TRAIN:], theirs))
        <= 0.002
    )


def test_the_first_trees_may_be_the_label_partys_alone(pooled: Columns) -> None:
    brought = {"bank": ("Income", "Debt"), "tax": ("Records", "Seniority")}
    terms = ForestTerms("Status", "bad", trees=3, max_depth=3, bins=8, first_trees_local=2)
    forest, _, _ = grown(terms, pooled, brought)
    owners = [{node.party for node in nodes if node.party is not None} for nodes in forest.trees]
    assert owners[0] == owners[1] == {"bank"}
    assert "tax" in owners[2]
    none, sides, _ = grown(
        ForestTerms("Status", "bad", trees=2, max_depth=3, bins=8, first_trees_local=2),
        pooled,
        brought,
    )
    assert sides["tax"].splits == []
    assert none.trees == forest.trees[:2]


def test_no_node_has_fewer_rows_than_the_least_whoever_splits(pooled: Columns) -> None:
    brought = {"bank": ("Debt",), "tax": ("Records", "Expenses"), "social": ("Seniority", "Age")}
    forest, _, _ = grown(
        ForestTerms(
            "Status", "bad", trees=3, max_depth=6, bins=32, min_rows=35, min_child_weight=0.0
        ),
        pooled,
        brought,
    )
    assert min(node.rows for nodes in forest.trees for node in nodes) >= 35
    assert all(
        sum(node.rows for node in nodes if node.party is None) == TRAIN for nodes in forest.trees
    )


# --- Sums under encryption ------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", [OU, PAILLIER], ids=lambda scheme: scheme.name)
def test_encrypted_sums_joined_and_opened_are_the_plain_ones(pooled: Columns, scheme: Any) -> None:
    key = SecretKey(scheme, SecretKey.generate(scheme))
    terms = ForestTerms("Status", "bad", bins=12, min_rows=10)
    cuts = cuts_of(pooled, ("Income", "Records", "Expenses"), terms)
    pairs = gradients(
        np.random.default_rng(3).normal(size=TRAIN) * 3, pooled["Status"][:TRAIN] == "bad"
    )
    packing = Packing.of(TRAIN, scheme)
    sealed = key.public.encrypt(packing.packed(pairs))
    node = np.random.default_rng(4).integers(-1, 3, TRAIN)
    sums = encrypted_sums(key.public, key.public.load(sealed), cuts, node, 3).reshape(
        -1, scheme.width
    )
    joined = key.public.rerandomise(key.public.join(sums, packing.slots, packing.slot_bits))
    assert len(joined) == packing.ciphertexts(3 * len(cuts)) < len(sums)
    opened = packing.opened(key.decrypt(joined), 3 * len(cuts))
    assert (opened.reshape(3, len(cuts), 2) == cuts.sums(node, 3, pairs)).all()


@pytest.mark.parametrize("rows", [1, 2, 255, 256, 30_000, 1 << 24])
def test_the_largest_sums_fit_their_slots(rows: int) -> None:
    for scheme in (OU, PAILLIER):
        packing = Packing.of(rows, scheme)
        assert packing.slots * packing.slot_bits <= scheme.plaintext_bits
        extremes = np.array(
            [[sign * rows << FRACTION, rows << FRACTION - 2] for sign in (-1, 1)] * packing.slots,
            np.int64,
        )
        whole = packing.packed(extremes[: packing.slots])
        joined = sum(
            int(plaintext) << packing.slot_bits * index for index, plaintext in enumerate(whole)
        )
        assert abs(joined) < 1 << scheme.plaintext_bits
        assert (packing.opened([joined], packing.slots) == extremes[: packing.slots]).all()


def test_plaintexts_that_are_no_sums_are_refused() -> None:
    packing = Packing.of(100, OU)
    with pytest.raises(ValueError, match="longer"):
        packing.opened([1 << packing.slots * packing.slot_bits], 2)
    with pytest.raises(ValueError, match="unused slot"):
        packing.opened([1 << 2 * packing.slot_bits], 2)
    assert packing.opened([], 0).shape == (0, 2)
