"""``qiaolian bench``: the project's figures, each beside a baseline of the same run on the same
machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from scripts.benches.figure import Figure

Progress = Callable[[str], None]


def _outbox(progress: Progress) -> Iterable[Figure]:
    from scripts.benches import outbox

    return outbox.run(progress)


def _calls(progress: Progress) -> Iterable[Figure]:
    from scripts.benches import calls

    return calls.run(progress)


def _lanes(progress: Progress) -> Iterable[Figure]:
    from scripts.benches import lanes

    return lanes.run(progress)


def _settlement(progress: Progress) -> Iterable[Figure]:
    from scripts.benches import settlement

    return settlement.run(progress)


def _verification(progress: Progress) -> Iterable[Figure]:
    from scripts.benches import verification

    return verification.run(progress)


def _federated(progress: Progress) -> Iterable[Figure]:
    from scripts.benches import federated

    return federated.run(progress)


def _projection(progress: Progress) -> Iterable[Figure]:
    from scripts.benches import projection

    return projection.run(progress)


def _opprf(progress: Progress) -> Iterable[Figure]:
    from scripts.benches import opprf

    return opprf.run(progress)


def _by_hand(progress: Progress) -> Iterable[Figure]:
    from scripts.benches import by_hand

    return by_hand.run(progress)


def _idle(progress: Progress) -> Iterable[Figure]:
    from scripts.benches import idle

    return idle.run(progress)


def _console(progress: Progress) -> Iterable[Figure]:
    from scripts.benches import console

    return console.run(progress)


PARTS = {
    "outbox": _outbox,
    "calls": _calls,
    "lanes": _lanes,
    "settlement": _settlement,
    "verification": _verification,
    "federated": _federated,
    "projection": _projection,
    "opprf": _opprf,
    "by-hand": _by_hand,
    "idle": _idle,
    "console": _console,
}
"""The benches by name; each is imported when it runs."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--csv", type=Path, help="also write them to this file as a table")
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
        for figure in PARTS[name](_print_progress):
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
    if arguments.csv:
        import pandas as pd

        rows = [figure.to_json() for figure in figures]
        pd.DataFrame.from_records(rows).to_csv(arguments.csv, index=False)
    return 0


def _print_progress(text: str) -> None:
    print(f"  … {text}", file=sys.stderr, flush=True)
