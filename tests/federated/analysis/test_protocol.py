"""The protocol ``analysis``: what each side gets, and the attacks that go through the front
door.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.csv as csv
import pyarrow.parquet as parquet
import pytest

from federated.analysis import ANALYSIS, answer
from federated.analysis.policy import Policy
from federated.analysis.releases import ReleaseFile
from federated.analysis.statement import write
from federated.analysis.syntax import read
from federated.errors import BadInput, PeerFault, QiaolianError
from federated.horizontal.budget import Budget
from federated.job import JobResult, Party
from federated.local import run_local
from federated.protocols import protocol_of
from federated.session import Session
from tests.federated.analysis.conftest import POLICY, Office, job_of

Refused = Callable[..., Any]

BY_HOME = "SELECT Home, count(*) AS firms, avg(Income) AS income FROM records GROUP BY Home"


def truth(office: Office, home: str | None) -> tuple[int, float]:
    """The number of rows with this home, and the mean of their incomes within the policy's
    bounds.
    """
    here = np.array([column == home for column in office.table.columns["Home"]])
    incomes = np.clip(office.table.columns["Income"][here], 0, 5000)
    return int(here.sum()), float(np.nanmean(incomes))


# --- What each side gets --------------------------------------------------------------------------


def test_the_analyst_gets_the_result_and_the_owner_a_record_of_it(office: Office) -> None:
    office.table.columns["Home"][office.table.columns["Home"] == None] = "owner"  # noqa: E711
    ended = office.run(BY_HOME)
    files = ended["bank"].files
    shown = csv.read_csv(io.BytesIO(files["result.csv"]))
    assert shown.equals(parquet.read_table(io.BytesIO(files["result.parquet"])))
    assert shown.column_names == ["Home", "firms", "income"]
    for home, firms, income in zip(*(column.to_pylist() for column in shown.columns), strict=True):
        size, mean = truth(office, home)
        assert firms == size
        assert income == pytest.approx(mean, abs=0.01)
    record = json.loads(ended["tax"].files["released.json"])
    assert [row[0] for row in record["result"]] == ["owner", "parents", "rent"]
    assert record["sql"] == BY_HOME
    assert ended["tax"].metrics == {
        "groups": 3,
        "groups_held_back": 0,
        "cells_held_back": 0,
        "micro_rho": 0,
    }
    assert ended["bank"].metrics == {"rows": 3, "missing": 0}


def test_groups_below_the_least_size_are_as_if_they_were_not_there(office: Office) -> None:
    office.table.columns["Home"][:9] = "castle"
    assert "castle" not in [row[0] for row in office.result(BY_HOME)]
    office.table.columns["Home"][:10] = "castle"
    office.rule(POLICY.replace("2026-q4", "2027-q1"))
    assert "castle" in [row[0] for row in office.result(BY_HOME)]


def test_an_empty_result_is_one(office: Office) -> None:
    assert office.run("SELECT count(*), avg(Income) FROM records WHERE Age > 1000")[
        "bank"
    ].metrics == {"rows": 0, "missing": 0}
    assert office.run("SELECT Home, count(*) FROM records WHERE Age > 1000 GROUP BY Home")[
        "bank"
    ].metrics == {"rows": 0, "missing": 0}


# --- One row, by every door -----------------------------------------------------------------------


def person(office: Office, row: int = 3) -> str:
    """A condition that holds for one row alone."""
    office.table.columns["Age"][row] = 101.0
    return "Age = 101"


def test_where_on_one_row_gives_nothing(office: Office) -> None:
    assert office.result(f"SELECT count(*), sum(Income) FROM records WHERE {person(office)}") == []


def test_filter_on_one_row_gives_nothing(office: Office) -> None:
    one = person(office)
    ((total, here, income),) = office.result(
        f"SELECT count(*), count(*) FILTER (WHERE {one}) AS c, sum(Income) FILTER (WHERE {one}) AS s FROM records",
    )
    assert (total, here, income) == (400, None, None)


def test_all_but_one_row_beside_all_gives_nothing_within_one_analysis(office: Office) -> None:
    one = person(office)
    ((everyone, others),) = office.result(
        f"SELECT sum(Income), sum(Income) FILTER (WHERE NOT ({one})) AS others FROM records",
    )
    assert everyone is not None
    assert others is None


def test_all_but_one_row_after_all_gives_nothing(office: Office) -> None:
    """The set difference by repeated queries: sum over all, then over all but one."""
    one = person(office)
    assert len(office.result("SELECT sum(Income) FROM records")) == 1
    assert office.result(f"SELECT sum(Income) FROM records WHERE NOT ({one})") == []


def test_all_after_all_but_one_row_gives_nothing(office: Office) -> None:
    one = person(office)
    assert len(office.result(f"SELECT sum(Income) FROM records WHERE NOT ({one})")) == 1
    assert office.result("SELECT sum(Income) FROM records") == []


def test_counts_do_not_tell_one_row_by_difference_of_sums_and_counts(office: Office) -> None:
    """count(*) with the row, sum and avg without it: their quotient is a count that differs by
    one.
    """
    one = person(office)
    assert len(office.result("SELECT count(*) FROM records WHERE Status = 'bad' OR Age > 100")) == 1
    assert (
        office.result(
            f"SELECT sum(Income), avg(Income) FROM records WHERE (Status = 'bad' OR Age > 100) AND NOT ({one})",
        )
        == []
    )


def test_a_row_whose_neighbours_lack_the_value_is_not_told_by_a_difference(office: Office) -> None:
    """Twelve rows are left out, but only one of them holds an income."""
    office.table.columns["Age"][:12] = 101.0
    office.table.columns["Income"][:12] = np.nan
    office.table.columns["Income"][5] = 4321.0
    assert office.result("SELECT sum(Income) FROM records")[0][0] is not None
    assert office.result("SELECT count(*), sum(Income) FROM records WHERE NOT (Age = 101)") == [
        [388, None],
    ]


def test_a_tracker_over_three_analyses_is_stopped(office: Office) -> None:
    """S(A) + S(B) - S(A or B) is S(A and B), of one row: each pair of sets differs by many."""
    home, age = office.table.columns["Home"], office.table.columns["Age"]
    age[home == "rent"] = 20.0
    age[np.flatnonzero(home == "rent")[0]] = 70.0
    sets = ["Home = 'rent'", "Age > 60", "Home = 'rent' OR Age > 60"]
    got = [
        office.result(f"SELECT sum(Income) FROM records WHERE {condition}") for condition in sets
    ]
    assert len(got[0]) == 1
    assert [] in got[1:]


def test_shifted_bins_do_not_tell_the_rows_between(office: Office) -> None:
    """Ages by tens from 0 and from 1: groups that overlap in all but a year's rows."""
    office.table.columns["Age"] = np.where(
        office.table.columns["Age"] % 10 == 0,
        33.0,
        office.table.columns["Age"],
    )
    office.table.columns["Age"][:4] = 30.0
    first = office.result(
        "SELECT floor(Age / 10) AS d, count(*) FROM records GROUP BY floor(Age / 10)",
    )
    second = office.result(
        "SELECT floor((Age - 1) / 10) AS d, count(*) FROM records GROUP BY floor((Age - 1) / 10)",
    )
    assert 3.0 in [row[0] for row in first]
    assert 2.0 not in [row[0] for row in second]


