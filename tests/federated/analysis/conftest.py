"""A department's records, its policy, and a bank that submits analyses to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federated.analysis import ANALYSIS
from federated.analysis.policy import Policy
from federated.analysis.syntax import read
from federated.errors import QiaolianError
from federated.horizontal.budget import Budget
from federated.job import Job, JobResult, Table
from federated.local import run_local
from federated.session import Session

POLICY = """
period = "2026-q4"
purposes = ["credit-assessment"]
functions = ["count", "sum", "avg"]
min_rows = 10
releases = 20

[sources.records.Home]
type = "text"
uses = ["group", "filter"]
known = "values"

[sources.records.Age]
type = "number"
uses = ["group", "filter"]
known = "values"

[sources.records.Income]
type = "number"
uses = ["aggregate"]
low = 0
high = 5000
decimals = 2
known = "missing"

[sources.records.Status]
type = "text"
uses = ["filter"]
known = "values"
"""
NOISE = "\n[noise]\nmicro_rho = 5000\n"


def make_table(count: int = 400) -> Table:
    numbers = np.random.default_rng(7)
    home = numbers.choice(["owner", "rent", "parents"], count).astype(object)
    home[::41] = None
    income = np.round(numbers.uniform(0, 6000, count), 2)
    income[::7] = np.nan
    columns = {
        "Home": home,
        "Age": numbers.integers(18, 80, count).astype(np.float64),
        "Income": income,
    }
    columns["Status"] = numbers.choice(["good", "bad"], count, p=[0.7, 0.3]).astype(object)
    return Table(np.array([f"{number:018d}".encode() for number in range(count)]), columns)


def job_of(
    sql: str,
    *,
    purpose: str = "credit-assessment",
    name: str = "analysis",
    columns: tuple[str, ...] | None = None,
) -> Job:
    columns = tuple(sorted(read(sql).columns())) if columns is None else columns
    parties = {
        "tax": {"role": "owner", "source": "records", "columns": list(columns)},
        "bank": {"role": "analyst"},
    }
    return Job.from_json(
        {
            "job": name,
            "protocol": "analysis",
            "purpose": purpose,
            "parties": parties,
            "parameters": {"sql": sql},
        }
    )


@dataclass
class Office:
    """The tax bureau's folder, with its rows and its policy."""

    home: Path
    table: Table = field(default_factory=make_table)

    def rule(self, policy: str) -> None:
        (self.home / "policy.toml").write_text(policy)

    @property
    def settings(self) -> Mapping[str, Any]:
        return {
            "home": self.home,
            "policy": self.home / "policy.toml",
            "budget": self.home / "budget.json",
        }

    def run(self, sql: str, **more: Any) -> dict[str, JobResult]:
        """Both roles, as an attempt would start them; the owner's error if it has one."""
        job = job_of(sql, **more)
        ANALYSIS.check(job)
        ANALYSIS.admit(job, "tax", self.settings)
        table = Table(
            self.table.ids,
            {name: self.table.columns[name] for name in job.parties["tax"].columns},
        )

        async def owner(session: Session) -> JobResult | QiaolianError:
            session = Session(
                session.party,
                session.channels,
                session.randomness,
                settings=self.settings,
            )
            try:
                return await ANALYSIS.roles["owner"](session, table, job)
            except QiaolianError as error:
                return error

        async def analyst(session: Session) -> JobResult | QiaolianError:
            try:
                return await ANALYSIS.roles["analyst"](session, None, job)
            except QiaolianError as error:
                return error

        ended = run_local({"tax": owner, "bank": analyst})
        outcomes: dict[str, JobResult] = {}
        for name in ("tax", "bank"):
            end = ended[name]
            if isinstance(end, QiaolianError):
                raise end
            outcomes[name] = end
        return outcomes

    def result(self, sql: str, **more: Any) -> list[list[Any]]:
        """What the bank gets, as the owner recorded it and the bank's files say."""
        import json

        rows: list[list[Any]] = json.loads(self.run(sql, **more)["tax"].files["released.json"])[
            "result"
        ]
        return rows


@pytest.fixture
def office(tmp_path: Path) -> Office:
    made = Office(tmp_path)
    made.rule(POLICY)
    return made


@pytest.fixture
def policy() -> Policy:
    return Policy.parse(POLICY.encode())


@pytest.fixture
def noisy_office(office: Office) -> Office:
    """The same with noise, and a ledger that reaches for three analyses."""
    office.rule(POLICY.replace("\n[sources.records.Home]", NOISE + "\n[sources.records.Home]"))
    Budget.create(office.home / "budget.json", 15_000)
    return office


Refused = Callable[..., Any]


@pytest.fixture
def refused() -> Refused:
    """Expect an error of this project with this code."""

    def expect(code: str) -> Any:
        return pytest.raises(QiaolianError, check=lambda error: error.code == code)

    return expect
