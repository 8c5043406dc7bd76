"""An owner's policy: read strictly, and asked before anything else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from federated.analysis.policy import Policy
from federated.analysis.syntax import read
from federated.errors import BadInput, Forbidden
from tests.federated.analysis.conftest import NOISE, POLICY, job_of


def replaced(old: str, new: str) -> str:
    assert old in POLICY
    return POLICY.replace(old, new, 1)


def test_a_policy_is_read(policy: Policy) -> None:
    assert policy.period == "2026-q4"
    assert policy.min_rows == 10
    assert policy.noise is None
    assert policy.limits.seconds == 30
    assert policy.sources["records"]["Income"].bound == 500_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not TOML",
        "\x00",
        replaced("min_rows = 10", "min_rows = 1"),
        replaced("min_rows = 10", "min_rows = 10.5"),
        replaced("min_rows = 10", "min_rows = true"),
        replaced("min_rows = 10", ""),
        replaced("min_rows = 10", "min_rows = 10\nless = 1"),
        replaced("releases = 20", "releases = 0"),
        replaced("releases = 20", ""),
        replaced('period = "2026-q4"', 'period = "../x"'),
        replaced('purposes = ["credit-assessment"]', "purposes = []"),
        replaced('"avg"]', '"avg", "max"]'),
        replaced('"avg"]', '"avg", "stddev"]'),
        replaced('functions = ["count", "sum", "avg"]', "functions = []"),
        replaced("[sources.records.Home]", "[sources.'../x'.Home]"),
        replaced("high = 5000", ""),
        replaced("high = 5000", "high = 0"),
        replaced("high = 5000", "high = inf"),
        replaced("high = 5000", "high = nan"),
        replaced("high = 5000", "high = 1e9"),
        replaced("decimals = 2", "decimals = -1"),
        replaced('type = "number"\nuses = ["aggregate"]', 'type = "text"\nuses = ["aggregate"]'),
        replaced('uses = ["aggregate"]', 'uses = ["read"]'),
        replaced('uses = ["aggregate"]', "uses = []"),
        replaced('uses = ["aggregate"]', 'uses = ["filter", "aggregate"]'),
        replaced('uses = ["aggregate"]', 'uses = ["group", "aggregate"]'),
        replaced('uses = ["filter"]\nknown = "values"', 'uses = ["filter"]'),
        replaced('uses = ["filter"]\nknown = "values"', 'uses = ["filter"]\nknown = "missing"'),
        replaced('uses = ["filter"]\nknown = "values"', 'uses = ["group"]'),
        replaced('known = "missing"', "known = true"),
        replaced("releases = 20", "releases = 20\n[limits]\nseconds = 0"),
        replaced("releases = 20", "releases = 20\n[limits]\nmemory_mb = 1"),
        replaced("releases = 20", "releases = 20\n[limits]\nrows = 100000000"),
        replaced("releases = 20", "releases = 20" + NOISE.replace("5000", "0")),
        replaced("releases = 20", "releases = 20" + NOISE.replace("5000", "0.5")),
    ],
)
def test_a_policy_with_a_slip_in_it_allows_nothing(text: str) -> None:
    with pytest.raises(BadInput, check=lambda error: error.code == "policy_malformed"):
        Policy.parse(text.encode())


def test_a_policy_that_is_not_there_allows_nothing(
    tmp_path: Path,
    refused: Callable[..., Any],
) -> None:
    for path in (None, tmp_path / "none.toml", tmp_path):
        with refused("policy_missing"):
            Policy.load(path)


def test_a_column_chooses_rows_only_if_the_owner_says_that_its_values_are_known() -> None:
    """A policy that says nothing of it leaves a column to be added up alone; one that lets it
    filter all the same is none.
    """
    quiet = replaced('known = "missing"\n', "")
    assert Policy.parse(quiet.encode()).sources["records"]["Income"].known is None
    with pytest.raises(
        BadInput,
        check=lambda error: error.code == "policy_malformed" and "known" in error.sentence,
    ):
        Policy.parse(
            quiet.replace('uses = ["aggregate"]', 'uses = ["filter", "aggregate"]').encode(),
        )
    known = quiet.replace(
        'uses = ["aggregate"]',
        'uses = ["filter", "aggregate"]\nknown = "values"',
    )
    assert Policy.parse(known.encode()).sources["records"]["Income"].known == "values"


@pytest.mark.parametrize(
    ("sql", "purpose", "code"),
    [
        ("SELECT count(*) FROM records", "marketing", "purpose_not_allowed"),
        ("SELECT count(*) FROM other", "credit-assessment", "source_not_allowed"),
        (
            "SELECT count(*) FROM records WHERE Name = 'x'",
            "credit-assessment",
            "column_not_allowed",
        ),
        (
            "SELECT count(*) FROM records WHERE home = 'x'",
            "credit-assessment",
            "column_not_allowed",
        ),
        ("SELECT count(*) FROM records WHERE Income = 5", "credit-assessment", "use_not_allowed"),
        (
            "SELECT Income, count(*) FROM records GROUP BY Income",
            "credit-assessment",
            "use_not_allowed",
        ),
        (
            "SELECT floor(Income), count(*) FROM records GROUP BY floor(Income)",
            "credit-assessment",
            "use_not_allowed",
        ),
        ("SELECT sum(Age) FROM records", "credit-assessment", "use_not_allowed"),
        (
            "SELECT count(*) FILTER (WHERE Income > 5) FROM records",
            "credit-assessment",
            "use_not_allowed",
        ),
        (
            "SELECT Status, count(*) FROM records GROUP BY Status",
            "credit-assessment",
            "use_not_allowed",
        ),
        ("SELECT count(Home) FROM records", "credit-assessment", "use_not_allowed"),
    ],
)
def test_what_the_policy_does_not_name_is_forbidden(
    policy: Policy,
    sql: str,
    purpose: str,
    code: str,
) -> None:
    job = job_of(sql, purpose=purpose)
    with pytest.raises(Forbidden, check=lambda error: error.code == code):
        policy.permit(read(sql), job)


def test_a_function_that_is_not_allowed_is_forbidden() -> None:
    policy = Policy.parse(replaced('["count", "sum", "avg"]', '["count"]').encode())
    with pytest.raises(Forbidden, check=lambda error: error.code == "function_not_allowed"):
        policy.permit(
            read("SELECT avg(Income) FROM records"),
            job_of("SELECT avg(Income) FROM records"),
        )
