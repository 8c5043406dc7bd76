"""What the label party can infer from sums: with every sum revealed it finds single rows; with the
sums that the protocol reveals it finds none.
"""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from federated.boosting.active import Active
from federated.boosting.passive import Passive
from federated.boosting.split_candidates import SplitCandidates
from federated.boosting.terms import ForestTerms
from federated.boosting.trees import GradientSums, GrowingTree, TreeLevel
from federated.local import run_local
from federated.session import Session

Columns = dict[str, NDArray[Any]]


class Curious(Active):
    """A label party that follows the protocol and keeps all it sees: each level's rows, gradients
    and sums of the smaller children.
    """

    seen: list[tuple[TreeLevel, GradientSums, GradientSums]]

    async def _collect_sums(self, tree: GrowingTree) -> list[NDArray[np.bool_]]:
        allowed = await super()._collect_sums(tree)
        own = len(self._own)
        self.seen.append((tree.frontier, tree.pairs, tree.sums[tree.frontier.summed()][:, own:]))
        return allowed


def watched(
    pooled: Columns, terms: ForestTerms, columns: tuple[str, ...]
) -> tuple[Curious, SplitCandidates]:
    """A run of the bank with one department, and what the bank has seen."""
    rows = len(pooled["Status"])
    own = SplitCandidates.of(
        {name: pooled[name] for name in ("Income", "Debt")},
        rows,
        max_bins=terms.bins,
        min_rows=terms.min_rows,
    )
    theirs = SplitCandidates.of(
        {name: pooled[name] for name in columns}, rows, max_bins=terms.bins, min_rows=terms.min_rows
    )

    async def bank(session: Session) -> Curious | None:
        curious = Curious(session, terms, {"tax": len(columns)}, own, rows)
        curious.seen = []
        await curious.run(pooled["Status"] == "bad")
        return curious

    async def tax(session: Session) -> Curious | None:
        await Passive(session, terms, "bank", theirs, rows).run()
        return None

    curious = run_local({"bank": bank, "tax": tax})["bank"]
    assert curious is not None
    return curious, theirs


def isolated(curious: Curious, cuts: SplitCandidates) -> tuple[int, int]:
    """Rows that the bank finds alone between two cuts, because the difference of two sums is the
    gradient of just one row of the node: how many it names, and how many of these do lie alone
    between two cuts of a column."""
    named = right = 0
    for frontier, pairs, sums in curious.seen:
        for index, node in enumerate(frontier.summed()):
            inside = np.flatnonzero(frontier.training == node)
            once = {pair: row for row, pair in zip(inside, map(tuple, pairs[inside]), strict=True)}
            many = Counter(map(tuple, pairs[inside]))
            disclosed = {tuple(pair) for pair in sums[index].tolist()} | {(0, 0)}
            differences = {(a[0] - b[0], a[1] - b[1]) for a, b in permutations(disclosed, 2)}
            found = {once[difference] for difference in differences if many.get(difference) == 1}
            named += len(found)
            right += len([row for row in found if _alone(row, inside, cuts)])
    return named, right


def _alone(row: int, inside: NDArray[np.int64], cuts: SplitCandidates) -> bool:
    """Whether no other row of the node is in this row's bin of some column."""
    return any((codes[inside] == codes[row]).sum() == 1 for codes in cuts._codes)


TERMS: dict[str, Any] = {
    "trees": 5,
    "first_trees_local": 4,
    "max_depth": 6,
    "bins": 64,
    "min_rows": 5,
    "min_child_weight": 0.0,
}


def test_with_every_sum_disclosed_the_label_party_finds_single_rows(pooled: Columns) -> None:
    """The attack that ``min_rows_summed`` is there for: it knows every row's gradient, and some
    differences of sums are one row's.
    """
    named, right = isolated(
        *watched(
            pooled, ForestTerms("Status", "bad", min_rows_summed=1, **TERMS), ("Seniority", "Age")
        )
    )
    assert right > 50
    assert right > 0.8 * named