def test_a_changed_source_does_not_tell_the_change(office: Office, refused: Refused) -> None:
    office.run("SELECT sum(Income) FROM records")
    office.table.columns["Income"][3] += 1
    with refused("rows_changed"):
        office.run("SELECT sum(Income) FROM records")
    office.rule(POLICY.replace("2026-q4", "2027-q1"))
    assert office.result("SELECT sum(Income) FROM records") != []


def test_other_bounds_do_not_tell_the_values_beyond_them(office: Office, refused: Refused) -> None:
    """Only one income is above 5000: sums with the bound at 5000 and at 6000 differ by what it is
    above.
    """
    office.run("SELECT sum(Income) FROM records")
    office.rule(POLICY.replace("high = 5000", "high = 6000"))
    with refused("rows_changed"):
        office.run("SELECT sum(Income) FROM records")


def test_a_row_more_or_less_is_a_changed_source(office: Office, refused: Refused) -> None:
    office.run("SELECT count(Income) FROM records")
    whole = office.table
    office.table = whole.take(np.arange(len(whole) - 1))
    with refused("rows_changed"):
        office.run("SELECT count(*) FROM records WHERE Age > 1")


def test_one_who_may_ask_another_way_gets_no_more_than_the_first(office: Office) -> None:
    """A job of another name, by another analyst, is checked against the same record."""
    one = person(office)
    office.run("SELECT sum(Income) FROM records", name="first")
    assert office.result(f"SELECT sum(Income) FROM records WHERE NOT ({one})", name="second") == []


