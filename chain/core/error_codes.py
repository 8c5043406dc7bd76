"""The registry of error codes: what each code means and what to do next, in English and Chinese.

Each package lists its codes in ``errors.toml``. A code belongs to one class or more: a class fixes
the HTTP status, the exit code and the advice that holds where the code gives none of its own.
``docs/errors.md`` is written from the registry; the tests compare it with the code that raises.

The files are read on first use, so programs that only raise errors do not pay for them.
"""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chain.core.errors import NotFound

PACKAGES = ("chain", "registry", "exchange", "federated", "nodes")
"""The packages with a file of codes, in the order of their dependencies."""

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Bilingual:
    """One sentence in English and in Chinese."""

    en: str
    zh: str


@dataclass(frozen=True, slots=True)
class ErrorClass:
    """What the errors of one class have in common."""

    name: str
    status: int
    """HTTP status of the refusal."""
    exit_code: int
    """Exit code of the command line."""
    meaning: Bilingual
    next_step: Bilingual


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """The public meaning of one code."""

    code: str
    package: str
    """The lowest package that raises it."""
    classes: tuple[ErrorClass, ...]
    sentence: Bilingual
    next_step: Bilingual


def problem_type(code: str) -> str:
    """The ``type`` of a problem: a stable relative reference to the code's documentation."""
    return f"/docs/errors.html#{code}"


@functools.cache
def error_classes() -> dict[str, ErrorClass]:
    """Every class of errors by name."""
    return {
        name: ErrorClass(
            name=name,
            status=entry["status"],
            exit_code=entry["exit_code"],
            meaning=Bilingual(entry["en"], entry["zh"]),
            next_step=Bilingual(entry["next_en"], entry["next_zh"]),
        )
        for package in PACKAGES
        for name, entry in _file(package).get("classes", {}).items()
    }


@functools.cache
def error_codes() -> dict[str, ErrorCode]:
    """Every registered code, sorted by package and then by code."""
    return {
        code: _entry(package, code, entry)
        for package in PACKAGES
        for code, entry in _file(package)["codes"].items()
    }


def error_code(code: str) -> ErrorCode:
    """The meaning of a code.

    Raises:
        NotFound: ``error_unknown``, naming similar codes.
    """
    found = error_codes().get(code)
    if found is None:
        import difflib

        similar = difflib.get_close_matches(code, error_codes(), n=3)
        raise NotFound(
            "error_unknown",
            f"There is no error code {code}.",
            hint=f"Similar: {', '.join(similar)}." if similar else "docs/errors.md lists them all.",
        )
    return found


def _entry(package: str, code: str, entry: dict[str, Any]) -> ErrorCode:
    classes = tuple(error_classes()[name] for name in entry["classes"])
    advice = (
        Bilingual(entry["next_en"], entry["next_zh"])
        if "next_en" in entry
        else classes[0].next_step
    )
    return ErrorCode(code, package, classes, Bilingual(entry["en"], entry["zh"]), advice)


@functools.cache
def _file(package: str) -> dict[str, Any]:
    return tomllib.loads((_ROOT / package / "errors.toml").read_text(encoding="utf-8"))
