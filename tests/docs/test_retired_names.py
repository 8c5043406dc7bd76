"""One term for one thing: names that gave way to the field's own terms stay out of code and documents."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("retired_names.tsv")
NOT_SEARCHED = ("CHANGELOG.md", "docs/adr/*", "tests/data/*", "tests/docs/*retired_names*")
"""What is history, recorded, or the table itself."""


@dataclass(frozen=True)
class RetiredName:
    """A line of the table: a regular expression, the term in its place, and the files it is kept out of."""

    pattern: re.Pattern[str]
    term: str
    globs: tuple[str, ...]

    def kept_out_of(self, name: str) -> bool:
        return any(fnmatch(name, glob) for glob in self.globs)


@cache
def any_of(retired: tuple[RetiredName, ...]) -> re.Pattern[str]:
    """One expression for all: a file is read once, and each name alone only where one is found."""
    return re.compile("|".join(name.pattern.pattern for name in retired) or "(?!)")


def retired_names() -> list[RetiredName]:
    lines = [
        line
        for line in TABLE.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    rows = [line.split("\t") for line in lines]
    return [
        RetiredName(
            re.compile(row[0]), row[1], tuple(row[2].split(",")) if len(row) > 2 else ("*",)
        )
        for row in rows
    ]


def searched_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.sol", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    names = [
        name
        for name in listed.stdout.splitlines()
        if not any(fnmatch(name, glob) for glob in NOT_SEARCHED)
    ]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def test_no_retired_name_is_used() -> None:
    table = retired_names()
    assert table
    found = []
    for path in searched_files():
        name = path.relative_to(ROOT).as_posix()
        text = path.read_text(encoding="utf-8")
        kept_out = tuple(retired for retired in table if retired.kept_out_of(name))
        if not any_of(kept_out).search(text):
            continue
        for retired in kept_out:
            for match in retired.pattern.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                found.append(f"{name}:{line}: {match.group()!r}, write {retired.term}")
    assert not found, "\n".join(found)


def test_each_retired_name_is_found_where_it_is_written() -> None:
    for retired in retired_names():
        assert not retired.pattern.search(retired.term), f"{retired.term} is a retired name itself."
