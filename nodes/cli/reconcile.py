"""``qiaolian reconcile``: gateway, buyer and chain compared: all agreements at a supervisor, one at
its parties.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from nodes.cli.command_group import Command, add_command, arg, filled_path, run_command
from nodes.cli.output import Columns, yuan
from nodes.cli.session import CommandSession

FINDINGS: Columns = {
    "agreement": "agreementId",
    "kind": "kind",
    "lane": "lane",
    "positions": lambda row: (
        "-" if row["fromSeq"] is None else f"{row['fromSeq']} to {row['toSeq']}"
    ),
    "finding": "sentence",
}
MONEY: Columns = {
    "agreement": "agreementId",
    **{
        name: lambda row, name=name: yuan(row[name])  # type: ignore[misc]
        for name in ("earned", "acknowledged", "claimed", "paid", "unclaimed", "lost")
    },
    "parts": lambda row: ", ".join(
        f"{part['member']} {yuan(part['paid'])}" for part in row["parts"]
    ),
}
CONTRADICTION, LOST = 1, 5
"""Exit codes: the sides contradict each other; they agree, and money that was earned is lost."""


def exit_code(compared: Sequence[Mapping[str, Any]]) -> int:
    """1 when anything contradicts, 5 when earned money is lost; money not claimed yet
    is neither.
    """
    if not all(one["agree"] for one in compared):
        return CONTRADICTION
    return LOST if _lost(compared) else 0


def _lost(compared: Sequence[Mapping[str, Any]]) -> int:
    return sum(int(one["money"]["lost"]) for one in compared if one["money"] is not None)


def _report(session: CommandSession, path: str) -> dict[str, Any]:
    """The report over every agreement, page after page: sums are added up, and what must hold must
    hold in each.
    """
    whole: dict[str, Any] = {}
    for page in session.client.pages(path):
        whole = _joined(whole, page) if whole else page
    return whole


def _joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **second,
        "agreements": first["agreements"] + second["agreements"],
        "covered": {
            name: count + second["covered"][name] for name, count in first["covered"].items()
        },
        "lost": str(int(first["lost"]) + int(second["lost"])),
        "countersAgree": first["countersAgree"] and second["countersAgree"],
        "conserved": first["conserved"] and second["conserved"],
    }


def _reconcile(session: CommandSession, arguments: argparse.Namespace) -> int:
    """Print the differences and the money's totals."""
    if arguments.agreement_id is None:
        answer = _report(session, filled_path("/v1/reconciliation", arguments, ("state",)))
        compared: Sequence[Mapping[str, Any]] = answer["agreements"]
    else:
        answer = session.client.get(
            filled_path("/v1/agreements/{agreement_id}/reconciliation", arguments)
        )
        compared = [answer]
    findings = [
        {"agreementId": item["agreementId"], **finding}
        for item in compared
        for finding in item["findings"]
    ]
    session.table(findings, FINDINGS, whole=answer)
    money = [
        {"agreementId": one["agreementId"], **one["money"]}
        for one in compared
        if one["money"] is not None
    ]
    if money and not session.json:
        session.table(money, MONEY)
    session.say(
        f"{len(compared)} agreements compared: {len(findings)} "
        f"findings, {yuan(_lost(compared))} lost."
    )
    return exit_code(compared)


COMMAND = Command(
    "reconcile",
    "compare gateway, buyer and chain; exit code 1 when they "
    "contradict each other, 5 when earned money is lost",
    _reconcile,
    (
        arg("agreement_id", nargs="?", help="one agreement (default: as supervisor, all)"),
        arg("--state", help="only agreements in this state"),
    ),
    "auditor",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    add_command(parser, COMMAND)


def run(arguments: argparse.Namespace) -> int:
    """Print the comparison; the exit code."""
    return run_command(arguments)
