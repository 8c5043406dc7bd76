"""``qiaolian health``: how each part of a node is, and what to do about what fails."""

from __future__ import annotations

import argparse
import json
from typing import Any

from scripts.people.desk import Desk
from scripts.people.show import Columns
from scripts.people.verb import Verb, add_verb, run_verb

PARTS: Columns = {
    "part": "name",
    "state": lambda row: row["state"] if row["up"] else row["state"].upper(),
    "code": "code",
    "what": lambda row: " ".join(each for each in (row.get("detail"), row.get("hint")) if each) or None,
}


def _health(desk: Desk, arguments: argparse.Namespace) -> int:
    """Exit 1 when something fails."""
    answer = desk.client.raw("GET", "/readyz", b"", desk.client.headers())
    try:
        found: dict[str, Any] = json.loads(answer.body)
        parts = found["dependencies"]
        failing = not found["ready"] or any(not part["up"] for part in parts)
    except (ValueError, KeyError, TypeError) as error:
        raise desk.client.refusal(answer) from error
    desk.table(parts, PARTS, whole=found)
    return 1 if failing else 0


VERB = Verb("health", "how each part of a node is; exit code 1 when something fails", _health, role="auditor", stranger=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    add_verb(parser, VERB)


def run(arguments: argparse.Namespace) -> int:
    """Ask and tell."""
    return run_verb(arguments)
