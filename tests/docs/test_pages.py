"""The pages written from code are current, and what they tell people to type can be typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from federated.protocols import _ROOMS
from scripts.cli import COMMANDS, parse
from scripts.statement_pages import PAGE, page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))


def commands(text: str) -> Iterator[str]:
    """Every ``qiaolian`` command in a page's indented or fenced blocks, lines that go on joined."""
    for line in text.replace("\\\n", " ").splitlines():
        words = line.strip().removeprefix("$ ").removeprefix(".venv/bin/")
        if line.startswith(("    ", "$ ", ".venv/bin/qiaolian ", "qiaolian ")) and words.startswith("qiaolian "):
            yield words.partition(" #")[0]


TYPED = [pytest.param(command, id=f"{path.stem}:{command[:60]}") for path in PAGES for command in commands(path.read_text(encoding="utf-8"))]


def test_the_statements_page_is_what_the_types_say() -> None:
    assert PAGE.read_text() == page(), "run: python -m scripts.statement_pages"


def test_every_protocol_says_how_it_replays() -> None:
    text = (DOCS / "protocols" / "replay.md").read_text()
    assert [name for name in _ROOMS if f"\n| `{name}` |" not in text] == []


@pytest.mark.parametrize("command", TYPED)
def test_a_command_on_a_page_can_be_typed(command: str) -> None:
    words = shlex.split(command)[1:]
    if words[-1] == "--help":
        with pytest.raises(SystemExit) as ended:
            parse(words)
        assert ended.value.code == 0
    else:
        assert parse(words).run


def test_every_noun_of_the_command_line_is_on_its_page() -> None:
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    missing = [name for name, (module, _) in COMMANDS.items() if module.startswith("scripts.people.") and not re.search(rf"qiaolian {name}\b", text)]
    assert missing == []
