"""What the wheel is made of."""

from __future__ import annotations

import tomllib
from pathlib import Path

from setuptools import find_namespace_packages  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[2]


def test_no_package_lies_where_npm_installs() -> None:
    """Set-up installs npm packages while it installs this project."""
    found = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    settings = found["tool"]["setuptools"]["packages"]["find"]
    packages = find_namespace_packages(str(ROOT), settings["exclude"], settings["include"])
    assert {"chain.bundle", "nodes.console"} <= set(packages)
    assert not [name for name in packages if "static" in name or "browser" in name]
