"""Text files are UTF-8 under any locale: every call names the encoding."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("chain", "contracts", "exchange", "federated", "nodes", "registry", "scripts")
METHODS = {"read_text", "write_text"}


def _left_to_the_locale(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        named = {keyword.arg for keyword in node.keywords}
        if (
            name in METHODS
            and "encoding" not in named
            and len(node.args) < (2 if name[0] == "w" else 1)
        ):
            yield node.lineno
        if name in ("open", "fdopen") and "encoding" not in named and _is_text(node, name):
            yield node.lineno


def _is_text(node: ast.Call, name: str) -> bool:
    """Whether a call of ``open`` is by its constants one of a text file."""
    function = node.func
    method = isinstance(function, ast.Attribute) and ast.unparse(function) != "os.fdopen"
    if method and ast.unparse(function) in (
        "os.open",
        "tarfile.open",
        "webbrowser.open",
        "zipfile.open",
    ):
        return False
    arguments = node.args if method else node.args[1:]
    modes = [keyword.value for keyword in node.keywords if keyword.arg == "mode"] + list(
        arguments[:1]
    )
    if not modes:
        return True
    mode = modes[0]
    return isinstance(mode, ast.Constant) and isinstance(mode.value, str) and "b" not in mode.value


def test_every_text_file_is_opened_as_utf_8() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if "node_modules" not in path.parts
        for line in _left_to_the_locale(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_the_check_finds_each_way_to_leave_it_out() -> None:
    bad = [
        "p.read_text()",
        "p.write_text(x)",
        "open(p)",
        "p.open()",
        "p.open('w')",
        "open(p, mode='a')",
        "os.fdopen(d, 'w')",
    ]
    good = [
        "p.read_text('utf-8')",
        "p.write_text(x, encoding='utf-8')",
        "open(p, 'rb')",
        "p.open('wb')",
        "os.open(p, flags)",
    ]
    assert [list(_left_to_the_locale(ast.parse(line))) for line in bad] == [[1]] * len(bad)
    assert [list(_left_to_the_locale(ast.parse(line))) for line in good] == [[]] * len(good)
