"""Generated pages are current, and the commands shown in pages parse."""

from __future__ import annotations

import argparse
import re
import shlex
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from chain.core.errors import QiaolianError
from federated.protocols import PROTOCOLS
from nodes.cli.commands import COMMANDS
from nodes.cli.main import parse, parser_for
from nodes.readiness import CHECKS
from registry.uscc import require_valid
from scripts.statement_pages import PAGE, page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))


def commands(text: str) -> Iterator[str]:
    """Every ``qiaolian`` command in a page's indented or fenced blocks, continued lines joined."""
    for line in text.replace("\\\n", " ").splitlines():
        arguments = line.strip().removeprefix("$ ").removeprefix(".venv/bin/")
        if line.startswith(
            ("    ", "$ ", ".venv/bin/qiaolian ", "qiaolian ")
        ) and arguments.startswith("qiaolian "):
            yield arguments.partition(" #")[0]


TYPED = [
    pytest.param(command, id=f"{path.stem}:{command[:60]}")
    for path in PAGES
    for command in commands(path.read_text(encoding="utf-8"))
]


def test_the_statements_page_is_what_the_types_say() -> None:
    assert PAGE.read_text() == page(), "run: python -m scripts.statement_pages"


def test_every_protocol_says_how_it_replays() -> None:
    text = (DOCS / "protocols" / "replay.md").read_text()
    assert [name for name in PROTOCOLS if f"\n| `{name}` |" not in text] == []


@pytest.mark.parametrize("command", TYPED)
def test_a_command_on_a_page_can_be_typed(command: str) -> None:
    arguments = shlex.split(command)[1:]
    if arguments[-1] == "--help":
        with pytest.raises(SystemExit) as ended:
            parse(arguments)
        assert ended.value.code == 0
    else:
        assert parse(arguments).run


def test_every_noun_of_the_command_line_is_on_its_page() -> None:
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    missing = [
        name
        for name in COMMANDS
        if name not in {"node", "network", "found", "federated", "demo", "bench"}
        and not re.search(rf"qiaolian {name}\b", text)
    ]
    assert missing == []


def test_the_chinese_page_of_commands_has_every_command_of_the_english_one() -> None:
    english, chinese = (
        set(commands((DOCS / name).read_text(encoding="utf-8")))
        for name in ("commands.md", "zh/commands.md")
    )
    assert english
    assert english == chinese


def test_the_table_of_health_checks_is_what_the_node_checks() -> None:
    text = (
        (DOCS / "operations.md").read_text(encoding="utf-8").partition("### What health checks")[2]
    )
    rows = re.findall(r"^\| `([^`]+)` \| (yes|no) \| [^|]+ \| ([^|]+) \|$", text, re.MULTILINE)
    assert [(name, required == "yes") for name, required, _ in rows] == [
        (name, check.required) for name, check in CHECKS.items()
    ]
    for name, _, codes in rows:
        assert set(re.findall(r"`([a-z_]+)`", codes)) == set(CHECKS[name].codes), name


# --- Commands that are mentioned ------------------------------------------------------------------

SOURCES = [
    path
    for package in ("chain", "registry", "exchange", "federated", "nodes", "scripts")
    for path in sorted((ROOT / package).rglob("*.py"))
]


def mentions(text: str) -> Iterator[str]:
    """Every command that a text names, from ``qiaolian`` to the end of its quotation."""
    for quoted in re.findall(r"`+([^`]*)`+", text):
        if quoted.startswith("qiaolian "):
            yield " ".join(quoted.split())


def hinted(path: Path) -> Iterator[str]:
    """Every command named in the string literals of a source file."""
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.STRING and not token.string.lower().startswith(("b", "rb")):
                yield from (
                    f"qiaolian {rest}"
                    for rest in re.findall(r"qiaolian ([a-z][^`\"():;,]*)", token.string)
                )


def problem_of(command: str) -> str | None:
    """What of a command does not exist: its group, its command or one of its options; placeholders are
    not looked at.
    """
    arguments = command.split()[1:]
    group = arguments[0].rstrip(".,")
    if group in ("NOUN", "--help", "command") or command == "qiaolian test vector":
        return None
    if group not in COMMANDS:
        return f"no command {group}"
    parser = subparser(parser_for(group), group)
    assert parser is not None
    for word in arguments[1:]:
        inner = subparser(parser, word.rstrip(".,"))
        if inner is not None:
            parser = inner
        elif verbs_of(parser) and re.fullmatch(r"[a-z][a-z-]*\.?", word):
            return f"no command {word}"
        elif word.startswith("--") and word.rstrip(".,") not in parser._option_string_actions:
            return f"no option {word}"
    return None


def verbs_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The verbs a parser takes; none at the last level."""
    actions = [
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    ]
    return dict(actions[0].choices) if actions else {}


def subparser(parser: argparse.ArgumentParser, word: str) -> argparse.ArgumentParser | None:
    """The parser behind a command group or command."""
    return verbs_of(parser).get(word)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_command_that_a_page_mentions_exists_with_its_options(path: Path) -> None:
    wrong = {command: problem_of(command) for command in mentions(path.read_text(encoding="utf-8"))}
    assert {command: problem for command, problem in wrong.items() if problem} == {}


def test_a_command_that_a_message_names_exists_with_its_options() -> None:
    wrong = {
        (path.name, command): problem_of(command) for path in SOURCES for command in hinted(path)
    }
    assert {command: problem for command, problem in wrong.items() if problem} == {}


# --- Codes of organisations -----------------------------------------------------------------------

CODE = re.compile(r"(?<![0-9A-Za-z.])[1-9A-NY][1-9][0-9]{6}[0-9A-Z]{10}(?![0-9A-Za-z])")
"""Department and kind of organisation, six digits of a region, ten characters: what looks like a
unified social credit code.
"""


def test_every_organisation_code_that_is_shown_is_valid() -> None:
    """On the pages, in the examples of the API's description and in messages."""
    shown = [*PAGES, *sorted((ROOT / "docs" / "examples").glob("*")), *SOURCES]
    codes = [
        (str(path.relative_to(ROOT)), code)
        for path in shown
        for code in CODE.findall(path.read_text(encoding="utf-8"))
    ]
    assert len(codes) > 20
    assert [(where, code) for where, code in codes if not is_valid(code)] == []


def is_valid(code: str) -> bool:
    try:
        require_valid(code)
    except QiaolianError:
        return False
    return True
