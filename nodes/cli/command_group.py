"""Command groups as tables of commands, and the actions most commands share: read, change, save a
bundle.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from chain.core.errors import BadInput
from nodes.cli.output import Columns
from nodes.cli.session import KEY_ARGUMENTS, CommandSession, add_connection
from registry.list_limits import DEFAULT_ROWS, MAX_ROWS

Action = Callable[[CommandSession, argparse.Namespace], int | None]
Body = Callable[[argparse.Namespace], Any]

REPORTED_BLOCKS_BEHIND = 5
"""Lists made without more blocks than these say so."""


@dataclass(frozen=True)
class Argument:
    """One argument as argparse takes it."""

    flags: tuple[str, ...]
    options: Mapping[str, Any]


def arg(*flags: str, **options: Any) -> Argument:
    """An argument: ``arg("grant_id")``, ``arg("--reason", help=...)``."""
    return Argument(flags, options)


KEY_OPTIONS = tuple(Argument(*item) for item in KEY_ARGUMENTS)
"""The arguments of commands that sign."""


@dataclass(frozen=True)
class Command:
    """One command of a group.

    ``role`` is the local role whose token is taken from the node's directory when none is given;
    None for what strangers may do. ``node`` is false for commands that only read and write files.
    ``stranger`` is true where a caller without a token gets less detail instead of a refusal.
    """

    name: str
    help: str
    action: Action
    arguments: Sequence[Argument] = ()
    role: str | None = "clerk"
    node: bool = True
    stranger: bool = False


@dataclass(frozen=True)
class CommandGroup:
    """A group of commands, as ``nodes.cli.main`` takes them."""

    commands: Sequence[Command]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add every command with its own arguments and those of the connection."""
        commands = parser.add_subparsers(dest="group_command", required=True, metavar="COMMAND")
        for command in self.commands:
            add_command(
                commands.add_parser(command.name, help=command.help, description=command.help),
                command,
            )

    def run(self, arguments: argparse.Namespace) -> int:
        """Run the chosen command."""
        return run_command(arguments)


def add_command(parser: argparse.ArgumentParser, command: Command) -> None:
    """Add a command's arguments to its own parser."""
    for argument in command.arguments:
        parser.add_argument(*argument.flags, **argument.options)
    add_connection(parser, role=command.role, node=command.node)
    parser.set_defaults(act=command.action, stranger=command.stranger)


def run_command(arguments: argparse.Namespace) -> int:
    """Run the parsed command; the exit code."""
    act: Action = arguments.act
    with CommandSession(arguments) as session:
        return act(session, arguments) or 0


IDEMPOTENCY_OPTIONS = arg(
    "--idempotency-key",
    metavar="TEXT",
    help="the same key is the same request, carried out once (default: a new one)",
)
"""For verbs that ``CommandSession.once`` carries out."""


# --- Shapes ---------------------------------------------------------------------------------------


def filled_path(template: str, arguments: argparse.Namespace, query: Sequence[str] = ()) -> str:
    """A path with its ``{names}`` filled from the arguments, and the named arguments that were
    given as its query.
    """
    values = {name: quote(str(value), safe="") for name, value in vars(arguments).items()}
    given = {
        name: getattr(arguments, name) for name in query if getattr(arguments, name) is not None
    }
    path = template.format_map(values)
    return f"{path}?{urlencode(given)}" if given else path


def read(
    path: str,
    *,
    within: str | None = None,
    columns: Columns | None = None,
    query: Sequence[str] = (),
) -> Action:
    """Show what is at a path; ``within`` names the rows of an answer that is short by its nature,
    ``columns`` what people are shown of each, ``query`` the arguments of the path's query.
    """

    def act(session: CommandSession, arguments: argparse.Namespace) -> None:
        answer = session.client.get(filled_path(path, arguments, query))
        if within is None:
            session.show(answer)
        else:
            session.table(answer[within], columns or {}, whole=answer)
        behind = session.client.blocks_behind
        if behind > REPORTED_BLOCKS_BEHIND:
            session.say(
                f"This node has yet to read the last {behind} blocks: what is shown may be older."
            )

    return act


