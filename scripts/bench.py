"""``qiaolian bench``: the project's figures, each beside a baseline of the same run on the same
machine.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from pathlib import Path

PARTS = {
    "outbox": "scripts.benches.outbox",
    "calls": "scripts.benches.calls",
    "verification": "scripts.benches.verification",
    "federated": "scripts.benches.federated",
    "projection": "scripts.benches.projection",
    "opprf": "scripts.benches.opprf",
    "by-hand": "scripts.benches.by_hand",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument(
        "--only",
        choices=sorted(PARTS),
        action="append",
        help="one part; may be given several times",
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    figures = []
    for name in arguments.only or PARTS:
        print(f"{name} …", file=sys.stderr, flush=True)
        part = importlib.import_module(PARTS[name])
        for figure in part.run(lambda text: print(f"  … {text}", file=sys.stderr, flush=True)):
            figures.append(figure)
            print(
                f"{figure.name}: {figure.value:,.2f} {figure.unit} (aim {figure.target}; "
                f"{figure.ratio:.2f} × {figure.baseline_is}, {figure.baseline:,.2f})",
                flush=True,
            )
    if arguments.json:
        machine = {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "system": platform.platform(),
        }
        value = {"machine": machine, "figures": [figure.to_json() for figure in figures]}
        arguments.json.write_text(
            json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    return 0
