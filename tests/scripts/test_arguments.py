"""What the shell entry points cannot use is refused before anything is installed or built."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.arguments import HELP_SHOWN, main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (("demo",), 0),
        (("demo", "--calls", "12", "--deals", "2"), 0),
        (("demo", "--calls", "20", "--deals", "1"), 2),
        (("demo", "--calls", "11"), 2),
        (("demo", "--calls", "many"), 2),
        (("demo", "--cals", "20"), 2),
        (("demo", "--out", "README.md"), 2),
        (("demo", "--help"), HELP_SHOWN),
        (("test",), 0),
        (("test", "--fast", "-k", "settlement", "-x", "tests/docs"), 0),
        (("test", "tests/docs/test_pages.py::test_every_protocol_says_how_it_replays"), 0),
        (("test", "--fats"), 2),
        (("test", "tests/nowhere"), 2),
        (("test", "--", "--anything"), 0),
        (("test", "-h"), HELP_SHOWN),
    ],
)
def test_arguments_are_checked(
    given: tuple[str, ...], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(given) == code


@pytest.mark.parametrize(
    ("script", "given"), [("demo", ("--calls", "20", "--deals", "1")), ("test", ("--fats",))]
)
def test_a_script_refuses_bad_arguments_before_it_sets_anything_up(
    tmp_path: Path, script: str, given: tuple[str, ...]
) -> None:
    for folder in ("scripts", "chain"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "kcn")
        )
    done = subprocess.run(
        [str(tmp_path / "scripts" / script), *given],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "error" in done.stderr
    assert "installing" not in done.stdout
    assert not (tmp_path / ".venv").exists()
