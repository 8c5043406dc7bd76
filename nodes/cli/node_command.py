"""``qiaolian node``: the actions of ``nodes.cli.node``, and ``key``, which calls the
running node.
"""

from __future__ import annotations

import argparse

from nodes.cli import node, node_key
from nodes.cli.command_group import run_command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions and their options."""
    actions = node.add_arguments(parser)
    node_key.GROUP.add_arguments(
        actions.add_parser("key", help="the node's own keys: show, replace, end")
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action."""
    return run_command(arguments) if arguments.action == "key" else node.run(arguments)
