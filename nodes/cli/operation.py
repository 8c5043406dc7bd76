"""``qiaolian operation``: status of queued contract calls."""

from __future__ import annotations

import argparse
from urllib.parse import quote

from nodes.cli.command_group import Command, CommandGroup, arg
from nodes.cli.session import CommandSession

OPERATION = arg("operation", help="as the command that was answered named it")


def _show(session: CommandSession, arguments: argparse.Namespace) -> None:
    session.show(session.client.get(f"/v1/operations/{quote(arguments.operation, safe='/')}"))


def _wait(session: CommandSession, arguments: argparse.Namespace) -> None:
    session.show(session.operation_outcome(arguments.operation))


GROUP = CommandGroup(
    (
        Command("show", "show its status", _show, (OPERATION,)),
        Command(
            "wait",
            "wait until the chain has it; fails with the chain's code if it was refused",
            _wait,
            (OPERATION,),
        ),
    )
)
