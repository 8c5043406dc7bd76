"""What the label party could find out from sums, tried: with every sum told it finds single rows, with the least it finds none."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from federated.boosting.active import Active
from federated.boosting.cuts import Cuts
from federated.boosting.passive import Passive
from federated.boosting.terms import Terms
from federated.boosting.trees import Frontier, Growth, Sums
from federated.local import run_local
from federated.session import Session

Columns = dict[str, NDArray[Any]]


class Curious(Active):
    """A label party that follows the protocol and keeps all it sees: each level's rows, gradients and sums of the smaller children."""

    seen: list[tuple[Frontier, Sums, Sums]]

    async def _sum(self, growth: Growth) -> list[NDArray[np.bool_]]:
        allowed = await super()._sum(growth)
        own = len(self._own)
        self.seen.append((growth.frontier, growth.pairs, growth.sums[growth.frontier.summed()][:, own:]))
        return allowed


def watched(pooled: Columns, terms: Terms, columns: tuple[str, ...]) -> tuple[Curious, Cuts]:
    """A run of the bank with one department, and what the bank has seen."""
    rows = len(pooled["Status"])
    own = Cuts.of({name: pooled[name] for name in ("Income", "Debt")}, rows, most=terms.bins, least=terms.least_rows)
    theirs = Cuts.of({name: pooled[name] for name in columns}, rows, most=terms.bins, least=terms.least_rows)

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


def isolated(curious: Curious, cuts: Cuts) -> tuple[int, int]:
    """Rows that the bank finds alone between two cuts, because the difference of two sums is the gradient of just one row of the node: how many
    it names, and how many of these do lie alone between two cuts of a column."""
    named = right = 0
    for frontier, pairs, sums in curious.seen:
        for place, node in enumerate(frontier.summed()):
            inside = np.flatnonzero(frontier.training == node)
            once = {pair: row for row, pair in zip(inside, map(tuple, pairs[inside]), strict=True)}
            many = Counter(map(tuple, pairs[inside]))
            told = {tuple(each) for each in sums[place].tolist()} | {(0, 0)}
            differences = {(a[0] - b[0], a[1] - b[1]) for a, b in permutations(told, 2)}
            found = {once[each] for each in differences if many.get(each) == 1}
            named += len(found)
            right += len([row for row in found if _alone(row, inside, cuts)])
    return named, right


def _alone(row: int, inside: NDArray[np.int64], cuts: Cuts) -> bool:
    """Whether no other row of the node stands in this row's bin of some column."""
    return any((codes[inside] == codes[row]).sum() == 1 for codes in cuts._codes)


TERMS: dict[str, Any] = {"trees": 5, "first_trees_local": 4, "depth": 6, "bins": 64, "least_rows": 5, "least_weight": 0.0}


def test_with_every_sum_told_the_label_party_finds_single_rows(pooled: Columns) -> None:
    """The attack that ``least_summed`` is there for: it knows every row's gradient, and some differences of sums are one row's."""
    named, right = isolated(*watched(pooled, Terms("Status", "bad", least_summed=1, **TERMS), ("Seniority", "Age")))
    assert right > 50
    assert right > 0.8 * named


def test_with_a_least_number_summed_it_finds_none(pooled: Columns) -> None:
    _, right = isolated(*watched(pooled, Terms("Status", "bad", least_summed=20, **TERMS), ("Seniority", "Age")))
    assert right == 0


@pytest.mark.parametrize("least", [2, 15, 40])
def test_no_difference_of_told_sums_is_of_fewer_rows_than_the_least(pooled: Columns, least: int) -> None:
    """Down a whole tree, for both siblings, over every part that the told cuts of a column leave."""
    columns = ("Seniority", "Expenses", "Records")
    cuts = Cuts.of({name: pooled[name] for name in columns}, 700, most=24, least=8)
    source = np.random.default_rng(least)
    frontier, before = Frontier.root(700, 700), np.ones((1, len(cuts)), np.bool_)
    dropped = 0
    for _ in range(5):
        counts, sizes = cuts.counts(frontier.training, frontier.count), frontier.sizes()
        shape = (len(before), frontier.siblings)
        told = cuts.told(counts.reshape(*shape, len(cuts)), sizes.reshape(shape), before, least)
        assert not (told & ~before).any()
        dropped += int((before & ~told).sum())
        for node in range(frontier.count):
            for column in range(3):
                mask = told[node // frontier.siblings] & (cuts._cuts[:, 0] == column)
                reached = counts[node][mask]
                if not mask.any():
                    continue  # nothing of this column is told here
                parts = (
                    np.diff(reached, prepend=0, append=sizes[node]) if cuts.bins[column].numeric else np.append(reached, sizes[node] - reached.sum())
                )
                assert ((parts == 0) | (parts >= least)).all()
        split = sizes >= 2 * least
        before = told[np.flatnonzero(split) // frontier.siblings]
        frontier = frontier.divided(split, source.random(700) < 0.5)
    assert dropped


def test_what_is_not_told_is_a_sum_of_nothing_and_is_never_chosen(pooled: Columns) -> None:
    curious, _ = watched(pooled, Terms("Status", "bad", least_summed=60, **TERMS), ("Seniority", "Age"))
    deep = [sums for frontier, _, sums in curious.seen if frontier.count > 2]
    assert deep
    assert any((sums == 0).all(axis=2).any() for sums in deep)


def test_rows_are_told_by_their_place_alone(pooled: Columns) -> None:
    """No message after the alignment carries an identifier, a value or a threshold: only ciphertexts, bits, and numbers of nodes and cuts."""
    kinds: dict[str, set[str]] = {}

    async def listening(session: Session) -> None:
        for channel in session.channels.values():
            send = channel.send

            async def told(kind: str, _send: Any = send, **fields: Any) -> None:
                kinds.setdefault(kind, set()).update(f"{name}:{getattr(value, 'dtype', type(value).__name__)}" for name, value in fields.items())
                await _send(kind, **fields)

            channel.send = told  # type: ignore[method-assign]

    rows = len(pooled["Status"])
    terms = Terms("Status", "bad", trees=1, depth=2, bins=8)
    own, theirs = (Cuts.of({name: pooled[name]}, rows, most=8, least=20) for name in ("Debt", "Age"))

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