def test_releases_are_counted_even_when_they_give_nothing(office: Office, refused: Refused) -> None:
    office.rule(POLICY.replace("releases = 20", "releases = 2"))
    for _ in range(2):
        office.run("SELECT count(*) FROM records WHERE Age > 1000")
    with refused("releases_spent"):
        office.run("SELECT count(*) FROM records")


# --- What is held back, as an oracle --------------------------------------------------------------


INCOME = 3217.0
CELLS = (
    "count(*) FILTER (WHERE NOT (Age = 101 AND Income >= {k}))",
    "sum(Income) FILTER (WHERE NOT (Age = 101 AND Income >= {k}))",
    "count(*) FILTER (WHERE CASE WHEN Income >= {k} THEN Age <> 101 ELSE Age > 0 END)",
    "count(CASE WHEN Age = 101 AND Income >= {k} THEN NULL ELSE 1 END)",
    "count(NULLIF(Income >= {k}, Age = 101))",
    "sum(CAST(Income >= {k} AS INTEGER)) FILTER (WHERE Age <> 101)",
)


def released_of_the_income(office: Office, cell: str) -> tuple[int, int]:
    """What an analyst knows of the one income after all analyses it may make: between which bounds
    it is.

    Each analysis asks for all rows, and for all but the one whose income is at least this, at
    twelve cells: what is withheld lacks one row.
    """
    low, high = 0, 5000
    try:
        while high - low > 1:
            indexes = sorted(
                {low + (high - low) * number // 13 for number in range(1, 13)} - {low, high},
            )
            cells = ", ".join(f"{cell.format(k=index)} AS c{index}" for index in indexes)
            ((_, *values),) = office.result(f"SELECT count(*), {cells} FROM records")
            lacking = [index for index, value in zip(indexes, values, strict=True) if value is None]
            low, high = max([low, *lacking]), min([high, *(set(indexes) - set(lacking))])
    except QiaolianError as error:
        if error.code not in ("policy_malformed", "use_not_allowed", "analysis_refused"):
            raise
    return low, high


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "uses",
    ['["aggregate"]', '["filter", "aggregate"]', '["group", "filter", "aggregate"]'],
)
def test_what_is_held_back_does_not_tell_one_persons_income(
    office: Office,
    cell: str,
    uses: str,
) -> None:
    """Whether a cell is given out would be one exact bit about the one row, under any condition the
    analyst likes: four analyses find the income.
    """
    person(office)
    office.table.columns["Income"][3] = INCOME
    office.rule(POLICY.replace('uses = ["aggregate"]', f"uses = {uses}"))
    assert released_of_the_income(office, cell) == (0, 5000)


@pytest.mark.parametrize("held", [9, 10, 11])
@pytest.mark.parametrize("cell", ["sum(Income)", "count(Income)", "avg(Income)"])
def test_what_is_held_back_does_not_tell_who_has_a_value(
    office: Office,
    refused: Refused,
    cell: str,
    held: int,
) -> None:
    """Of twelve rows nine, ten or eleven hold an income, and it is not known which: a
    sum that came with ten alone would reveal it.
    """
    office.rule(POLICY.replace('known = "missing"\n', ""))
    office.table.columns["Age"][:12] = 101.0
    office.table.columns["Income"][:] = 1000.0
    office.table.columns["Income"][held:12] = np.nan
    for where in ("Age = 101", "Age < 50"):
        with refused("policy_types"):
            office.run(f"SELECT {cell} FROM records WHERE {where}")


def test_a_column_without_gaps_needs_nothing_to_be_known(office: Office) -> None:
    office.rule(POLICY.replace('known = "missing"\n', ""))
    office.table.columns["Income"][:] = 1000.0
    assert office.result("SELECT count(Income), sum(Income) FROM records") == [[400, 400_000.0]]


# --- Errors as oracles ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "policy",
    [
        POLICY.replace("releases = 20", "releases = 20\nmax_groups = 2"),
        POLICY + "\n[limits]\nrows = 399\n",
    ],
)
def test_whatever_fails_once_the_source_is_open_has_one_code(
    office: Office,
    policy: str,
    refused: Refused,
) -> None:
    office.rule(policy)
    with refused("analysis_failed"):
        office.run(BY_HOME)
    assert len(ReleaseFile(office.home, "records", "2026-q4").read().runs) == 1


