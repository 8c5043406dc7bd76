"""Scorecards through real daemons over TLS: how long a training and a score take, and how near the
model is to one trained on pooled rows.
"""

from __future__ import annotations

import csv
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from federated.evaluation import RankingCurve
from federated.job import Job
from federated.sources import read
from federated.vertical.binning import NO_BIN, bin_column
from federated.vertical.plan import ScorecardPlan
from federated.vertical.points import ScorecardPart
from scripts.benches.figure import Figure
from scripts.federated_demo.parties import KEY, Parties
from scripts.federated_demo.tables import (
    BANK,
    COLUMNS,
    DEPARTMENTS,
    LABEL,
    OUTCOMES,
    SOURCE,
    tables,
)

Say = Callable[[str], None]

ROWS = 37_500
"""Of which a fifth is for the test: 30,000 are trained with."""
WIDE = {"bank": slice(0, 12), "tax": slice(12, 24)}
TIMES = 3
REPEATS, FOLDS = 4, 5
REQUESTS = 1000
DEALER = "dealer"


def run(say: Say) -> list[Figure]:
    """Training, scoring, and the distance from pooled training."""
    return [*_training(say), *_folds_and_scores(say)]


@contextmanager
def daemons(sources: Mapping[str, Mapping[str, pa.Table]]) -> Iterator[Parties]:
    """Of these parties and a dealer."""
    with (
        tempfile.TemporaryDirectory() as directory,
        Parties.make(Path(directory), {**sources, DEALER: {}}) as made,
    ):
        yield made


# --- 30,000 × 24 ----------------------------------------------------------------------------------


def _training(say: Say) -> list[Figure]:
    say(f"logistic regression 30,000 × 24, 20 iterations, {TIMES} times")
    numbers = np.random.default_rng(11)
    values = numbers.normal(size=(ROWS, 24))
    bad = numbers.random(ROWS) < 1 / (1 + np.exp(1 - values @ numbers.normal(size=24) * 0.4))
    sources = {party: {"rows": _wide(values, bad, party, span)} for party, span in WIDE.items()}
    parties = {
        party: {
            "role": "label" if party == "bank" else "features",
            "source": "rows",
            "columns": sources[party]["rows"].column_names[1:],
        }
        for party in WIDE
    }
    job = _job("wide", parties, {"label": "bad", "iterations": 20})
    hidden_intersection = _job(
        "hidden-intersection",
        parties,
        {"label": "bad", "iterations": 20, "alignment": {"reveal": "nobody"}},
    )
    with daemons(sources) as made:
        made.approve(job)
        runs = [made.run(job) for _ in range(TIMES)]
        say(f"the same on rows that nobody learns, {TIMES} times")
        made.approve(hidden_intersection)
        hidden = [made.run(hidden_intersection) for _ in range(TIMES)]
        auc, blind = (_over_all(values, bad, receipts[0]) for receipts in (runs, hidden))
        peak = max(made.peak_megabytes(name) for name in made.names)
    (spent, sent), (longer, more) = (_spent_and_sent(receipts) for receipts in (runs, hidden))
    trained = runs[0][DEALER]["metrics"]["training_rows"]
    _plain(values[:1000], bad[:1000])  # its import is not to be counted
    started = time.perf_counter()
    _plain(values[:trained], bad[:trained])
    plain = time.perf_counter() - started
    name = f"logistic regression {trained:,} × 24, 20 iterations"
    return [
        Figure(name, spent, "s", plain, "scikit-learn on pooled rows, without files", "≤ 3 s"),
        Figure(
            f"{name}, sent by all parties",
            sent,
            "MB",
            values[:trained].nbytes / 1e6,
            "the columns themselves",
            "≤ 80 MB",
        ),
        Figure(
            "the same on rows that nobody learns",
            longer,
            "s",
            spent,
            "on rows that the parties know",
            "≤ 10 s",
        ),
        Figure(
            "the same on rows that nobody learns, sent by all parties",
            more,
            "MB",
            sent,
            "on rows that the parties know",
            "≤ 300 MB",
        ),
        Figure(
            "the same on rows that nobody learns, most memory of a party",
            peak,
            "MB",
            values.nbytes / 2**20,
            "all columns",
            "≤ 1000 MB",
        ),
        Figure(
            "AUC gap to rows that the parties know, over all rows",
            1000 * abs(auc - blind),
            "thousandths",
            1000 * auc,
            "theirs",
            "≤ 3",
        ),
    ]


