"""An approval names exactly what it allows, and is refused if it could never be used."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nodes.cli.main import main


@pytest.fixture
def tax(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The tax bureau's configuration; it knows the bank and has one source."""
    shown = {}
    for name in ("tax", "bank"):
        assert (
            main(["federated", "init", str(tmp_path / name), "--name", name, "--port", "9102"]) == 0
        )
        (shown[name],) = re.findall("0x[0-9a-f]{64}", capsys.readouterr().out)
    path = tmp_path / "tax" / "party.toml"
    with path.open("a") as file:
        file.write(
            f'[peers.bank]\naddress = "127.0.0.1:9102"\ncertificate = "../bank/certificate.pem"\nfingerprint = "{shown["bank"]}"\n'
        )
        file.write('[sources.returns]\npath = "returns.csv"\nkey = "code"\n')
    (tmp_path / "tax" / "returns.csv").write_text("code,Income\nA,1\n")
    return path


def specification(tmp_path: Path, **tax_part: Any) -> Path:
    parties = {
        "bank": {"role": "receiver", "source": "loans"},
        "tax": {"role": "sender", "source": "returns", **tax_part},
    }
    job = {
        "job": "common",
        "protocol": "intersection",
        "purpose": "credit-assessment",
        "parties": parties,
        "parameters": {},
    }
    path = tmp_path / "job.json"
    path.write_text(json.dumps(job))
    return path


def approve(spec: Path, party: Path) -> int:
    return main(
        [
            "federated",
            "approve",
            str(spec),
            "--party",
            str(party),
            "--by",
            "Li Na",
            "--uses",
            "3",
            "--days",
            "2",
        ]
    )


def test_an_approval_shows_which_columns_may_be_named_as_reasons(
    tmp_path: Path, tax: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parties = {
        "bank": {"role": "label", "source": "loans", "columns": ["Debt"]},
        "tax": {"role": "features", "source": "returns", "columns": ["Income", "Records"]},
    }
    digests = {name: "0x" + "ab" * 32 for name in parties}
    for listed, shown in (({"tax": ["Income"]}, "Income"), ({}, "no column")):
        reasons = {"below": 500, "columns": listed}
        job = {
            "job": "ask",
            "protocol": "scoring",
            "purpose": "credit-assessment",
            "parties": parties,
            "parameters": {"training": "credit", "models": digests, "reasons": reasons},
        }
        path = tmp_path / "reasons.json"
        path.write_text(json.dumps(job))
        assert approve(path, tax) == 0
        line = f"may be named as reasons for scores below 500: {shown}\n"
        assert line in capsys.readouterr().out


def test_an_approval_shows_exactly_what_it_allows(
    tax: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert approve(specification(tmp_path), tax) == 0
    shown = capsys.readouterr().out
    (file,) = (tax.parent / "approvals").glob("*.json")
    for text in (
        file.stem,
        "common",
        "intersection",
        "credit-assessment",
        "returns.csv",
        "Li Na",
        "bank, as receiver",
        "uses: 3",
        "only the identifiers",
    ):
        assert text in shown


@pytest.mark.parametrize(
    ("break_it", "code"),
    [
        (lambda tax: (tax.parent / "returns.csv").unlink(), "source_missing"),
        (
            lambda tax: tax.write_text(
                tax.read_text().replace("[sources.returns]", "[sources.other]")
            ),
            "source_unknown",
        ),
        (
            lambda tax: tax.write_text(re.sub(r"\[peers\.bank\](.*\n){4}", "", tax.read_text())),
            "peer_unknown",
        ),
    ],
)
def test_an_approval_that_could_never_be_used_is_refused(
    tax: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    break_it: Callable[[Path], object],
    code: str,
) -> None:
    break_it(tax)
    assert approve(specification(tmp_path), tax) == 2
    assert f"error[{code}]" in capsys.readouterr().err
    assert not (tax.parent / "approvals").exists()


def test_a_missing_plan_and_a_party_without_configuration_are_refused(
    tax: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert approve(tmp_path / "none.json", tax) == 2
    assert "error[spec_missing]" in capsys.readouterr().err
    assert approve(specification(tmp_path), tmp_path / "nobody" / "party.toml") == 2
    assert "error[config_missing]" in capsys.readouterr().err
