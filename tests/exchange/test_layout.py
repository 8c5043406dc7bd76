"""Where the exchange queries its database: in the stores, and nowhere else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

EXCHANGE = Path(__file__).parents[2] / "exchange"
QUERIES = frozenset(
    ["add", "delete", "execute", "flush", "get", "get_one", "merge", "query", "scalar", "scalars"]
)


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
    found = {
        str(path.relative_to(EXCHANGE)): sorted(set(queries(ast.parse(path.read_text()))))
        for path in EXCHANGE.rglob("*.py")
        if not path.name.endswith("store.py") and path.name != "columns.py"
    }
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
