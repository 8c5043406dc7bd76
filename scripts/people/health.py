"""``qiaolian health``: what of a node is up, and what to do about what is down."""

from __future__ import annotations

import argparse
import json
from typing import Any

from scripts.people.desk import Desk
from scripts.people.show import Columns
from scripts.people.verb import Verb, add_verb, run_verb

PARTS: Columns = {
    "part": "name",
    "state": lambda row: "up" if row["up"] else "DOWN",
    "code": "code",
    "what": lambda row: " ".join(each for each in (row.get("detail"), row.get("hint")) if each) or None,
}


def _health(desk: Desk, arguments: argparse.Namespace) -> int:
    """Exit 1 when something is down."""
    answer = desk.client.raw("GET", "/readyz", b"", desk.client.headers())
    try:
        found: dict[str, Any] = json.loads(answer.body)
        parts = found["dependencies"]
        down = not found["ready"] or any(not part["up"] for part in parts)
    except (ValueError, KeyError, TypeError) as error:
        raise desk.client.refusal(answer) from error
    desk.table(parts, PARTS, whole=found)
    return 1 if down else 0


VERB = Verb("health", "what of a node is up; exit code 1 when something is down", _health, role="auditor", stranger=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    add_verb(parser, VERB)


def run(arguments: argparse.Namespace) -> int:
    """Ask and tell."""
    return run_verb(arguments)
