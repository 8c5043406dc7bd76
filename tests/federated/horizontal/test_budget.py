"""The privacy ledger: integers, exhausted is exhausted, written as a whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.errors import BadInput, Conflict, NotFound
from federated.horizontal.budget import Balance, Budget


def test_charges_add_up(tmp_path: Path) -> None:
    budget = Budget.create(tmp_path / "ledger.json", 1000)
    assert budget.charge("0xaa", 300) == Balance(1000, 300)
    assert Budget(tmp_path / "ledger.json").charge("0xbb", 700).left == 0
    assert json.loads((tmp_path / "ledger.json").read_text())["charges"] == [
        {"for": "0xaa", "amount": 300},
        {"for": "0xbb", "amount": 700},
    ]


def test_one_more_than_is_left_is_refused_and_nothing_is_spent(tmp_path: Path) -> None:
    budget = Budget.create(tmp_path / "ledger.json", 1000)
    budget.charge("0xaa", 400)
    with pytest.raises(Conflict, check=lambda error: error.code == "budget_exhausted"):
        budget.charge("0xbb", 601)
    assert budget.balance() == Balance(1000, 400)


def test_a_budget_of_zero_allows_nothing(tmp_path: Path) -> None:
    budget = Budget.create(tmp_path / "ledger.json", 0)
    with pytest.raises(Conflict, check=lambda error: error.code == "budget_exhausted"):
        budget.charge("0xaa", 1)


@pytest.mark.parametrize("amount", [0, -1, 10**16])
def test_a_charge_that_is_none_is_refused(tmp_path: Path, amount: int) -> None:
    budget = Budget.create(tmp_path / "ledger.json", 1000)
    with pytest.raises(BadInput, check=lambda error: error.code == "budget_wrong"):
        budget.charge("0xaa", amount)


def test_a_fraction_of_a_micro_rho_is_refused(tmp_path: Path) -> None:
    budget = Budget.create(tmp_path / "ledger.json", 1000)
    with pytest.raises(BadInput, check=lambda error: error.code == "budget_wrong"):
        budget.charge("0xaa", 0.5)  # type: ignore[arg-type]


def test_a_ledger_is_not_replaced_by_a_new_one(tmp_path: Path) -> None:
    Budget.create(tmp_path / "ledger.json", 1000).charge("0xaa", 999)
    with pytest.raises(Conflict, check=lambda error: error.code == "budget_exists"):
        Budget.create(tmp_path / "ledger.json", 1000)


def test_a_missing_ledger_is_not_an_empty_one(tmp_path: Path) -> None:
    for path in (tmp_path / "ledger.json", tmp_path / "nowhere" / "ledger.json"):
        with pytest.raises(NotFound, check=lambda error: error.code == "budget_missing"):
            Budget(path).charge("0xaa", 1)


@pytest.mark.parametrize(
    "damage",
    [
        {"spent": 0},
        {"limit": -1},
        {"charges": []},
        {"limit": 10},
        {"unit": "rho"},
        {"version": 2},
        {"spent": 100.0},
        {"charges": [{"amount": 100.0, "for": ""}]},
    ],
)
def test_a_ledger_that_does_not_add_up_is_refused(
    tmp_path: Path,
    damage: dict[str, object],
) -> None:
    path = tmp_path / "ledger.json"
    Budget.create(path, 1000).charge("0xaa", 100)
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    with pytest.raises(Conflict, check=lambda error: error.code == "budget_damaged"):
        Budget(path).charge("0xbb", 1)


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_half_a_ledger_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "ledger.json").write_text(text)
    with pytest.raises(Conflict, check=lambda error: error.code == "budget_damaged"):
        Budget(tmp_path / "ledger.json").balance()


def test_a_full_disk_leaves_the_old_ledger(tmp_path: Path) -> None:
    # The file to be moved into place cannot be written: something else is in its way.
    path = tmp_path / "ledger.json"
    budget = Budget.create(path, 1000)
    before = path.read_bytes()
    (tmp_path / "ledger.json.new").mkdir()
    with pytest.raises(OSError):
        budget.charge("0xaa", 10)
    assert path.read_bytes() == before
    (tmp_path / "ledger.json.new").rmdir()
    assert budget.charge("0xaa", 10).spent == 10


SPENDER = """
import sys
from pathlib import Path
from federated.errors import Conflict
from federated.horizontal.budget import Budget
try:
    for _ in range(20):
        Budget(Path(sys.argv[1])).charge("0xcc", 10)
except Conflict:
    pass
"""


def test_processes_at_once_do_not_overspend(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"
    Budget.create(path, 505)
    spenders = [
        subprocess.Popen([sys.executable, "-c", SPENDER, str(path)], cwd=Path(__file__).parents[3])
        for _ in range(4)
    ]
    assert [spender.wait(60) for spender in spenders] == [0] * 4
    assert Budget(path).balance() == Balance(505, 500)


@settings(max_examples=20, deadline=None)
@given(limit=st.integers(0, 1000), amounts=st.lists(st.integers(1, 300), max_size=8))
def test_what_is_spent_is_the_sum_of_what_was_granted(
    tmp_path_factory: pytest.TempPathFactory,
    limit: int,
    amounts: list[int],
) -> None:
    budget = Budget.create(tmp_path_factory.mktemp("ledger") / "ledger.json", limit)
    granted = 0
    for amount in amounts:
        try:
            budget.charge("0xdd", amount)
            granted += amount
        except Conflict:
            assert granted + amount > limit
    assert budget.balance() == Balance(limit, granted)
