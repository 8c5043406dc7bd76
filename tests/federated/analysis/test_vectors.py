"""The page's example, policy and vectors are what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from federated.analysis import answer
from federated.analysis.child import _CALLS
from federated.analysis.policy import Policy
from federated.analysis.statement import write
from federated.analysis.syntax import read
from federated.horizontal.gaussian import discrete_gaussian
from federated.randomness import Randomness

PAGE = (Path(__file__).parents[3] / "docs" / "protocols" / "analysis.md").read_text()
SQL = "SELECT Home, count(*), avg(Income) FILTER (WHERE Age >= 30) AS income FROM records GROUP BY Home"
COLUMNS = """
Home = { type = "text", uses = ["group"], known = "values" }
Age = { type = "number", uses = ["group", "filter"], known = "values" }
Income = { type = "number", uses = ["aggregate"], low = 0, high = 5000, decimals = 2 }
"""
HEAD = 'period = "q"\npurposes = ["p"]\nfunctions = ["count", "sum", "avg"]\nmin_rows = 10\nreleases = 1\n[sources.records]\n'


def test_the_pages_statements_are_what_runs() -> None:
    rules = Policy.parse((HEAD + COLUMNS).encode()).sources["records"]
    statement = write(read(SQL), rules, min_rows=10, max_groups=1000)
    assert statement.parameters == (30.0,)
    for text in (SQL, statement.marked, statement.groups, statement.members):
        assert f"\n    {text}\n" in PAGE


def test_the_pages_noise_is_what_is_drawn() -> None:
    rules, analysis = Policy.parse((HEAD + COLUMNS).encode()).sources["records"], read(SQL)
    (rows, _), (values, total) = answer.sigmas(
        analysis,
        write(analysis, rules, min_rows=10, max_groups=1000),
        rules,
        5000,
    )
    assert f"| {rows}, {values}, {total} |" in PAGE
    noise = Randomness(bytes(32)).child("noise")
    assert f"`{discrete_gaussian(rows, 6, noise.child('size/0')).tolist()}`" in PAGE
    assert f"`{discrete_gaussian(total, 3, noise.child('sum/1')).tolist()}`" in PAGE


def test_the_pages_policy_and_example_are_sound() -> None:
    (policy,) = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
    assert Policy.parse(policy.encode()).max_groups == 1000
    (example,) = re.findall(r"    (SELECT Home, floor\(Age / 10\).*?)\n\n", PAGE, re.S)
    assert len(read(example).keys) == 2


def test_the_page_counts_the_system_calls() -> None:
    shown = re.search(r"filter with (\d+) system calls \((\d+) on ARM\)", PAGE)
    assert shown is not None
    assert [int(group) for group in shown.groups()] == [
        len(set(_CALLS[machine][1])) for machine in ("x86_64", "aarch64")
    ]
