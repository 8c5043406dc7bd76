"""Loan and mortgage records split by columns among the parties. Each has its own row order, and
each department lacks some rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from scripts.demo_steps.records import COLUMNS as COLUMNS
from scripts.demo_steps.records import MORTGAGE_COLUMNS as MORTGAGE_COLUMNS
from scripts.demo_steps.records import SUBJECT, loans, mortgages
from scripts.federated_demo.parties import KEY

SOURCE = "records"
MORTGAGES = "mortgages"
DEPARTMENTS = ("social-security", "real-estate", "tax")
BANK = "bank"
LABEL = "Status"
OUTCOMES = {"bad": "bad", "good": "good"}
MORTGAGE_LABEL = "deny"
MORTGAGE_OUTCOMES = {"bad": "yes", "good": "no"}
TEST = "Test"
"""The bank's column that keeps one firm in five from all trainings, so that every model is judged
by the same firms.
"""
_TESTED = 0.2
_MISSING_OF = 50
"""Each department lacks one row in fifty, each another one: a business it has never dealt with."""


def tables() -> dict[str, dict[str, pa.Table]]:
    """``{party: {source: table}}`` of the bank and the three departments."""
    sources = {SOURCE: (loans(), COLUMNS), MORTGAGES: (mortgages(), MORTGAGE_COLUMNS)}
    return {
        party: {
            source: _table(party, columns[party], rows)
            for source, (rows, columns) in sources.items()
        }
        for party in COLUMNS
    }


def common(held: Mapping[str, Mapping[str, pa.Table]]) -> list[str]:
    """The codes that all parties hold: what no party knows, and the demo may compute because it
    made the tables.
    """
    sets = [set(sources[SOURCE].column(KEY).to_pylist()) for sources in held.values()]
    return sorted(set.intersection(*sets))


def _table(party: str, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> pa.Table:
    position = DEPARTMENTS.index(party) if party in DEPARTMENTS else None
    own_rows = [
        row
        for number, row in enumerate(rows)
        if position is None or number % _MISSING_OF != position
    ]
    order = np.random.default_rng(list(COLUMNS).index(party)).permutation(len(own_rows))
    ordered = [own_rows[index] for index in order]
    columns_by_name = {name: [row[name] for row in ordered] for name in columns}
    if party == BANK:
        columns_by_name[TEST] = (
            (np.random.default_rng(len(rows)).random(len(ordered)) < _TESTED).astype(int).tolist()
        )
    return pa.table({KEY: [row[SUBJECT] for row in ordered]} | columns_by_name)