@pytest.mark.parametrize("value", [0.0, -1.0, 1e308, -1e308, np.inf, -np.inf, np.nan])
def test_no_value_of_a_row_makes_an_analysis_fail(office: Office, value: float) -> None:
    """What the analyst gets is of the same form whatever a row holds: no division, overflow or cast
    tells.
    """
    office.table.columns["Age"][3] = value
    office.table.columns["Income"][3] = value
    sql = "SELECT count(*), sum(Income) FROM records WHERE NOT (Age / 3 * Age * Age - Age > 5 AND abs(round(Age)) - floor(Age) > 1e10)"
    ((count, total),) = office.result(sql)
    assert count is not None
    assert total is not None


# --- Before anything is opened --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"parameters": {}}, "spec_parameters"),
        ({"parameters": {"sql": BY_HOME, "more": 1}}, "spec_parameters"),
        ({"parameters": {"sql": 7}}, "analysis_text"),
        ({"parameters": {"sql": "SELECT"}}, "analysis_refused"),
        ({"parameters": {"sql": BY_HOME.replace("records", "other")}}, "spec_roles"),
        (
            {
                "parties": {
                    "tax": Party("owner", "records", ("Home", "Income")),
                    "bank": Party("analyst", "loans"),
                }
            },
            "spec_roles",
        ),
        ({"parties": {"tax": Party("owner"), "bank": Party("analyst")}}, "spec_roles"),
        (
            {
                "parties": {
                    "tax": Party("owner", "records", ("Home", "Income")),
                    "bank": Party("owner", "x"),
                }
            },
            "spec_roles",
        ),
        (
            {
                "parties": {
                    "tax": Party("owner", "records", ("Home", "Income")),
                    "bank": Party("analyst"),
                    "other": Party("analyst"),
                }
            },
            "spec_roles",
        ),
        (
            {
                "parties": {
                    "tax": Party("owner", "records", ("Home", "Income")),
                    "bank": Party("reader"),
                }
            },
            "spec_roles",
        ),
        (
            {"parties": {"tax": Party("owner", "records", ("Home",)), "bank": Party("analyst")}},
            "spec_columns",
        ),
        (
            {
                "parties": {
                    "tax": Party("owner", "records", ("Home", "Income", "Age")),
                    "bank": Party("analyst"),
                }
            },
            "spec_columns",
        ),
    ],
)
def test_bad_specifications_are_refused(change: dict[str, Any], code: str) -> None:
    job = job_of(BY_HOME)
    assert protocol_of(job) is ANALYSIS
    with pytest.raises(BadInput, check=lambda error: error.code == code):
        protocol_of(replace(job, **change))


def test_the_analyst_has_no_policy_to_ask() -> None:
    ANALYSIS.admit(job_of(BY_HOME), "bank", {"policy": None})


def test_without_a_policy_nothing_is_admitted(office: Office, refused: Refused) -> None:
    with refused("policy_missing"):
        ANALYSIS.admit(job_of(BY_HOME), "tax", {**office.settings, "policy": None})


# --- Noise ----------------------------------------------------------------------------------------


def test_noise_is_charged_once_for_each_analysis_and_refused_when_it_is_spent(
    noisy_office: Office,
    refused: Refused,
) -> None:
    budget = Budget(noisy_office.home / "budget.json")
    for left in (10_000, 5_000, 0):
        assert noisy_office.run(BY_HOME)["tax"].metrics["micro_rho"] == 5000
        assert budget.balance().left == left
    with refused("budget_exhausted"):
        noisy_office.run(BY_HOME)
    assert len(ReleaseFile(noisy_office.home, "records", "2026-q4").read().runs) == 3


@pytest.mark.parametrize("limit", [0, 4_999])
def test_a_budget_that_does_not_reach_is_refused_before_anything(
    noisy_office: Office,
    refused: Refused,
    limit: int,
) -> None:
    (noisy_office.home / "budget.json").unlink()
    Budget.create(noisy_office.home / "budget.json", limit)
    with refused("budget_exhausted"):
        ANALYSIS.admit(job_of(BY_HOME), "tax", noisy_office.settings)
    (noisy_office.home / "budget.json").unlink()
    with refused("budget_missing"):
        ANALYSIS.admit(job_of(BY_HOME), "tax", noisy_office.settings)


