"""``qiaolian operation``: where a contract call that a command promised stands."""

from __future__ import annotations

import argparse
from urllib.parse import quote

from scripts.people.desk import Desk
from scripts.people.verb import Noun, Verb, arg

OPERATION = arg("operation", help="as the command that was answered named it")


def _show(desk: Desk, arguments: argparse.Namespace) -> None:
    desk.show(desk.client.get(f"/v1/operations/{quote(arguments.operation, safe='/')}"))


def _wait(desk: Desk, arguments: argparse.Namespace) -> None:
    desk.show(desk.ended(arguments.operation))


NOUN = Noun(
    (
        Verb("show", "how it stands", _show, (OPERATION,)),
        Verb("wait", "wait until the chain has it; fails with the chain's code if it was refused", _wait, (OPERATION,)),
    )
)
