"""``qiaolian verify BUNDLE --trust TRUST``: check a bundle from its bytes, with no network,
database or node.

Exit codes: 0 valid; 10 malformed; 11 bad signature; 12 not included; 13 not anchored; 14 not final;
15 wrong trust; 16 inconsistent; 2 a file that cannot be read. Whatever text came with a file is
escaped and cut before it is printed (``chain.core.printable``).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from chain.bundle import trust
from chain.bundle.claims import ProfileChecker, Report, VerifiedClaims
from chain.bundle.form import MAX_BYTES
from chain.bundle.verifier import verify
from chain.core.errors import BadInput, Malformed, VerificationError
from chain.core.printable import as_json, printable, utc

MEGABYTE = 1_000_000
MAX_MEGABYTES = 1_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("bundle", type=Path, help="the bundle file")
    parser.add_argument("--trust", type=Path, required=True, help="your own trust file")
    parser.add_argument("--json", action="store_true", help="answer for programs")
    parser.add_argument(
        "--max-megabytes",
        type=int,
        choices=range(1, MAX_MEGABYTES + 1),
        default=MAX_BYTES // MEGABYTE,
        metavar="N",
        help=f"the largest bundle that is read (default {MAX_BYTES // MEGABYTE}); reading takes "
        "up to twelve times as much memory",
    )


def run(arguments: argparse.Namespace) -> int:
    """Verify and report."""
    max_bytes = arguments.max_megabytes * MEGABYTE
    try:
        trusted = trust.read(_read(arguments.trust, "trust file", MEGABYTE))
        report = _verify(
            _read(
                arguments.bundle,
                "bundle",
                max_bytes,
                hint="Raise --max-megabytes if you expect so large a bundle.",
            ),
            trusted,
            max_bytes,
        )
    except VerificationError as error:
        _print_refusal(error, json=arguments.json)
        return error.exit_code
    _print_report(report, json=arguments.json)
    return 0


def _print_refusal(error: VerificationError, *, json: bool) -> None:
    if json:
        print(
            as_json(
                {
                    "valid": False,
                    "code": error.code,
                    "sentence": printable(error.sentence),
                    "exit": error.exit_code,
                }
            )
        )
        return
    _print(
        [f"NOT VALID [{error.code}]: {error.sentence}", *([error.hint] if error.hint else [])],
        sys.stderr,
    )


def _print_report(report: Report, *, json: bool) -> None:
    if json:
        answer = {
            "valid": True,
            "story": report.profile,
            "height": report.height,
            "time": report.time,
        }
        sentences = {
            "proved": [*map(printable, report.proved)],
            "limits": [*map(printable, report.limits)],
        }
        print(as_json(answer | sentences))
        return
    lines = [
        (f"VALID: {report.profile}, proved up to block {report.height} of {utc(report.time)}.")
    ]
    lines += [f"  - {sentence}" for sentence in report.proved]
    _print([*lines, *(f"  Note: {sentence}" for sentence in report.limits)], sys.stdout)


def _print(sentences: Iterable[str], to: Any) -> None:
    for sentence in sentences:
        print(printable(sentence), file=to)


def _verify(data: bytes, trusted: trust.Trust, max_bytes: int) -> Report:
    """Verify; an exception that a checker did not foresee is a refusal: strangers write bundles."""
    try:
        return verify(data, trusted, CHECKERS, max_bytes=max_bytes)
    except VerificationError:
        raise
    except Exception as error:
        raise Malformed(
            "bundle_malformed",
            f"The bundle holds what its checker cannot read ({type(error).__name__}).",
        ) from error


def _trade(claims: VerifiedClaims, subject: Mapping[str, Any]) -> list[str]:
    from exchange.proof_profile import check_trade

    return check_trade(claims, subject)


def _lane(claims: VerifiedClaims, subject: Mapping[str, Any]) -> list[str]:
    from exchange.proof_profile import check_lane

    return check_lane(claims, subject)


def _look(claims: VerifiedClaims, subject: Mapping[str, Any]) -> list[str]:
    from exchange.looks.proof_profile import check

    return check(claims, subject)


def _dispute(claims: VerifiedClaims, subject: Mapping[str, Any]) -> list[str]:
    from exchange.disputes.proof_profile import check

    return check(claims, subject)


def _grant(claims: VerifiedClaims, subject: Mapping[str, Any]) -> list[str]:
    from registry.grants.proof_profile import check

    return check(claims, subject)


def _credit(claims: VerifiedClaims, subject: Mapping[str, Any]) -> list[str]:
    from registry.credit.proof_profile import check

    return check(claims, subject)


def _property(claims: VerifiedClaims, subject: Mapping[str, Any]) -> list[str]:
    from registry.property.proof_profile import check

    return check(claims, subject)


CHECKERS: dict[str, ProfileChecker] = {
    "trade": _trade,
    "lane": _lane,
    "look": _look,
    "dispute": _dispute,
    "grant": _grant,
    "credit": _credit,
    "property": _property,
}
"""The checker of each proof profile; each imports its package only when a bundle needs it."""


def _read(path: Path, what: str, limit: int, *, hint: str = "") -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise BadInput(
            "file_unreadable", f"The {what} cannot be read: {error.strerror}.", hint=str(path)
        ) from error
    if len(data) > limit:
        raise Malformed("file_too_large", f"The {what} is larger than {limit:,} bytes.", hint=hint)
    return data
