"""``qiaolian federated``: the commands of a party, and the demo of several parties at work."""

from __future__ import annotations

import argparse
from pathlib import Path

from nodes.cli import federated
from scripts.demo_steps.folder import own_folder, terminated_like_interrupted

DEFAULT_OUT = Path("var/federated-demo")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The party's actions, and ``demo``."""
    actions = federated.add_arguments(parser)
    demo = actions.add_parser(
        "demo",
        help="joint models of a bank and three departments on real loan records, from intersection to replay",
    )
    demo.add_argument(
        "--out",
        type=Path,
        default=DEFAULT_OUT,
        help=f"where the report and the parties' folders go (default {DEFAULT_OUT})",
    )
    demo.set_defaults(act=_demo)


def run(arguments: argparse.Namespace) -> int:
    """Run one action."""
    return federated.run(arguments)


def _demo(arguments: argparse.Namespace) -> int:
    from scripts.federated_demo.run import PARTS, FederatedDemo

    out: Path = arguments.out.resolve()
    with own_folder(out, PARTS), terminated_like_interrupted():
        broken = FederatedDemo(out).run()
    for sentence in broken:
        print(f"NOT HELD: {sentence}")
    print(
        f"\n{'Every step held.' if not broken else 'Some promises did not hold.'} Report: {out / 'report.html'}"
    )
    return 1 if broken else 0
