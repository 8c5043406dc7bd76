"""The demo of joint models: a run that holds, and one in which every promise is broken on purpose,
which is long.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from federated.vertical.plain_scorecard import fit_weights
from scripts.federated_demo import baselines, run
from scripts.federated_demo.parties import Parties
from scripts.federated_demo.promises import broken
from scripts.federated_demo.run import FederatedDemo
from scripts.federated_demo.tables import DEPARTMENTS, common, tables

ROOT = Path(__file__).parents[2]
HELD: dict[str, Any] = {
    "bytes_read_without_yes": 0,
    "refused_as": "gate_refused",
    "bytes_read_with_yes": 1_000,
    "psi_equal": True,
    "psi_rows": 90,
    "common_rows": 90,
    "auc_joint": 0.83,
    "auc_bank": 0.71,
    "auc_pooled": 0.832,
    "auc_one_hot": 0.83,
    "auc_xgboost": 0.84,
    "auc_bank_mortgages": 0.8,
    "auc_joint_mortgages": 0.85,
    "auc_one_hot_mortgages": 0.86,
    "auc_xgboost_mortgages": 0.84,
    "mortgage_rows": 2_380,
    "mortgages_of_bank": 2_380,
    "mortgages_dropped": {"bank": ["district"]},
    "auc_recomputed": 0.83,
    "boost_auc": 0.82,
    "hidden_rows": 90,
    "hidden_named": 0,
    "auc_hidden": 0.835,
    "tests_equal": True,
    "scores_equal": True,
    "scored_rows": 100,
    "bank_rows": 100,
    "analysis_right": True,
    "analysis_refused_as": "analysis_refused",
    "replay_equal": True,
    "replay_change_found": True,
}


WORST: dict[str, Any] = {
    "bytes_read_without_yes": 1,
    "psi_rows": 1,
    "common_rows": 2,
    "auc_joint": 0.5,
    "auc_bank": 0.6,
    "auc_pooled": 0.7,
    "auc_one_hot": 0.7,
    "auc_xgboost": 0.7,
    "boost_auc": 0.5,
}
WORST |= {
    "auc_bank_mortgages": 0.6,
    "auc_joint_mortgages": 0.5,
    "auc_one_hot_mortgages": 0.7,
    "auc_xgboost_mortgages": 0.7,
    "mortgage_rows": 1,
    "auc_recomputed": 0.4,
    "refused_as": "",
    "hidden_rows": 1,
    "hidden_named": 1,
    "auc_hidden": 0.5,
    "scored_rows": 1,
}


def test_a_report_that_bears_everything_out_breaks_nothing() -> None:
    assert broken(HELD) == []


@pytest.mark.parametrize(
    "change",
    [
        {"bytes_read_without_yes": 1},
        {"refused_as": ""},
        {"bytes_read_with_yes": 0},
        {"psi_equal": False},
        {"psi_rows": 89},
        {"psi_rows": 0, "common_rows": 0, "hidden_rows": 0},
        {"auc_bank": 0.83, "boost_auc": 0.84},
        {"auc_pooled": 0.836},
        {"auc_recomputed": 0.84},
        {"auc_one_hot": 0.841},
        {"auc_xgboost": 0.841},
        {"auc_one_hot_mortgages": 0.861},
        {"auc_bank_mortgages": 0.85},
        {"mortgage_rows": 2_340},
        {"mortgages_dropped": {}},
        {"mortgages_dropped": {"bank": ["district"], "tax": ["hirat"]}},
        {"boost_auc": 0.71},
        {"hidden_rows": 89},
        {"hidden_named": 1},
        {"auc_hidden": 0.7},
        {"tests_equal": False},
        {"scores_equal": False},
        {"scored_rows": 90},
        {"analysis_right": False},
        {"analysis_refused_as": "gate_refused"},
        {"replay_equal": False},
        {"replay_change_found": False},
    ],
)
def test_one_broken_promise_is_named(change: dict[str, Any]) -> None:
    assert len(broken({**copy.deepcopy(HELD), **change})) == 1


def test_each_department_lacks_other_firms_and_nobody_has_the_same_order() -> None:
    held = tables()
    source = run.SOURCE  # type: ignore[attr-defined]
    codes = {party: sources[source].column("code").to_pylist() for party, sources in held.items()}
    shared = set(common(held))
    assert 0 < len(shared) < min(len(set(codes[department])) for department in DEPARTMENTS)
    orders = [[code for code in held_codes if code in shared] for held_codes in codes.values()]
    assert len({tuple(order) for order in orders}) == len(orders)


def test_a_plain_fit_is_the_optimum() -> None:
    numbers = np.random.default_rng(5)
    columns = np.column_stack([numbers.normal(size=(400, 3)), np.ones(400)])
    bad = numbers.random(400) < 1 / (1 + np.exp(-columns @ np.array([1.0, -2.0, 0.0, 0.3])))
    weights = fit_weights(columns, bad)
    slope = columns.T @ (bad - 1 / (1 + np.exp(-columns @ weights)))
    assert np.abs(slope).max() < 1e-6


# --- Real parties ---------------------------------------------------------------------------------


@pytest.mark.system
def test_the_demo_holds_from_end_to_end(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "nodes.cli.main", "federated", "demo", "--out", str(out)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-2_000:]
    report = json.loads((out / "report.json").read_text())
    assert report["broken"] == []
    assert report["psi_rows"] == len(common(tables()))
    assert 0.5 < report["auc_bank"] < report["auc_joint"] < 1
    assert [step["number"] for step in report["steps"]] == list(range(1, run.STEPS + 1))
    page = (out / "report.html").read_text()
    assert f"{report['auc_joint']:.4f}" in page
    assert report["auc_joint_mortgages"] > report["auc_bank_mortgages"]
    for card in ("scorecard", "mortgages", "hidden-intersection", "boosting"):
        assert f'href="models/{card}/card.html"' in page
        assert (out / "models" / card / "card.html").is_file()
    assert not [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(out) in " ".join(process.info["cmdline"] or [])
    ]


@pytest.mark.long
@pytest.mark.system
def test_the_report_names_each_promise_that_was_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An officer who never refuses, an overlap that is another one, scores and recordings changed
    on disk, models that are not what they are called, a policy that lets small groups out, a
    forbidden analysis that is none."""
    approve, run_job = Parties.approve, Parties.run
    plain, one_hot = baselines.plain, baselines.one_hot

    def change_scores(parties: Parties, job: Any, watch: Any = lambda _stage, _share: None) -> Any:
        receipts = run_job(parties, job, watch)
        scores = Path(receipts["bank"]["folder"]) / "output" / "scores.csv"
        if job.name == "hidden-intersection":
            scores.write_text(tables()["bank"][run.SOURCE].column("code")[0].as_py())  # type: ignore[attr-defined]
        elif job.protocol == "scorecard":
            head, *rows = scores.read_text().splitlines()
            flipped = [
                row[:-1] + ("1" if row.endswith("0") else "0") for row in rows[: len(rows) // 4]
            ]
            scores.write_text("\n".join([head, *flipped, *rows[len(rows) // 4 :]]) + "\n")
        elif job.protocol == "boosting":
            scores.write_text(scores.read_text().replace('"train"', '"test"', 1))
        elif job.protocol == "scoring":
            scores.write_text(scores.read_text().replace("92440703MD", "92440703MX", 1))
        elif job.protocol == "intersection":
            received = Path(receipts["tax"]["folder"]) / "received"
            data = received.read_bytes()
            received.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        return receipts

    def swapped(columns: Any, bad: Any, test: Any, plan: Any) -> Any:
        nearly = bad ^ (np.random.default_rng(1).random(len(bad)) < 0.05)
        given = (
            columns | {"answer": nearly.astype(np.float64)}
            if len(columns) < 6
            else {"Time": columns.get("Time", columns.get("hirat"))}
        )
        return plain(given, bad, test, plan)

    def knowing(columns: Any, bad: Any, test: Any) -> Any:
        return one_hot(columns | {"answer": bad.astype(np.float64)}, bad, test)

    monkeypatch.setattr(
        Parties,
        "approve",
        lambda self, job, names=None, *, uses=100: approve(self, job, None, uses=uses),
    )
    monkeypatch.setattr(Parties, "run", change_scores)
    monkeypatch.setattr(run, "common", lambda held: common(held)[1:])
    monkeypatch.setattr(baselines, "plain", swapped)
    monkeypatch.setattr(baselines, "one_hot", knowing)
    monkeypatch.setattr(run, "POLICY", run.POLICY.replace("min_rows = 10", "min_rows = 5"))
    monkeypatch.setattr(run, "FORBIDDEN", run.PERMITTED)
    monkeypatch.setattr(run, "CHANGED_BIT", 0)
    monkeypatch.setattr(run, "TREES", {"trees": 1, "max_depth": 1})
    monkeypatch.setattr(run, "BATCH", 1_000)
    demo = FederatedDemo(tmp_path / "out")
    (tmp_path / "out").mkdir()
    found = demo.run()
    everything = broken(
        {name: (0 if name == "bytes_read_with_yes" else None) for name in HELD} | WORST
    )
    unbroken = ("The file monitor", "Not every", "A column with one value")
    assert found == [line for line in everything if not line.startswith(unbroken)]
    assert json.loads((tmp_path / "out" / "report.json").read_text())["broken"] == found
