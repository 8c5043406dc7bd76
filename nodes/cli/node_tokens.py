"""``qiaolian node tokens``: the access tokens of the organisation's own systems and people.

Each names its holder, under which the node records what it did. The node reads the file at its
start.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from chain.core.errors import BadInput
from nodes import access
from nodes import config as configuration

_RESTART = "Restart `qiaolian node run`: it reads the tokens at its start."


def add_arguments(actions: Any) -> None:
    """Add the action to those of ``qiaolian node``."""
    tokens = actions.add_parser(
        "tokens", help="the access tokens: list, add or remove one, or renew all"
    )
    tokens.add_argument(
        "step",
        choices=["list", "add", "remove", "renew"],
        help="list: names and roles; add: a token for one more system, shown once; remove: end a "
        "token; renew: a fresh token for every name",
    )
    tokens.add_argument("--config", type=Path, required=True, help="the node's TOML file")
    tokens.add_argument("--name", help="the system that uses it, such as core-banking")
    tokens.add_argument(
        "--role", choices=access.ROLES, default="system", help="what it may do (default system)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry out one step."""
    config = configuration.load(arguments.config)
    path = config.path(config.access.tokens)
    if arguments.step == "list":
        for entry in access.read_tokens(path):
            print(f"{entry.name:<40} {entry.role}")
        return 0
    if arguments.step == "renew":
        _renew(config)
    elif not arguments.name:
        raise BadInput("token_name_missing", "Which token?", hint="Give --name NAME.")
    elif arguments.step == "add":
        token = access.add(path, name=arguments.name, role=arguments.role)
        print(f"The token of {arguments.name}, shown this once: {token}")
    else:
        access.remove(path, name=arguments.name)
        print(f"The token of {arguments.name} ends at the next start.")
    print(_RESTART)
    _record(config, arguments.step, arguments.name or "")
    return 0


def _renew(config: configuration.NodeConfig) -> None:
    from nodes.initialise import renew_tokens

    handout = renew_tokens(config)
    print(f"{handout}: fresh access tokens in clear; hand them out, then delete the file.")


def _record(config: configuration.NodeConfig, step: str, name: str) -> None:
    from nodes.cli.console import opened_records, record_command
    from nodes.console.acts.model import Act, ActKind

    with opened_records(config) as records:
        act = Act(ActKind.CHANGE, "access-token", name)
        record_command(records, f"node tokens {step}", act)
