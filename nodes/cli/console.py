"""``qiaolian console``: the people who may use a node's console, on the node's own machine.

The commands change the node's database directly, so that an organisation whose administrators are
all locked out can let one in again. Each is recorded as an act of the command line.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from chain.core.errors import BadInput, NotFound
from chain.core.printable import printable

if TYPE_CHECKING:
    from nodes.config import NodeConfig
    from nodes.console.acts.model import Act
    from nodes.console.storage import OpenRecords

ROLES = "chief_data_officer, clerk, modeller, auditor, administrator"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions and their options."""
    actions = parser.add_subparsers(dest="action", required=True)
    invite = actions.add_parser("invite", help="make a person's account and its one-time link")
    invite.add_argument("--login", required=True, help="log-in name")
    invite.add_argument("--name", help="the person's name (default: the log-in name)")
    invite.add_argument("--roles", required=True, help=f"separated by commas: {ROLES}")
    reset = actions.add_parser(
        "reset", help="end a person's password and second factor; a new one-time link"
    )
    reset.add_argument("--login", required=True, help="log-in name")
    forget = actions.add_parser(
        "forget-person", help="erase a person's name and the key that opens their acts"
    )
    forget.add_argument("--login", required=True, help="log-in name")
    for action in (invite, reset, forget):
        action.add_argument("--config", type=Path, required=True, help="the node's TOML file")


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action."""
    # Help comes at once, and without the packages of a node.
    from nodes import config as configuration

    config = configuration.load(arguments.config)
    with opened_records(config) as records:
        if arguments.action == "invite":
            link = invitation_link(
                config,
                records,
                login=arguments.login,
                name=arguments.name or arguments.login,
                roles=arguments.roles.split(","),
            )
            print(f"One-time link for {printable(arguments.login)}, valid for three days: {link}")
        elif arguments.action == "reset":
            print(f"One-time link, valid for three days: {_reset(config, records, arguments)}")
        else:
            _forget(records, arguments.login)
            print("Forgotten: the name and the key that opens the person's acts are erased.")
            print("Backups made before still hold them until they are deleted by their date.")
    return 0


def invitation_link(
    config: NodeConfig, records: OpenRecords, *, login: str, name: str, roles: list[str]
) -> str:
    """Create an account and return its one-time link.

    Raises:
        BadInput: ``person_role_unknown``, ``console_missing``, and as ``accounts.service.invite``.
    """
    from nodes.console.accounts import service
    from nodes.console.accounts.model import PersonRole

    known = {role.value for role in PersonRole}
    for role in roles:
        if role not in known:
            raise BadInput(
                "person_role_unknown",
                f"There is no role {printable(role)}.",
                hint=f"Known: {ROLES}.",
            )
    held = [PersonRole(role) for role in roles]
    account_id = service.new_account_id()
    token = service.invite(records, login=login, name=name, roles=held, account_id=account_id)
    _record(records, "invite", account_id)
    return link_of(config, token)


def link_of(config: NodeConfig, token: str) -> str:
    """The one-time link's address; ``console_missing``."""
    settings = config.console
    if settings is None:
        raise BadInput(
            "console_missing",
            "The node's configuration has no [console].",
            hint="Add it with the port the console listens on; docs/console.md has an example.",
        )
    scheme = "http" if settings.plain_http else "https"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{scheme}://{host}:{settings.port}/invitations/{token}"


@contextmanager
def opened_records(config: NodeConfig) -> Iterator[OpenRecords]:
    """The node's database, brought to this program's schema."""
    from chain.core.database import Database
    from nodes.console.storage import OpenRecords
    from nodes.migrate import upgrade

    upgrade(config.database_url, lock_dir=config.data)
    database = Database(config.database_url)
    try:
        yield OpenRecords(database)
    finally:
        database.close()


def _reset(config: NodeConfig, records: OpenRecords, arguments: argparse.Namespace) -> str:
    from nodes.console.accounts import service

    account_id = _account_id(records, arguments.login)
    token = service.reset(records, account_id)
    _record(records, "reset", account_id)
    return link_of(config, token)


def _forget(records: OpenRecords, login: str) -> None:
    from nodes.console.accounts.erasure import forget_person

    account_id = _account_id(records, login)
    forget_person(records, account_id)
    _record(records, "forget-person", account_id)


def _account_id(records: OpenRecords, login: str) -> str:
    from nodes.console.accounts import service

    for person in service.listing(records):
        if person.login == login.strip().lower():
            return person.id
    raise NotFound("account_unknown", "There is no such account.")


def _record(records: OpenRecords, action: str, subject: str) -> None:
    from nodes.console.acts.model import Act, ActKind

    record_command(records, f"console {action}", Act(ActKind.CHANGE, "account", subject))


def record_command(records: OpenRecords, command: str, act: Act) -> None:
    """Record an act under the machine's own name: the console's people did not do it."""
    import getpass

    from nodes.console.acts import service as acts
    from nodes.console.acts.model import Actor

    user = getpass.getuser()
    acts.record(records, Actor("command-line", user, user, f"qiaolian {command}"), act)
