"""A look at the own source: every fault and warning at once, each with its figure; nothing leaves,
and who looked is written down first.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodes.cli.main import main
from registry.uscc import with_check_character

ROWS = 400
Row = dict[str, Any]


def firms() -> list[Row]:
    numbers = np.random.default_rng(3)
    rows = []
    for row in range(ROWS):
        bad = bool(numbers.random() < 0.3)
        rows.append(
            {
                "code": with_check_character(f"92440703MD{row:07d}"),
                "income": round(float(numbers.normal(80 if bad else 100, 20)), 1),
                "home": str(numbers.choice(["own", "rent"])),
                "status": "bad" if bad else "good",
            }
        )
    return rows


@pytest.fixture
def bank(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["federated", "init", str(tmp_path), "--name", "bank", "--port", "9101"]) == 0
    path = tmp_path / "party.toml"
    with path.open("a") as file:
        file.write('[sources.loans]\npath = "loans.csv"\nkey = "code"\n')
    capsys.readouterr()
    return path


def looked_at(
    bank: Path,
    rows: list[Row],
    capsys: pytest.CaptureFixture[str],
    *columns: str,
    **parameters: Any,
) -> tuple[int, dict[str, str]]:
    """The exit code, and the sentence of each finding by its kind and code."""
    names = list(rows[0])
    with (bank.parent / "loans.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    own = list(columns) or [name for name in names if name != "code"]
    parties = {
        "bank": {"role": "label", "source": "loans", "columns": own},
        "tax": {"role": "features", "source": "returns", "columns": ["debt"]},
        "dealer": {"role": "dealer"},
    }
    job = {
        "job": "credit",
        "protocol": "scorecard",
        "purpose": "credit-assessment",
        "parties": parties,
        "parameters": {"label": "status", "bad": "bad", "good": "good", **parameters},
    }
    spec = bank.parent / "job.json"
    spec.write_text(json.dumps(job))
    command = ["federated", "check", str(spec), "--party", str(bank), "--by", "李娜"]
    code = main(command)
    lines = re.findall(r"^  (fault|warning) (\w+): (.*)$", capsys.readouterr().out, re.MULTILINE)
    return code, {f"{kind} {name}": sentence for kind, name, sentence in lines}


def test_a_sound_source_has_no_fault_and_the_look_is_logged(
    bank: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, findings = looked_at(bank, firms(), capsys, "income", "status")
    assert (code, findings) == (0, {})
    (line,) = (bank.parent / "checks.jsonl").read_text().splitlines()
    logged = json.loads(line)
    assert (logged["by"], logged["job"], logged["source"]) == ("李娜", "credit", "loans")
    assert {path.name for path in bank.parent.iterdir()} >= {"loans.csv", "checks.jsonl"}
    assert not (bank.parent / "jobs").exists()


def test_everything_that_is_wrong_is_named_at_once_with_its_figure(
    bank: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = firms()
    for place in (4, 90, 200):
        rows[place]["income"] = "about 90"
    rows[7]["code"] = ""
    rows[8]["code"] = rows[9]["code"]
    rows[10]["code"] = f" {rows[10]['code'].lower()}"
    rows[30]["status"] = "open"
    code, findings = looked_at(bank, rows, capsys, "income", "debt", "wealth", "status")
    assert code == 2
    assert {name.partition(" ")[2] for name in findings if name.startswith("fault")} == {
        "column_unknown",
        "ids_malformed",
        "ids_duplicate",
        "number_malformed",
        "label_not_binary",
    }
    assert "debt, wealth" in findings["fault column_unknown"]
    assert "Line 6" in findings["fault number_malformed"]
    assert "3 of 400 cells are not" in findings["fault number_malformed"]
    assert "about" not in findings["fault number_malformed"]
    assert "Line 9" in findings["fault ids_malformed"]
    assert "1 of 400 rows" in findings["fault ids_malformed"]
    assert "1 of 400 rows repeat" in findings["fault ids_duplicate"]
    assert "1 of 400" in findings["warning ids_changed"]
    assert "1 rows" in findings["fault label_not_binary"]


def test_columns_that_say_nothing_or_too_much_are_warnings(
    bank: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = firms()
    numbers = np.random.default_rng(4)
    for place, row in enumerate(rows):
        row["late"] = int(row["status"] == "bad")
        row["region"] = "440703"
        row["weather"] = int(numbers.integers(5))
        row["note"] = f"note {place}"
        row["sparse"] = 1 if place % 4 == 0 else ""
        row["again"] = row["income"]
    code, findings = looked_at(bank, rows, capsys)
    assert code == 0
    assert "late alone" in findings["warning column_leaks"]
    assert "AUC 1.0000" in findings["warning column_leaks"]
    assert (
        "region" in findings["warning column_constant"]
        or "note" in findings["warning column_constant"]
    )
    assert "400 different texts in 400 rows" in findings["warning column_scattered"]
    assert "300 of 400 rows" in findings["warning column_sparse"]
    assert "income and again" in findings["warning column_repeated"]
    assert "information value of 0.0" in findings["warning column_without_evidence"]


def test_a_rare_label_is_a_warning_with_the_figure(
    bank: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = firms()
    for place, row in enumerate(rows):
        row["status"] = "bad" if place < 2 else "good"
    code, findings = looked_at(bank, rows, capsys, "income", "status")
    assert code == 0
    assert "2 of 400 rows have the rarer label, 1 in 200" in findings["warning label_rare"]
    for row in rows:
        row["status"] = "good"
    code, findings = looked_at(bank, rows, capsys, "income", "status")
    assert code == 2
    assert findings["fault one_class"] == "All 400 rows are good."


def test_codes_that_cannot_match_are_warnings(
    bank: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = firms()
    rows[0]["code"] = rows[0]["code"][:17] + ("A" if rows[0]["code"][17] != "A" else "B")
    rows[1]["code"] = "11010519491231002X"  # the example of GB 11643
    rows[2]["code"] = "440703600012345"
    _, findings = looked_at(bank, rows, capsys, "income", "status")
    assert "1 of 399 identifiers" in findings["warning wrong_check_character"]
    assert "399 of 400" in findings["warning ids_mixed"]


def test_a_wrong_test_column_or_too_few_rows_are_faults(
    bank: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = firms()[:15]
    for row in rows:
        row["held"] = 2
    _, findings = looked_at(bank, rows, capsys, test_column="held")
    assert {"fault column_not_binary", "fault too_few_rows"} <= set(findings)


def test_a_source_that_is_not_there_is_a_fault(
    bank: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    looked_at(bank, firms(), capsys)
    (bank.parent / "loans.csv").unlink()
    command = ["federated", "check", str(bank.parent / "job.json"), "--party", str(bank)]
    assert main([*command, "--by", "李娜", "--json"]) == 2
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["code"], finding["fault"]) == ("source_missing", True)
    assert main([*command, "--by", " "]) == 2
    assert len((bank.parent / "checks.jsonl").read_text().splitlines()) == 2
