"""Reasons for low scores: the right columns, no more than the specification allows, and no answer
to a question about rows that are not there.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

from federated.errors import PeerFault
from federated.job import JobResult
from federated.vertical.plan import read_plan
from federated.vertical.points import ScorecardPart
from tests.federated.vertical.city import (
    DEPARTMENTS,
    Line,
    Recorder,
    Run,
    people,
    refused,
    scorecard_of,
)

TABLES = people()
BELOW, STEP = 480, 10
ALLOWED = {"tax": ["records"], "estate": ["home", "assets"]}
REASONS = {"below": BELOW, "columns": ALLOWED, "most": 2, "step": STEP}


def rows_of(outcome: JobResult) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(outcome.files["scores.csv"].decode())))


@pytest.fixture(scope="module")
def watches() -> dict[str, Recorder]:
    return {name: Recorder() for name in (*DEPARTMENTS, "bank")}


@pytest.fixture(scope="module")
def trained(watches: dict[str, Recorder]) -> dict[str, JobResult]:
    return Run(scorecard_of(3, reasons=REASONS), TABLES, watch=watches).outcomes()


def expected(trained: dict[str, JobResult], person: bytes, against_best: bool) -> list[str]:
    """What took most points from a person, computed from all parties' files in one place."""
    taken = []
    for party, names in (("bank", ("income", "debt")), *ALLOWED.items()):
        table = TABLES[party]
        (row,) = np.flatnonzero(table.ids == person)
        columns = ScorecardPart.from_bytes(trained[party].files["model.json"]).columns
        for column in sorted(
            columns,
            key=lambda column: (
                names.index(column.bins.column) if column.bins.column in names else 9
            ),
        ):
            if column.bins.column in names:
                (points,) = column.points_of(table.columns[column.bins.column][row : row + 1])
                best = max(column.points) if against_best else 0
                taken.append((max(best - points, 0) // STEP * STEP, party, column.bins.column))
    strongest = sorted((entry for entry in taken if entry[0]), key=lambda entry: -entry[0])
    return [f"{party}: {name} -{points}" for points, party, name in strongest[:2]]


def test_a_low_score_names_the_columns_that_took_most_points(
    trained: dict[str, JobResult],
) -> None:
    rows = rows_of(trained["bank"])
    low = [row for row in rows if int(row["score"]) < BELOW]
    assert 20 < len(low) < len(rows)
    assert all(row["reasons"] == "" for row in rows if int(row["score"]) >= BELOW)
    for row in low:
        names = expected(trained, row["id"].encode(), against_best=False)
        assert row["reasons"] == "; ".join(names)
    assert any("tax: records" in row["reasons"] for row in low)


def test_the_card_counts_the_reasons_of_the_test_rows(trained: dict[str, JobResult]) -> None:
    card = json.loads(trained["bank"].files["card.json"])
    tested = [row["reasons"] for row in rows_of(trained["bank"]) if row["part"] == "test"]
    named = Counter(
        reason.rpartition(" -")[0] for row in tested if row for reason in row.split("; ")
    )
    assert {entry["column"]: entry["rows"] for entry in card["reasons"]} == named
    assert sum(entry["first"] for entry in card["reasons"]) == sum(map(bool, tested))
    assert "Why test rows score below" in trained["bank"].files["card.html"].decode()


def test_a_department_names_only_what_the_specification_lists(
    trained: dict[str, JobResult], watches: dict[str, Recorder]
) -> None:
    text = trained["bank"].files["scores.csv"].decode()
    assert "expenses" not in text
    assert "social" not in text
    kinds = {
        name: {kind for _, _, kind, _ in watches[name].frames if kind.startswith("reasons/")}
        for name in DEPARTMENTS
    }
    everything = {"reasons/count", "reasons/rows", "reasons/columns", "reasons/points"}
    assert kinds == {"tax": everything, "estate": everything, "social": set()}


def test_against_the_best_bin_more_columns_take_points(trained: dict[str, JobResult]) -> None:
    best = Run(scorecard_of(3, reasons={**REASONS, "against": "best"}), TABLES).outcomes()
    low = [row for row in rows_of(best["bank"]) if int(row["score"]) < BELOW]
    for row in low:
        names = expected(best, row["id"].encode(), against_best=True)
        assert row["reasons"] == "; ".join(names)


def test_without_the_parameter_nobody_is_asked() -> None:
    watch = Recorder()
    outcome = Run(scorecard_of(1), TABLES, watch={"bank": watch}).outcomes()["bank"]
    assert "reasons" not in rows_of(outcome)[0]
    assert not [kind for _, _, kind, _ in watch.frames if kind.startswith("reasons/")]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"columns": {}}, "spec_parameters"),
        ({**REASONS, "below": 1.5}, "spec_parameters"),
        ({**REASONS, "most": 0}, "spec_parameters"),
        ({**REASONS, "most": True}, "spec_parameters"),
        ({**REASONS, "step": 0}, "spec_parameters"),
        ({**REASONS, "against": "worst"}, "spec_parameters"),
        ({**REASONS, "rows": 1}, "spec_parameters"),
        ({**REASONS, "columns": {"bank": ["income"]}}, "spec_parameters"),
        ({**REASONS, "columns": {"tax": ["home"]}}, "spec_columns"),
        ({**REASONS, "columns": {"tax": ["records", "records"]}}, "spec_columns"),
        ({**REASONS, "columns": {"tax": "records"}}, "spec_columns"),
        (5, "spec_parameters"),
    ],
)
def test_terms_that_are_wrong_are_refused(wrong: Any, code: str) -> None:
    with refused(code):
        read_plan(scorecard_of(3, reasons=wrong))


def test_rows_that_nobody_learns_have_no_reasons() -> None:
    with refused("spec_parameters"):
        read_plan(scorecard_of(3, reasons=REASONS, alignment={"reveal": "nobody"}))


@pytest.mark.parametrize(
    ("sender", "kind", "change"),
    [
        ("bank", "reasons/count", {"rows": 10_000}),
        ("bank", "reasons/rows", "beyond"),
        ("bank", "reasons/rows", "twice"),
        ("tax", "reasons/columns", "beyond"),
        ("tax", "reasons/points", "odd"),
    ],
)
def test_a_malformed_question_or_answer_ends_the_run(sender: str, kind: str, change: Any) -> None:
    def alter(_kind: str, fields: dict[str, Any]) -> None:
        if isinstance(change, dict):
            fields.update(change)
            return
        words = fields["words"].copy()
        words[-1] = {"beyond": 60_000, "twice": words[0], "odd": STEP + 1}[change]
        fields["words"] = words

    job = scorecard_of(1, iterations=1, reasons={"below": 600, "columns": {"tax": ["records"]}})
    run = Run(job, TABLES, lines={sender: Line(alter, kind=kind)})
    with refused("message_malformed", PeerFault):
        run.outcomes()
