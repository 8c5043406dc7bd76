"""The commands that need a checkout of the project: the installed package has no ``scripts``.

This is the one module of ``nodes`` that imports ``scripts``, and it does so only when such a
command is chosen.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from chain.core.errors import BadInput

if TYPE_CHECKING:
    from nodes.cli.commands import CommandParser

ROOT = Path(__file__).parents[2]


def demo() -> CommandParser:
    """The network's demo; ``checkout_needed``."""
    _require_checkout("demo")
    from scripts import demo_run

    return demo_run


def bench() -> CommandParser:
    """The measurements; ``checkout_needed``."""
    _require_checkout("bench")
    from scripts import bench as benches

    return benches


def federated_demo(out: Path) -> int:
    """Run the demo of joint models into the folder ``out``; the exit code. ``checkout_needed``."""
    _require_checkout("federated demo")
    from scripts.federated_demo import command

    return command.run(out)


def _require_checkout(command: str) -> None:
    if not (ROOT / "scripts" / "demo_run.py").is_file():
        raise BadInput(
            "checkout_needed",
            f"`qiaolian {command}` is not part of the installed package.",
            hint="Run it in a checkout of the project, after ./scripts/test or ./scripts/demo.",
        )
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