def test_noise_changes_what_is_released_and_is_fresh_each_time(noisy_office: Office) -> None:
    first, second = noisy_office.result(BY_HOME), noisy_office.result(BY_HOME)
    assert [row[0] for row in first] == [row[0] for row in second]
    assert first != second
    for home, firms, _ in first:
        assert abs(firms - truth(noisy_office, home)[0]) < 40 * 25


@pytest.mark.parametrize(
    ("sql", "bounds"),
    [
        (BY_HOME, [(1, 0), (1, 500_000)]),
        ("SELECT sum(Income) FROM records", [(0, 0), (0, 500_000)]),
        ("SELECT count(Income), sum(Income) FROM records", [(0, 0), (1, 500_000)]),
        ("SELECT count(*), count(*) FILTER (WHERE Age > 30) AS c FROM records", [(1, 0), (1, 0)]),
    ],
)
def test_what_the_noise_costs_is_within_what_is_charged(
    policy: Policy,
    sql: str,
    bounds: list[tuple[int, int]],
) -> None:
    """Zero-concentrated: the sum of bound**2 / (2 sigma**2) over all numbers given out; and one
    less of any sigma would be above its share.
    """
    rules, analysis = policy.sources["records"], read(sql)
    statement = write(analysis, rules, min_rows=10, max_groups=10)
    assert answer.sensitivities(analysis, statement, rules) == bounds
    for micro_rho in (2000, 5003, 10**6, 10**9):
        found = answer.sigmas(analysis, statement, rules, micro_rho)
        assert [(size > 0, total > 0) for size, total in found] == [
            (size > 0, total > 0) for size, total in bounds
        ]
        parts = [
            share
            for pair, sigma in zip(bounds, found, strict=True)
            for share in zip(pair, sigma, strict=True)
            if share[0]
        ]
        assert sum(bound**2 * 10**6 / (2 * sigma**2) for bound, sigma in parts) <= micro_rho
        assert all(
            sigma == 1 or bound**2 * 10**6 / (2 * (sigma - 1) ** 2) > micro_rho / len(parts)
            for bound, sigma in parts
        )


def test_noise_too_wide_to_draw_exactly_is_refused_before_anything(
    noisy_office: Office,
    refused: Refused,
) -> None:
    text = (noisy_office.home / "policy.toml").read_text()
    noisy_office.rule(
        text.replace("micro_rho = 5000", "micro_rho = 1").replace("decimals = 2", "decimals = 5"),
    )
    with refused("noise_wrong"):
        ANALYSIS.admit(job_of(BY_HOME), "tax", noisy_office.settings)


# --- An owner that lies ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        None,
        {},
        "x",
        [1],
        [["rent", 10]],
        [["rent", 10, 1.5, 2]],
        [["rent", "10", 1.5]],
        [["rent", 10.0, 1.5]],
        [["rent", True, 1.5]],
        [["rent", 10, 1]],
        [["rent", 10, "=cmd()"]],
        [["rent", 2**60, 1.5]],
        [[["rent"], 10, 1.5]],
        [["rent", 10, 1.5], [7.0, 10, 1.5]],
        [["x" * 70_000, 10, 1.5]],
        [["rent", 10, 1.5]] * 10_001,
    ],
)
def test_a_result_that_is_not_of_this_analysis_is_refused(rows: Any) -> None:
    job = job_of(BY_HOME)

    async def liar(session: Session) -> None:
        await session.to("bank").send("analysis/result", rows=rows)

    async def analyst(session: Session) -> JobResult | QiaolianError:
        try:
            return await ANALYSIS.roles["analyst"](session, None, job)
        except QiaolianError as error:
            return error

    error = run_local({"tax": liar, "bank": analyst})["bank"]
    assert isinstance(error, PeerFault)
    assert error.code == "message_malformed"


def test_an_owner_without_rows_is_named(office: Office) -> None:
    async def owner() -> JobResult:
        session = Session("tax", {}, None, settings=office.settings)  # type: ignore[arg-type]
        return await ANALYSIS.roles["owner"](session, None, job_of(BY_HOME))

    with pytest.raises(BadInput, check=lambda error: error.code == "no_rows"):
        asyncio.run(owner())