def _spent_and_sent(runs: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Seconds in the median, of the slowest party, and the most megabytes sent by all."""
    spent = median(
        max(float(receipt["seconds"]) for receipt in receipts.values()) for receipts in runs
    )
    return spent, max(
        sum(int(receipt["sentBytes"]) for receipt in receipts.values()) for receipts in runs
    ) / 1e6


def _over_all(
    values: NDArray[np.float64], bad: NDArray[np.bool_], receipts: Mapping[str, Any]
) -> float:
    """The AUC over all rows, trained with or not, by the points of all parties' parts."""
    columns = {f"x{column}": values[:, column] for column in range(values.shape[1])}
    points = sum(
        ScorecardPart.from_bytes(
            (receipts[party]["folder"] / "output" / "model.json").read_bytes()
        ).points_of(columns, len(bad))
        for party in WIDE
    )
    return RankingCurve.of(-np.asarray(points, np.float64), bad).auc()


def _wide(values: NDArray[np.float64], bad: NDArray[np.bool_], party: str, span: slice) -> pa.Table:
    order = np.random.default_rng(span.start).permutation(ROWS)
    columns: dict[str, Any] = {KEY: [f"91440703{number:010d}" for number in order.tolist()]}
    columns |= {f"x{column}": values[order, column] for column in range(24)[span]}
    return pa.table(columns | ({"bad": bad[order].astype(np.int64)} if party == "bank" else {}))


# --- Loan records ---------------------------------------------------------------------------------


def _folds_and_scores(say: Say) -> list[Figure]:
    held = tables()
    bank = held[BANK][SOURCE]
    folds = list(_folds(bank.num_rows))
    for number, test in enumerate(folds):
        bank = bank.append_column(f"fold{number}", pa.array(test.astype(np.int64)))
    held = {**held, BANK: {SOURCE: bank}}
    gaps, joint, alone = [], [], []
    with daemons(held) as made:
        pooled = _pooled(made)
        for number in range(len(folds)):
            say(f"loan records, fold {number + 1} of {len(folds)}")
            receipts = _train(made, f"fold{number}")
            score_rows = _scores(receipts)
            ours = _auc([row for row in score_rows if row["part"] == "test"])
            theirs, without = (
                _fitted(pooled, names, score_rows) for names in (_names(COLUMNS), _names([BANK]))
            )
            joint.append(ours)
            alone.append(without)
            gaps.append(1000 * abs(ours - theirs))
        latencies = _latencies(made, receipts, f"fold{len(folds) - 1}", say)
        open_sum = _in_the_open(made, receipts)
    mean, slowest, together = (
        float(np.mean(joint)),
        float(np.quantile(latencies, 0.95)),
        "its points added up in one process",
    )
    gap = f"AUC gap to pooled training, loan records, {REPEATS} × {FOLDS} folds"
    return [
        Figure(
            f"{gap}, mean", float(np.mean(gaps)), "thousandths", 1000 * mean, "the joint AUC", "≤ 1"
        ),
        Figure(
            f"{gap}, worst", float(np.max(gaps)), "thousandths", 1000 * mean, "the joint AUC", "≤ 5"
        ),
        Figure(
            "AUC with three departments, loan records",
            mean,
            "",
            float(np.mean(alone)),
            "the bank's AUC alone",
            "≥ 0.825",
        ),
        Figure(
            "a score of one record, median", median(latencies), "ms", open_sum, together, "no aim"
        ),
        Figure(
            "a score of one record, 95th percentile", slowest, "ms", open_sum, together, "≤ 50 ms"
        ),
    ]


def _folds(rows: int) -> Iterator[NDArray[np.bool_]]:
    for repeat in range(REPEATS):
        part = np.random.default_rng(repeat).permutation(rows) % FOLDS
        yield from (part == fold for fold in range(FOLDS))


def _train(made: Parties, fold: str) -> dict[str, dict[str, Any]]:
    parties: dict[str, Any] = {
        BANK: {"role": "label", "source": SOURCE, "columns": [*COLUMNS[BANK], fold]}
    }
    parties |= {
        name: {"role": "features", "source": SOURCE, "columns": list(COLUMNS[name])}
        for name in DEPARTMENTS
    }
    job = _job(fold, parties, {"label": LABEL, **OUTCOMES, "test_column": fold})
    made.approve(job)
    return made.run(job)


def _scores(receipts: Mapping[str, Any]) -> list[dict[str, str]]:
    with (receipts[BANK]["folder"] / "output" / "scores.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _auc(rows: Sequence[Mapping[str, str]]) -> float:
    return RankingCurve.of(
        np.array([-float(row["score"]) for row in rows]),
        np.array([row["bad"] == "1" for row in rows]),
    ).auc()


def _names(parties: Any) -> list[str]:
    return [name for party in parties for name in COLUMNS[party] if name != LABEL]


def _pooled(made: Parties) -> dict[str, dict[str, Any]]:
    """Join all parties' columns by identifier, which no party may do."""
    pooled: dict[str, dict[str, Any]] = {}
    for party, names in COLUMNS.items():
        table = read(
            made.source(party, SOURCE), key=KEY, columns=[name for name in names if name != LABEL]
        )
        ids = [identifier.decode() for identifier in table.ids.tolist()]
        pooled |= {
            name: dict(zip(ids, values, strict=True)) for name, values in table.columns.items()
        }
    return pooled


def _fitted(
    pooled: Mapping[str, Mapping[str, Any]],
    names: Sequence[str],
    score_rows: Sequence[Mapping[str, str]],
) -> float:
    """The AUC of logistic regression in the open, to its optimum, on exact weights of evidence of
    these columns over the same rows.
    """
    ids = [row["id"] for row in score_rows]
    bad, holdout_mask = (
        np.array([row["bad"] == "1" for row in score_rows]),
        np.array([row["part"] == "test" for row in score_rows]),
    )
    evidence = np.column_stack(
        [
            _evidence(name, _column([pooled[name][subject] for subject in ids]), bad, holdout_mask)
            for name in names
        ]
    )
    return RankingCurve.of(
        _plain(evidence[~holdout_mask], bad[~holdout_mask])(evidence[holdout_mask]),
        bad[holdout_mask],
    ).auc()


def _column(values: list[Any]) -> NDArray[Any]:
    return np.array(
        values, object if any(isinstance(value, str) for value in values) else np.float64
    )


def _evidence(
    name: str, values: NDArray[Any], bad: NDArray[np.bool_], test: NDArray[np.bool_]
) -> NDArray[np.float64]:
    plan = ScorecardPlan(LABEL)
    bins = bin_column(name, values[~test], max_bins=plan.bins, min_rows=plan.min_rows)
    codes = bins.codes(values)
    rows, bads = (
        np.bincount(codes[(codes != NO_BIN) & ~test & chosen], minlength=len(bins.names))
        for chosen in (True, bad)
    )
    shares = (bads + 0.5) / (bads + 0.5).sum(), (rows - bads + 0.5) / (rows - bads + 0.5).sum()
    return np.asarray(np.append(np.log(shares[0] / shares[1]), 0.0)[codes], np.float64)


def _plain(
    columns: NDArray[np.float64], bad: NDArray[np.bool_]
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1e6, max_iter=1000).fit(columns, bad)
    return lambda rows: np.asarray(fitted.decision_function(rows), np.float64)


# --- One row at a time ----------------------------------------------------------------------------


def _latencies(made: Parties, receipts: Mapping[str, Any], training: str, say: Say) -> list[float]:
    """Milliseconds between the answers to one-row requests, as the bank measures them."""
    say(f"{REQUESTS:,} rows scored one by one")
    owners = (BANK, *DEPARTMENTS)
    parties = {
        name: {
            "role": "label" if name == BANK else "features",
            "source": SOURCE,
            "columns": [column for column in COLUMNS[name] if column != LABEL],
        }
        for name in owners
    }
    models = {name: receipts[name]["files"]["model.json"] for name in owners}
    spec = {"job": "ask", "protocol": "scoring", "purpose": "measurement", "parties": parties}
    job = Job.from_json(
        {**spec, "parameters": {"training": training, "models": models, "batch": 1}}
    )
    made.approve(job)
    times: list[float] = []
    made.run(
        job, lambda stage, _share: times.append(time.perf_counter()) if stage == "scoring" else None
    )
    return [1000 * (after - before) for before, after in pairwise(times[: REQUESTS + 1])]


def _in_the_open(made: Parties, receipts: Mapping[str, Any]) -> float:
    """Milliseconds per row when one process has all scorecards and columns."""
    held = []
    for name in (BANK, *DEPARTMENTS):
        part = ScorecardPart.from_bytes(
            (receipts[name]["folder"] / "output" / "model.json").read_bytes()
        )
        held.append(
            (
                part,
                read(
                    made.source(name, SOURCE),
                    key=KEY,
                    columns=[column.bins.column for column in part.columns],
                ),
            )
        )
    times = []
    for row in range(200):
        started = time.perf_counter()
        sum(int(part.points_of(table.take(np.array([row])).columns, 1)[0]) for part, table in held)
        times.append(time.perf_counter() - started)
    return 1000 * median(times)


def _job(name: str, parties: Mapping[str, Any], parameters: Mapping[str, Any]) -> Job:
    spec = {
        "job": name,
        "protocol": "scorecard",
        "purpose": "measurement",
        "parties": {**parties, DEALER: {"role": "dealer"}},
    }
    return Job.from_json({**spec, "parameters": dict(parameters)})
