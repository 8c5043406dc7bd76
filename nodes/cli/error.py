"""``qiaolian error CODE``: what an error code means and what to do next, in English and Chinese."""

from __future__ import annotations

import argparse

from chain.core.error_codes import ErrorCode, error_code
from chain.core.printable import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("code", metavar="CODE", help="the code in error[CODE] or problem+json")


def run(arguments: argparse.Namespace) -> int:
    """Print one code's meaning.

    Raises:
        NotFound: ``error_unknown``.
    """
    print(describe(error_code(printable(arguments.code, limit=64))))
    return 0


def describe(found: ErrorCode) -> str:
    """The meaning of a code as text of several lines."""
    classes = [
        f"{error_class.name}: HTTP status {error_class.status}, exit code {error_class.exit_code}"
        for error_class in found.classes
    ]
    return "\n".join(
        [
            found.code,
            *(f"  {line}" for line in classes),
            "",
            found.sentence.en,
            f"Next: {found.next_step.en}",
            "",
            found.sentence.zh,
            f"下一步：{found.next_step.zh}",
        ]
    )
