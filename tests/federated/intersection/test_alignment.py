"""Alignment of several parties: the same rows in the same order, and what a follower does not
see.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.errors import BadInput, Conflict, QiaolianError
from federated.intersection import PsiTerms, align
from federated.local import run_local

NAMES = ("bank", "tax", "water", "customs")


def run(
    sets: Any,
    terms: PsiTerms = PsiTerms(pad_to=8),
    followers: tuple[str, ...] | None = None,
) -> dict[str, Any]:
    names = NAMES[: len(sets)]
    others = names[1:] if followers is None else followers

    def party(ids: Any) -> Any:
        return lambda session: align(session, ids, leader="bank", followers=others, terms=terms)

    return run_local(
        {name: party(ids) for name, ids in zip(names, sets, strict=True)},
        seeds={name: name.encode() * 8 for name in names},
    )


def ids_of(numbers: Any) -> Any:
    return np.array([b"%06d" % number for number in numbers])


def refused(code: str, kind: type[QiaolianError]) -> Any:
    return pytest.raises(kind, check=lambda error: error.code == code)


@settings(deadline=None, max_examples=12)
@given(st.lists(st.lists(st.integers(0, 60), unique=True, max_size=40), min_size=2, max_size=4))
def test_all_parties_get_the_common_rows_in_one_order(lists: list[list[int]]) -> None:
    sets = [ids_of([99, *numbers]) for numbers in lists]
    aligned = run(sets)
    columns = [ids[aligned[name].rows].tolist() for name, ids in zip(NAMES, sets, strict=False)]
    assert all(column == columns[0] for column in columns)
    assert set(columns[0]) == set.intersection(*(set(column.tolist()) for column in sets))
    assert len(set(columns[0])) == len(columns[0])


@pytest.mark.parametrize(
    "terms", [PsiTerms(suite="sm", pad_to=8), PsiTerms(method="ecdh", pad_to=8)]
)
def test_alignment_by_other_terms(terms: PsiTerms) -> None:
    sets = [ids_of(range(20)), ids_of(range(30, 10, -1)), ids_of(range(15, 40))]
    aligned = run(sets, terms)
    assert sorted(sets[0][aligned["bank"].rows].tolist()) == ids_of(range(15, 20)).tolist()
    assert (sets[0][aligned["bank"].rows] == sets[1][aligned["tax"].rows]).all()


def test_the_order_is_none_of_any_partys_file() -> None:
    ids = ids_of(range(500))
    rows = run([ids, ids[::-1]])["bank"].rows
    assert sorted(rows.tolist()) == list(range(500))
    assert abs(np.corrcoef(rows, np.arange(500))[0, 1]) < 0.2


LEFT = PsiTerms(pad_to=8, join="left")


@settings(deadline=None, max_examples=12)
@given(st.lists(st.lists(st.integers(0, 60), unique=True, max_size=40), min_size=2, max_size=4))
def test_a_left_join_has_every_row_of_the_leader(lists: list[list[int]]) -> None:
    sets = [ids_of([99, *numbers]) for numbers in lists]
    aligned = run(sets, LEFT)
    order = sets[0][aligned["bank"].rows]
    assert sorted(order.tolist()) == sorted(sets[0].tolist())
    for name, ids in zip(NAMES[1:], sets[1:], strict=False):
        had = np.isin(order, ids)
        assert aligned["bank"].had_by[name].tolist() == had.tolist()
        assert aligned[name].had_by[name].tolist() == had.tolist()
        assert (aligned[name].rows[~had] == -1).all()
        assert (ids[aligned[name].rows[had]] == order[had]).all()


def test_a_left_join_needs_rows_of_every_follower() -> None:
    with refused("intersection_empty", Conflict):
        run([ids_of([1, 2]), ids_of([2, 3]), ids_of([4])], LEFT)


def test_a_left_join_of_a_hidden_intersection_is_refused() -> None:
    for terms in ({"join": "left", "reveal": "nobody"}, {"join": "outer"}):
        with refused("spec_parameters", BadInput):
            PsiTerms.read(terms)


def test_nothing_in_common_ends_it_at_every_party() -> None:
    caught: list[tuple[str, str]] = []

    def party(ids: Any) -> Any:
        async def role(session: Any) -> None:
            try:
                await align(
                    session,
                    ids,
                    leader="bank",
                    followers=("tax", "water"),
                    terms=PsiTerms(pad_to=8),
                )
            except Conflict as error:
                caught.append((session.party, error.code))

        return role

    run_local(
        {
            name: party(ids_of(numbers))
            for name, numbers in zip(NAMES, ([1, 2], [2, 3], [1, 3]), strict=False)
        }
    )
    assert sorted(caught) == [(name, "intersection_empty") for name in sorted(NAMES[:3])]


@pytest.mark.parametrize("followers", [(), ("tax", "tax"), ("bank",), ("water",)])
def test_parties_that_make_no_alignment_are_refused(followers: tuple[str, ...]) -> None:
    with refused("parties_wrong", BadInput):
        run([ids_of([1]), ids_of([1])], followers=followers)


def test_terms_that_reveal_less_or_more_are_refused() -> None:
    with refused("reveal_not_offered", BadInput):
        run([ids_of([1]), ids_of([1])], PsiTerms(method="ecdh", reveal="size", pad_to=8))
