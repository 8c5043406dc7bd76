"""``qiaolian node``: what ``nodes.command`` does, and the node's own keys, which a running node is asked about."""

from __future__ import annotations

import argparse

from nodes import command
from scripts.people import node_key
from scripts.people.verb import run_verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions and their options."""
    actions = command.add_arguments(parser)
    node_key.NOUN.add_arguments(actions.add_parser("key", help="the node's own keys: show, replace, end"))


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action."""
    return run_verb(arguments) if arguments.action == "key" else command.run(arguments)