PAGE = (
    arg(
        "--limit",
        type=int,
        metavar="N",
        help=f"rows shown (default {DEFAULT_ROWS}, at most {MAX_ROWS})",
    ),
    arg("--cursor", metavar="TEXT", help="continue where the page before ended"),
    arg("--all", action="store_true", dest="every", help="every row, page after page"),
)
"""The arguments of a list in pages."""


def read_pages(path: str, *, within: str, columns: Columns, query: Sequence[str] = ()) -> Action:
    """Show a list that comes in pages, and say how many rows are shown and how to get the rest."""

    def act(session: CommandSession, arguments: argparse.Namespace) -> None:
        show_pages(
            session, arguments, filled_path(path, arguments, query), within=within, columns=columns
        )

    return act


def show_pages(
    session: CommandSession,
    arguments: argparse.Namespace,
    path: str,
    *,
    within: str,
    columns: Columns,
) -> Any:
    """Show the page that ``PAGE`` asks for, or with ``--all`` every one; the last answer, with
    every row that was shown.
    """
    answer = list_answer(session, arguments, path, within)
    session.table(answer[within], columns, whole=answer)
    if answer["next"]:
        session.say(
            f"{len(answer[within]):,} shown, more with --cursor "
            f"{answer['next']}, or --all for every row."
        )
    behind = session.client.blocks_behind
    if behind > REPORTED_BLOCKS_BEHIND:
        session.say(
            f"This node has yet to read the last {behind} blocks: what is shown may be older."
        )
    return answer


def list_answer(
    session: CommandSession, arguments: argparse.Namespace, path: str, within: str
) -> Any:
    """The page that ``PAGE`` asks for, or with ``--all`` the last one with the rows of those before
    it.
    """
    asked = {
        name: getattr(arguments, name)
        for name in ("limit", "cursor")
        if getattr(arguments, name) is not None
    }
    if arguments.every and "limit" not in asked:
        asked["limit"] = MAX_ROWS
    rows: list[Any] = []
    while True:
        answer = session.client.get(
            f"{path}{'&' if '?' in path else '?'}{urlencode(asked)}" if asked else path
        )
        rows += answer[within]
        if not arguments.every or answer["next"] is None or len(rows) >= MAX_ROWS_SHOWN:
            return {**answer, within: rows}
        asked["cursor"] = answer["next"]


MAX_ROWS_SHOWN = 100_000
"""Where ``--all`` stops; it says how to continue."""


def change(path: str, body: Body = lambda _arguments: {}) -> Action:
    """Post to a path, wait for what it promised and show the answer with how that ended."""

    def act(session: CommandSession, arguments: argparse.Namespace) -> None:
        session.show_when_final(session.client.post(filled_path(path, arguments), body(arguments)))

    return act


OUT = arg("--out", type=Path, required=True, metavar="FILE", help="the file to write")


def save(path: str, *, query: Sequence[str] = ()) -> Action:
    """Write a bundle to ``--out``."""

    def act(session: CommandSession, arguments: argparse.Namespace) -> None:
        session.save(arguments.out, session.client.download(filled_path(path, arguments, query)))
        session.say(
            f"{arguments.out} written; check it with: qiaolian verify "
            f"{arguments.out} --trust YOUR-TRUST-FILE"
        )

    return act


def pairs(values: Sequence[str] | None, what: str) -> dict[str, str]:
    """``NAME=VALUE`` options as a mapping; ``pair_malformed``."""
    found: dict[str, str] = {}
    for text in values or ():
        name, sign, value = text.partition("=")
        if not name or not sign or name in found:
            raise BadInput(
                "pair_malformed", f"{what} is given as NAME=VALUE, each name once: {text}"
            )
        found[name] = value
    return found


COLUMNS_HELP = "separated by commas; a name that holds a comma in double quotes"
REASON_HELP = "why: a code such as misuse or legal-order, or its Chinese name such as 违规使用"


def listed(text: str) -> list[str]:
    """Names separated by commas; a name that holds a comma is in double quotes, as in CSV."""
    (row,) = csv.reader([text.replace("\n", " ")], skipinitialspace=True)
    return [name.strip() for name in row if name.strip()]
