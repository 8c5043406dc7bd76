"""``qiaolian reconcile``: gateway, buyer and chain compared: all agreements at a supervisor, one at its parties."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from scripts.people.desk import Desk
from scripts.people.show import Columns
from scripts.people.verb import Verb, add_verb, arg, place, run_verb

FINDINGS: Columns = {
    "agreement": "agreementId",
    "finding": "kind",
    "lane": "lane",
    "places": lambda row: "-" if row["fromSeq"] is None else f"{row['fromSeq']} to {row['toSeq']}",
    "told": "sentence",
}


def _reconcile(desk: Desk, arguments: argparse.Namespace) -> int:
    """Exit 1 when anything contradicts; money not claimed yet does not."""
    if arguments.agreement_id is None:
        answer = desk.client.get(place("/v1/reconciliation", arguments, ("state",)))
        compared: Sequence[Mapping[str, Any]] = answer["agreements"]
    else:
        answer = desk.client.get(place("/v1/agreements/{agreement_id}/reconciliation", arguments))
        compared = [answer]
    findings = [{"agreementId": each["agreementId"], **finding} for each in compared for finding in each["findings"]]
    desk.table(findings, FINDINGS, whole=answer)
    desk.say(f"{len(compared)} agreements compared: {len(findings)} findings.")
    return 0 if all(each["agree"] for each in compared) else 1


VERB = Verb(
    "reconcile",
    "compare gateway, buyer and chain; exit code 1 when they contradict each other",
    _reconcile,
    (arg("agreement_id", nargs="?", help="one agreement (default: as supervisor, all)"), arg("--state", help="only agreements in this state")),
    "auditor",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    add_verb(parser, VERB)


def run(arguments: argparse.Namespace) -> int:
    """Compare and tell."""
    return run_verb(arguments)
