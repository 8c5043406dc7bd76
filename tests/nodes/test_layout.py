"""Registry and exchange query the database in their stores alone, and their parts exchange typed
values: by the source.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("registry", "exchange")
QUERYING = {"exchange/columns.py", "registry/idempotency.py", "registry/pages.py"}
"""A column's type, a table for every package, and the pages of lists."""
QUERIES = frozenset(
    ["add", "delete", "execute", "flush", "get", "get_one", "merge", "query", "scalar", "scalars"]
)


def modules() -> Iterator[tuple[str, ast.AST]]:
    """Every module but the stores, by its path."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if not path.name.endswith("store.py"):
                yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def queries(tree: ast.AST) -> Iterator[str]:
    """What of a module queries a database: SQL expressions, and calls of a session."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name == "sqlalchemy")
        elif isinstance(node, ast.ImportFrom) and node.module == "sqlalchemy":
            yield from (name.name for name in node.names if name.name != "Row")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            name = owner.id if isinstance(owner, ast.Name) else ""
            if name == "session" and node.func.attr in QUERIES:
                yield f"session.{node.func.attr}"


def test_only_stores_query_the_database() -> None:
    found = {name: sorted(set(queries(tree))) for name, tree in modules() if name not in QUERYING}
    assert {path: used for path, used in found.items() if used} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import sqlalchemy as sa",
        "from sqlalchemy import select",
        "session.execute(query)",
        "session.get(Row, key)",
    ],
)
def test_a_query_outside_of_a_store_is_found(source: str) -> None:
    assert list(queries(ast.parse(source)))


JSON_EDGES = ("api.py", "schemas.py", "wire.py", "signing.py", "access.py", "idempotency.py")
"""How the names of modules end that read or write JSON; beside them, functions named ``…json``."""


def untyped(tree: ast.AST) -> Iterator[str]:
    """The functions that take or return a dictionary of anything."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[-4:] != "json":
            parameters = (*node.args.args, *node.args.kwonlyargs)
            notes = (node.returns, *(parameter.annotation for parameter in parameters))
            if any(note and "dict[str, Any]" in ast.unparse(note) for note in notes):
                yield node.name


def test_services_take_and_return_typed_values() -> None:
    found = {
        name: names
        for name, tree in modules()
        if not name.endswith(JSON_EDGES) and (names := list(untyped(tree)))
    }
    assert found == {}


def test_a_dictionary_between_services_is_found() -> None:
    source = "def view(key: bytes) -> list[dict[str, Any]]: ..."
    assert list(untyped(ast.parse(source))) == ["view"]