def test_with_a_least_number_summed_it_finds_none(pooled: Columns) -> None:
    _, right = isolated(
        *watched(
            pooled, ForestTerms("Status", "bad", min_rows_summed=20, **TERMS), ("Seniority", "Age")
        )
    )
    assert right == 0


@pytest.mark.parametrize("least", [2, 15, 40])
def test_no_difference_of_disclosed_sums_covers_fewer_rows_than_the_minimum(
    pooled: Columns, least: int
) -> None:
    """Down a whole tree, for both siblings, over every part that the disclosed cuts of a column
    leave.
    """
    columns = ("Seniority", "Expenses", "Records")
    cuts = SplitCandidates.of(
        {name: pooled[name] for name in columns}, 700, max_bins=24, min_rows=8
    )
    source = np.random.default_rng(least)
    frontier, before = TreeLevel.root(700, 700), np.ones((1, len(cuts)), np.bool_)
    dropped = 0
    for _ in range(5):
        counts, sizes = cuts.counts(frontier.training, frontier.count), frontier.sizes()
        shape = (len(before), frontier.siblings)
        disclosable = cuts.disclosable(
            counts.reshape(*shape, len(cuts)), sizes.reshape(shape), before, least
        )
        assert not (disclosable & ~before).any()
        dropped += int((before & ~disclosable).sum())
        for node in range(frontier.count):
            for column in range(3):
                mask = disclosable[node // frontier.siblings] & (cuts._cuts[:, 0] == column)
                reached = counts[node][mask]
                if not mask.any():
                    continue  # nothing of this column is disclosed here
                parts = (
                    np.diff(reached, prepend=0, append=sizes[node])
                    if cuts.bins[column].numeric
                    else np.append(reached, sizes[node] - reached.sum())
                )
                assert ((parts == 0) | (parts >= least)).all()
        split = sizes >= 2 * least
        before = disclosable[np.flatnonzero(split) // frontier.siblings]
        frontier = frontier.divided(split, source.random(700) < 0.5)
    assert dropped


def test_an_undisclosed_sum_is_empty_and_never_chosen(pooled: Columns) -> None:
    curious, _ = watched(
        pooled, ForestTerms("Status", "bad", min_rows_summed=60, **TERMS), ("Seniority", "Age")
    )
    deep = [sums for frontier, _, sums in curious.seen if frontier.count > 2]
    assert deep
    assert any((sums == 0).all(axis=2).any() for sums in deep)


def test_rows_are_identified_by_their_position_alone(pooled: Columns) -> None:
    """No message after the alignment carries an identifier, a value or a threshold: only
    ciphertexts, bits, and numbers of nodes and cuts.
    """
    kinds: dict[str, set[str]] = {}

    async def listening(session: Session) -> None:
        for channel in session.channels.values():
            send = channel.send

            async def observed(kind: str, _send: Any = send, **fields: Any) -> None:
                kinds.setdefault(kind, set()).update(
                    f"{name}:{getattr(value, 'dtype', type(value).__name__)}"
                    for name, value in fields.items()
                )
                await _send(kind, **fields)

            channel.send = observed  # type: ignore[method-assign]

    rows = len(pooled["Status"])
    terms = ForestTerms("Status", "bad", trees=1, max_depth=2, bins=8)
    own, theirs = (
        SplitCandidates.of({name: pooled[name]}, rows, max_bins=8, min_rows=20)
        for name in ("Debt", "Age")
    )

    async def bank(session: Session) -> None:
        await listening(session)
        await Active(session, terms, {"tax": 1}, own, rows).run(pooled["Status"] == "bad")

    async def tax(session: Session) -> None:
        await listening(session)
        await Passive(session, terms, "bank", theirs, rows).run()

    run_local({"bank": bank, "tax": tax})
    assert kinds == {
        "boosting/cuts": {"count:int"},
        "boosting/key": {"key:bytes"},
        "he/gradients": {"numbers:uint8"},
        "boosting/allowed": {"bits:uint8"},
        "he/sums": {"numbers:uint8"},
        "boosting/chosen": {"nodes:uint32", "cuts:uint32"},
        "boosting/sides": {"left:uint8"},
        "boosting/level": {"split:uint8", "left:uint8"},
    }
