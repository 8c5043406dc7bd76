"""What may be released: no combination of releases reveals fewer rows than one may."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from federated.analysis.policy import ColumnRule
from federated.analysis.releases import ROWS, Partition, Released, ReleaseFile, digests_of
from federated.errors import Conflict
from federated.job import Table

ROW_COUNT, MIN_ROWS = 60, 6
ALL = np.ones(ROW_COUNT, np.bool_)


def rows(*parts: Sequence[int] | range) -> NDArray[np.int64]:
    return np.array(sorted({row for part in parts for row in part}), np.int64)


def offer(partition: Partition, *sets: NDArray[np.int64]) -> list[bool]:
    """Which of the sets are released, one after the other."""
    given = []
    for asked in sets:
        given.append(partition.admits(asked, MIN_ROWS))
        if given[-1]:
            partition.cut(asked)
    return given


def test_a_set_that_differs_from_a_released_one_by_few_rows_is_not_released() -> None:
    assert offer(Partition.fresh(ALL), rows(range(30)), rows(range(29)), rows(range(24))) == [
        True,
        False,
        True,
    ]
    assert offer(Partition.fresh(ALL), rows(range(29)), rows(range(30))) == [True, False]


def test_the_last_group_beside_a_total_is_not_released_if_the_rest_is_small() -> None:
    """Three groups of 30, 27 and 3: the total and two of them would give the third."""
    assert offer(
        Partition.fresh(ALL),
        rows(range(60)),
        rows(range(30)),
        rows(range(30, 57)),
        rows(range(57, 60)),
    ) == [True, True, False, False]


def test_a_total_after_its_large_groups_is_not_released_if_it_would_give_a_small_one() -> None:
    assert offer(Partition.fresh(ALL), rows(range(30)), rows(range(30, 57)), rows(range(60))) == [
        True,
        True,
        False,
    ]


def test_a_tracker_of_sets_that_pairwise_differ_enough_is_stopped() -> None:
    """X+Y, X+Z, Y+Z+r and X+Y+Z differ pairwise by many rows; together they would isolate r."""
    x, y, z, r = range(10), range(10, 20), range(20, 30), range(30, 31)
    sets = [rows(x, y), rows(x, z), rows(y, z, r), rows(x, y, z)]
    assert all(len(np.setxor1d(a, b)) >= MIN_ROWS for a in sets for b in sets if a is not b)
    assert offer(Partition.fresh(ALL), *sets)[2] is False


def test_the_same_set_may_be_released_again() -> None:
    assert offer(Partition.fresh(ALL), rows(range(30)), rows(range(30))) == [True, True]


@pytest.mark.parametrize("size", [0, 1, MIN_ROWS - 1])
def test_small_and_empty_sets_are_not_released(size: int) -> None:
    assert offer(Partition.fresh(ALL), rows(range(size))) == [False]


def atoms(sets: Sequence[NDArray[np.int64]], within: NDArray[np.bool_]) -> list[int]:
    """Sizes of the classes of rows that are in the same released sets, worked out from scratch;
    rows in none are no class.
    """
    marks = np.zeros((len(within), len(sets)), np.bool_)
    for index, asked in enumerate(sets):
        marks[asked, index] = True
    marks = marks[within & marks.any(axis=1)] if sets else marks[:0]
    return [] if not len(marks) else np.unique(marks, axis=0, return_counts=True)[1].tolist()


SETS = st.lists(
    st.one_of(
        st.tuples(st.integers(0, ROW_COUNT), st.integers(0, ROW_COUNT)).map(
            lambda ends: set(range(min(ends), max(ends))),
        ),
        st.sets(st.integers(0, ROW_COUNT - 1)),
    ),
    max_size=12,
)


@given(SETS, st.sets(st.integers(0, ROW_COUNT - 1)))
def test_every_atom_of_what_was_released_is_large_enough(
    sets: list[set[int]],
    missing: set[int],
) -> None:
    holds = ALL.copy()
    holds[sorted(missing)] = False
    released, given = Released(), {ROWS: list[Any](), "Income": list[Any]()}
    for index, asked in enumerate(sets):
        column = "Income" if index % 2 else None
        if released.release(rows(sorted(asked)), column, {ROWS: ALL, "Income": holds}, MIN_ROWS):
            given[ROWS].append(rows(sorted(asked)))
            if column:
                given[column].append(rows(sorted(asked)))
    for family, within in ((ROWS, ALL), ("Income", holds)):
        sizes = atoms(given[family], within)
        assert min(sizes, default=MIN_ROWS) >= MIN_ROWS
        if family in released.families:
            assert released.families[family].smallest() == min(sizes, default=0)


@given(SETS)
def test_no_linear_combination_of_released_sums_is_over_few_rows(sets: list[set[int]]) -> None:
    """Any row that a combination weighs, it weighs together with its whole atom: a solver finds no
    row's value.
    """
    partition, given = Partition.fresh(ALL), []
    for asked in sets:
        if partition.admits(rows(sorted(asked)), MIN_ROWS):
            partition.cut(rows(sorted(asked)))
            given.append(np.isin(np.arange(ROW_COUNT), sorted(asked)).astype(float))
    if not given:
        return
    matrix = np.array(given)
    solver = np.linalg.pinv(matrix) @ matrix  # the projection onto the span of the sums
    for row in range(ROW_COUNT):
        weights = solver[row]
        assert (
            np.count_nonzero(np.abs(weights) > 1e-9) == 0
            or np.count_nonzero(np.abs(weights) > 1e-9) >= MIN_ROWS
        )
        assert weights[row] <= 1 / MIN_ROWS + 1e-9


# --- The record -----------------------------------------------------------------------------------


def test_a_record_survives_its_process(tmp_path: Path) -> None:
    file = ReleaseFile(tmp_path, "records", "q4")
    with file.changed() as released:
        released.begin("0x1", {"": "a", "Income": "b"}, max_runs=2)
        assert released.release(rows(range(30)), "Income", {ROWS: ALL, "Income": ALL}, MIN_ROWS)
    again = ReleaseFile(tmp_path, "records", "q4")
    with again.changed() as released:
        assert released.runs == ["0x1"]
        assert not released.release(rows(range(29)), None, {ROWS: ALL}, MIN_ROWS)
        assert not released.release(rows(range(29)), "Income", {ROWS: ALL, "Income": ALL}, MIN_ROWS)
    assert ReleaseFile(tmp_path, "records", "q5").read().runs == []
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "releases").rglob("*"))


def test_a_change_that_fails_is_not_written(tmp_path: Path) -> None:
    file = ReleaseFile(tmp_path, "records", "q4")
    with pytest.raises(ZeroDivisionError), file.changed() as released:
        released.begin("0x1", {}, max_runs=2)
        raise ZeroDivisionError
    assert file.read().runs == []


def test_spent_and_changed_sources_are_refused() -> None:
    released = Released()
    released.begin("0x1", {"": "a", "Income": "b"}, max_runs=2)
    with pytest.raises(Conflict, check=lambda error: error.code == "rows_changed"):
        released.begin("0x2", {"": "a", "Income": "c"}, max_runs=2)
    released.begin("0x2", {"": "a", "Home": "c"}, max_runs=2)
    with pytest.raises(Conflict, check=lambda error: error.code == "releases_spent"):
        released.begin("0x3", {}, max_runs=2)
    assert released.runs == ["0x1", "0x2"]


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-9], lambda _data: b"", lambda _data: b"x" * 100],
)
def test_a_damaged_record_is_not_taken_for_an_empty_one(tmp_path: Path, damage: Any) -> None:
    file = ReleaseFile(tmp_path, "records", "q4")
    with file.changed() as released:
        released.begin("0x1", {}, max_runs=2)
    path = tmp_path / "releases" / "records.q4.npz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(Conflict, check=lambda error: error.code == "releases_damaged"):
        file.read()


def test_any_changed_value_or_bound_changes_the_digests() -> None:
    number = ColumnRule(type="number", uses=("aggregate",), low=0, high=9)
    group = ColumnRule(type="text", uses=("group",), low=None, high=None, known="values")

    def digests(
        value: float = 2.0,
        text: str | None = "y",
        name: bytes = b"b",
        rule: ColumnRule = number,
    ) -> dict[str, str]:
        table = Table(
            np.array([b"a", name]),
            {"n": np.array([1.0, value]), "t": np.array(["x", text], object)},
        )
        return digests_of(
            table,
            {"n": rule, "t": group},
        )

    def changed(**change: Any) -> set[str]:
        return {name for name, digest in digests(**change).items() if digest != digests()[name]}

    assert changed() == set()
    assert changed(value=2.5) == {"column n"}
    assert changed(text=None) == {"column t"}
    assert changed(name=b"c") == {ROWS}
    for rule in ({"low": 1}, {"high": 8}, {"decimals": 1}):
        assert changed(rule=number.model_copy(update=rule)) == {"bounds n"}
    assert changed(rule=number.model_copy(update={"uses": ("aggregate", "filter")})) == set()
