"""SecureBoost through two real daemons over TLS, beside plain xgboost on the same bins and rows."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
from numpy.typing import NDArray

from federated.evaluation import RankingCurve
from federated.job import Job
from federated.vertical.binning import Bins
from scripts.benches.figure import Figure
from scripts.federated_demo.parties import KEY, Parties

ROWS = 40_000
TEST = 0.25
"""30,000 rows are left to train on."""
COLUMNS = 12
TREES = 10
DEPTH = 5
TABLES = {"bank": slice(0, 6), "tax": slice(6, 12)}


def run(say: Callable[[str], None]) -> list[Figure]:
    """Seconds a tree, everything from hello to receipt counted; and how far the AUC is from
    xgboost's.
    """
    trained = ROWS - round(ROWS * TEST)
    say(f"SecureBoost {trained:,} × {COLUMNS}, depth {DEPTH}, {TREES} trees")
    values, bad = _rows()
    with (
        tempfile.TemporaryDirectory() as directory,
        Parties.make(Path(directory), _tables(values, bad)) as parties,
    ):
        job = _job()
        parties.approve(job)
        receipts = parties.run(job)
        spent = max(float(receipt["seconds"]) for receipt in receipts.values()) / TREES
        sent = sum(int(receipt["sentBytes"]) for receipt in receipts.values()) / TREES / 2**20
        models = [
            json.loads((receipt["folder"] / "output" / "model.json").read_text(encoding="utf-8"))
            for receipt in receipts.values()
        ]
        scores = csv.read_csv(receipts["bank"]["folder"] / "output" / "scores.csv")
    rows = scores["id"].to_numpy() % 10**10
    train = scores["part"].to_numpy(zero_copy_only=False) == "train"
    test, probability = rows[~train], scores["probability"].to_numpy()[~train]
    plain, theirs = _xgboost(_codes(models, values), bad, rows[train], test)
    ours, auc = (
        RankingCurve.of(probability, bad[test]).auc(),
        RankingCurve.of(theirs, bad[test]).auc(),
    )
    name = f"SecureBoost {int(train.sum()):,} × {COLUMNS}, depth {DEPTH}"
    return [
        Figure(f"{name}, a tree", spent, "s", plain, "plain xgboost, a tree", "≤ 4 s"),
        Figure(
            f"{name}, AUC's distance from xgboost's",
            abs(ours - auc),
            "",
            auc,
            "xgboost's AUC",
            "≤ 0.002",
        ),
        Figure(
            f"{name}, sent a tree",
            sent,
            "MB",
            values.nbytes / 2**20,
            "the columns themselves",
            "no aim",
        ),
    ]


def _rows() -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    source = np.random.default_rng(5)
    values = source.normal(size=(ROWS, COLUMNS))
    odds = (
        values @ source.normal(size=COLUMNS) / 2
        + np.where(values[:, 0] > 0, values[:, 7], 0.0)
        - np.abs(values[:, 3])
        + 0.3 * values[:, 9] ** 2
    )
    return values, source.random(ROWS) < 1 / (1 + np.exp(-odds))


def _tables(values: NDArray[np.float64], bad: NDArray[np.bool_]) -> dict[str, dict[str, pa.Table]]:
    tables = {}
    for seed, (party, span) in enumerate(TABLES.items()):
        order = np.random.default_rng(seed).permutation(ROWS)
        columns: dict[str, Any] = {
            KEY: pa.array([f"91440703{number:010d}" for number in order.tolist()])
        }
        columns |= {f"x{column}": values[order, column] for column in range(COLUMNS)[span]}
        if party == "bank":
            columns["Status"] = bad[order].astype(np.int64)
        tables[party] = {"rows": pa.table(columns)}
    return tables


def _job() -> Job:
    parties = {
        party: {
            "role": "label" if party == "bank" else "features",
            "source": "rows",
            "columns": [
                *(f"x{column}" for column in range(COLUMNS)[span]),
                *(["Status"] if party == "bank" else []),
            ],
        }
        for party, span in TABLES.items()
    }
    parameters = {
        "label": "Status",
        "trees": TREES,
        "max_depth": DEPTH,
        "test_share": TEST,
        "min_rows": 1,
        "min_rows_summed": 1,
    }
    return Job.from_json(
        {
            "job": "forest",
            "protocol": "boosting",
            "purpose": "measurement",
            "parties": parties,
            "parameters": parameters,
        }
    )


def _codes(models: list[Mapping[str, Any]], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The bins' numbers, from the files that the parties have written."""
    columns = [
        Bins(**{**column, "edges": tuple(column["edges"]), "values": ()})
        for model in models
        for column in model["columns"]
    ]
    return np.stack(
        [bins.codes(values[:, int(bins.column[1:])]) for bins in columns], axis=1
    ).astype(np.float64)


def _xgboost(
    codes: NDArray[np.float64], bad: NDArray[np.bool_], train: NDArray[Any], test: NDArray[Any]
) -> tuple[float, NDArray[np.float64]]:
    """Seconds a tree, and the test rows' chances."""
    import xgboost

    parameters = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "max_depth": DEPTH,
        "eta": 0.3,
        "nthread": 2,
    }
    data = xgboost.DMatrix(codes[train], bad[train])
    started = time.perf_counter()
    booster = xgboost.train(parameters | {"base_score": float(bad[train].mean())}, data, TREES)
    spent = (time.perf_counter() - started) / TREES
    return spent, booster.predict(xgboost.DMatrix(codes[test])).astype(np.float64)
