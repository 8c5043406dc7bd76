"""``qiaolian health``: the state of each part of a node, and what to do about failures."""

from __future__ import annotations

import argparse
import json
from typing import Any

from nodes.cli.command_group import Command, add_command, run_command
from nodes.cli.output import Columns
from nodes.cli.session import CommandSession

PARTS: Columns = {
    "part": "name",
    "state": lambda row: row["state"] if row["up"] else row["state"].upper(),
    "code": "code",
    "what": lambda row: (
        " ".join(item for item in (row.get("detail"), row.get("hint")) if item) or None
    ),
}


def _health(session: CommandSession, arguments: argparse.Namespace) -> int:
    """Print the readiness; exit code 1 if a part fails."""
    answer = session.client.raw("GET", "/readyz", b"", session.client.headers())
    try:
        found: dict[str, Any] = json.loads(answer.body)
        parts = found["dependencies"]
        failing = not found["ready"] or any(not part["up"] for part in parts)
    except (ValueError, KeyError, TypeError) as error:
        raise session.client.refusal(answer) from error
    session.table(parts, PARTS, whole=found)
    return 1 if failing else 0


COMMAND = Command(
    "health",
    "how each part of a node is; exit code 1 when something fails",
    _health,
    role="auditor",
    stranger=True,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    add_command(parser, COMMAND)


def run(arguments: argparse.Namespace) -> int:
    """Print the node's readiness; the exit code."""
    return run_command(arguments)
