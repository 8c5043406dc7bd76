"""Queries stand in the stores alone, by the source: services ask a store and get typed values."""

from __future__ import annotations

import ast
from pathlib import Path

import registry

ROOT = Path(registry.__file__).parent
OWN_TABLES = {"idempotency.py"}
"""Modules with a table of their own, for every package."""
PAGING = {"pages.py"}
ALLOWED = {("sqlalchemy.orm", "Session")}


def imported(path: Path) -> set[tuple[str, str]]:
    """What a module imports from SQLAlchemy, as module and name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {(name.name, "") for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {(node.module, name.name) for name in node.names}
    return {(module, name) for module, name in found if module.split(".")[0] == "sqlalchemy"}


def test_only_stores_build_queries() -> None:
    elsewhere = {
        str(path.relative_to(ROOT)): names
        for path in ROOT.rglob("*.py")
        if not path.name.endswith("store.py")
        and path.name not in OWN_TABLES | PAGING
        and (names := imported(path) - ALLOWED)
    }
    assert elsewhere == {}


def test_a_query_in_a_service_is_found(tmp_path: Path) -> None:
    service = tmp_path / "service.py"
    service.write_text("import sqlalchemy as sa\nfrom sqlalchemy.orm import Session\n")
    assert imported(service) - ALLOWED == {("sqlalchemy", "")}
