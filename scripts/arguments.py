"""Checks the arguments of ``scripts/demo`` and ``scripts/test`` before anything is installed or
built.

Standard library only: this runs under the machine's own Python. ``python -m scripts.arguments
demo|test [ARGUMENT ...]`` exits with 0 if they are valid, 2 with one line that names the
fault, and 10 after ``--help``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from chain.core.errors import BadInput, QiaolianError
from scripts.demo_steps.folder import require_usable

DEFAULT_OUT = Path("var/demo")
DEFAULT_CALLS, MIN_CALLS = 1_000, 12
DEFAULT_DEALS, MIN_DEALS = 25, 2
PARTS = ("network", "bundles")
"""What a run leaves in its folder and the next one removes."""
HELP_SHOWN = 10

_TEST_HELP = """\
Sets up what is missing, checks the sources and the contracts, then runs the tests. Options of this
script: --fast (the tests alone), --long (also the tests that are long by nature). The other options
here, and paths of tests, go to pytest; after -- anything goes to pytest unchecked."""
_FLAGS = (
    "-x",
    "-q",
    "-qq",
    "-v",
    "-vv",
    "-s",
    "--lf",
    "--ff",
    "--co",
    "--collect-only",
    "--sw",
    "--pdb",
    "--exitfirst",
    "--last-failed",
)
_VALUES = (
    "-k",
    "-m",
    "-n",
    "-p",
    "-r",
    "--maxfail",
    "--durations",
    "--tb",
    "--deselect",
    "--ignore",
    "--junitxml",
    "--basetemp",
    "-o",
)


def add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    """The demo's options."""
    parser.add_argument(
        "--out",
        type=Path,
        default=DEFAULT_OUT,
        help=f"where reports and bundles go (default {DEFAULT_OUT})",
    )
    parser.add_argument(
        "--calls",
        type=int,
        default=DEFAULT_CALLS,
        help=f"metered calls, at least {MIN_CALLS} (default {DEFAULT_CALLS})",
    )
    parser.add_argument(
        "--deals",
        type=int,
        default=DEFAULT_DEALS,
        help=f"home deals, at least {MIN_DEALS} (default {DEFAULT_DEALS})",
    )
    parser.add_argument(
        "--serve",
        action="store_true",
        help="keep the network running at the end, with a page of its consoles, until Ctrl-C",
    )
    parser.add_argument("--clean", action="store_true", help="remove the network's data at the end")


def require_demo(arguments: argparse.Namespace) -> None:
    """Check the demo's arguments: ``demo_too_small``, ``demo_out_in_use``,
    ``demo_out_unwritable``.
    """
    for option, given, minimum in (
        ("--calls", arguments.calls, MIN_CALLS),
        ("--deals", arguments.deals, MIN_DEALS),
    ):
        if given < minimum:
            hint = f"Give {option} {minimum} or more, or leave it out."
            raise BadInput(
                "demo_too_small",
                f"The demo needs {option} of at least {minimum}; {given} was given.",
                hint=hint,
            )
    require_usable(arguments.out.resolve(), PARTS)


def require_test(given: Sequence[str]) -> None:
    """Check the tests' arguments: ``test_path_missing``; argparse exits at an unknown option."""
    checked = given[: given.index("--")] if "--" in given else given
    arguments = _test_parser().parse_intermixed_args(list(checked))
    for path in arguments.paths:
        if not Path(path.partition("::")[0]).exists():
            raise BadInput(
                "test_path_missing",
                f"There is no {path}.",
                hint="Name a file or folder under tests, or choose tests with -k.",
            )


def _test_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "scripts/test",
        description=_TEST_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for flag in ("--fast", "--long", *_FLAGS):
        parser.add_argument(flag, action="store_true", dest=f"given{flag}")
    for option in _VALUES:
        parser.add_argument(option, action="append", dest=f"given{option}", metavar="VALUE")
    parser.add_argument("paths", nargs="*", metavar="PATH")
    return parser


def main(given: Sequence[str]) -> int:
    """Check the arguments of the named script."""
    script, rest = given[0], list(given[1:])
    try:
        if script == "demo":
            parser = argparse.ArgumentParser(
                "scripts/demo", description="Sets up what is missing, then runs the demo."
            )
            add_demo_arguments(parser)
            require_demo(parser.parse_args(rest))
        else:
            require_test(rest)
    except QiaolianError as error:
        print(f"error[{error.code}]: {error.sentence} {error.hint}".rstrip(), file=sys.stderr)
        return error.exit_code
    except SystemExit as ended:
        return HELP_SHOWN if ended.code == 0 else 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
