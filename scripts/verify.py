"""``qiaolian verify BUNDLE --trust TRUST``: check a bundle from its bytes, with no network, database or node.

Exit codes: 0 valid; 10 malformed; 11 bad signature; 12 not included; 13 not anchored; 14 not final; 15 wrong trust; 16 inconsistent; 2 a file that
cannot be read.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chain import bundle, trust
from chain.errors import BadInput, Malformed, VerificationError

STORIES = {
    "trade": ("exchange.story", "check_trade"),
    "lane": ("exchange.story", "check_lane"),
    "grant": ("registry.grants.story", "check"),
    "credit": ("registry.credit.story", "check"),
    "property": ("registry.property.story", "check"),
}
"""Where each story's checker is; a package owns the stories it has to prove."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("bundle", type=Path, help="the bundle file")
    parser.add_argument("--trust", type=Path, required=True, help="your own trust file")
    parser.add_argument("--json", action="store_true", help="answer for programs")


def run(arguments: argparse.Namespace) -> int:
    """Verify and report."""
    try:
        held = trust.read(_read(arguments.trust, "trust file", 1_000_000))
        report = _verify(_read(arguments.bundle, "bundle", bundle.MOST_BYTES), held)
    except VerificationError as error:
        if arguments.json:
            print(json.dumps({"valid": False, "code": error.code, "sentence": error.sentence, "exit": error.exit_code}))
        else:
            print(f"NOT VALID [{error.code}]: {error.sentence}", file=sys.stderr)
            if error.hint:
                print(error.hint, file=sys.stderr)
        return error.exit_code
    if arguments.json:
        answer = {"valid": True, "story": report.story, "height": report.height, "proved": list(report.proved)}
        print(json.dumps({**answer, "limits": list(report.limits)}, ensure_ascii=False))
        return 0
    print(f"VALID: a {report.story} story, proved up to block {report.height}.")
    for sentence in report.proved:
        print(f"  - {sentence}")
    for sentence in report.limits:
        print(f"  Note: {sentence}")
    return 0


def _verify(data: bytes, held: trust.Trust) -> bundle.Report:
    """What a checker did not foresee is a refusal like any other: strangers write bundles."""
    try:
        return bundle.verify(data, held, checkers())
    except VerificationError:
        raise
    except Exception as error:
        raise Malformed("bundle_malformed", f"The bundle holds what its checker cannot read ({type(error).__name__}).") from error


class _Lazy(Mapping[str, bundle.Checker]):
    """Loads a story's checker only when a bundle tells that story."""

    def __getitem__(self, story: str) -> bundle.Checker:
        module, function = STORIES[story]
        checker: bundle.Checker = getattr(importlib.import_module(module), function)
        return checker

    def __contains__(self, story: object) -> bool:
        return story in STORIES

    def __iter__(self) -> Any:
        return iter(STORIES)

    def __len__(self) -> int:
        return len(STORIES)


def checkers() -> Mapping[str, bundle.Checker]:
    """Every story's checker, loaded when it is asked for."""
    return _Lazy()


def _read(path: Path, what: str, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise BadInput("file_unreadable", f"The {what} cannot be read: {error.strerror}.", hint=str(path)) from error
    if len(data) > limit:
        raise Malformed("file_too_large", f"The {what} is larger than {limit:,} bytes.")
    return data
