"""An analysis of a million rows at their owner, from two daemons' hellos to their receipts, beside
DuckDB reading the same file by itself.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from federated.job import Job
from scripts.benches.figure import Figure
from scripts.federated_demo.parties import KEY, Parties

ROWS = 1_000_000
ROUNDS = 3
_SQL = (
    "SELECT Home, floor(Age / 10) AS decade, count(*) AS firms, avg(Income) AS income, "
    "sum(Income) FILTER (WHERE Late = 'yes') AS late "
    "FROM {} WHERE Age >= 20 GROUP BY Home, floor(Age / 10)"
)
_POLICY = """
period = "bench"
purposes = ["measurement"]
functions = ["count", "sum", "avg"]
min_rows = 10
releases = 100
[sources.records]
Home = { type = "text", uses = ["group"], known = "values" }
Late = { type = "text", uses = ["filter"], known = "values" }
Age = { type = "number", uses = ["group", "filter"], known = "values" }
Income = { type = "number", uses = ["aggregate"], low = 0, high = 100000 }
"""


def run(say: Callable[[str], None]) -> list[Figure]:
    """The median of some runs of each; the results must agree."""
    say(f"analysis of {ROWS:,} rows")
    parties = {
        "tax": {"role": "owner", "source": "records", "columns": ["Age", "Home", "Income", "Late"]},
        "bank": {"role": "analyst"},
    }
    spec = {
        "job": "analysis",
        "protocol": "analysis",
        "purpose": "measurement",
        "parties": parties,
        "parameters": {"sql": _SQL.format("records")},
    }
    job = Job.from_json(spec)
    with tempfile.TemporaryDirectory() as directory:
        made = Parties.make(
            Path(directory),
            {"tax": {"records": _records()}, "bank": {}},
            form="parquet",
            policies={"tax": _POLICY},
        )
        plain = [_plain(made.source("tax", "records")) for _ in range(ROUNDS)]
        with made:
            made.approve(job)
            receipts = [made.run(job) for _ in range(ROUNDS)]
        assert all(
            receipt_set["bank"]["metrics"] == {"rows": plain[0][1], "missing": 0}
            for receipt_set in receipts
        )
        spent = statistics.median(
            max(float(receipt["seconds"]) for receipt in receipt.values()) for receipt in receipts
        )
    return [
        Figure(
            f"analysis of {ROWS:,} rows, confined and checked, parquet",
            spent,
            "s",
            statistics.median(run[0] for run in plain),
            "plain DuckDB",
            "≤ 10 s",
        )
    ]


def _records() -> pa.Table:
    numbers = np.random.default_rng(5)
    columns = {
        "Home": numbers.choice(["owner", "rent", "parents", "other"], ROWS),
        "Late": numbers.choice(["yes", "no"], ROWS),
        "Age": numbers.integers(18, 90, ROWS),
        "Income": numbers.integers(0, 20_000, ROWS),
    }
    return pa.table({KEY: pa.array([f"{number:018d}" for number in range(ROWS)]), **columns})


def _plain(path: Path) -> tuple[float, int]:
    """Seconds and rows of the same SQL over the file, unchecked, with all processors."""
    started = time.perf_counter()
    rows = (
        duckdb.connect(":memory:").execute(_SQL.format("read_parquet($1)"), [str(path)]).fetchall()
    )
    return time.perf_counter() - started, len(rows)
