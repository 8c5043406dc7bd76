"""``qiaolian supervise``: the whole network, at the supervisor and the operator."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from nodes.cli.command_group import (
    PAGE,
    Command,
    CommandGroup,
    arg,
    change,
    filled_path,
    read,
    read_pages,
)
from nodes.cli.output import Columns, when, yuan
from nodes.cli.session import CommandSession

ALARMS: Columns = {
    "member": "member",
    "state": "state",
    "code": "code",
    "what": lambda row: " ".join(item for item in (row["detail"], row["hint"]) if item),
}
NODES: Columns = {
    "member": "member",
    "state": "state",
    "code": "code",
    "not in order": lambda row: ", ".join(part["name"] for part in row["parts"]) or None,
    "certificate ends": lambda row: (
        None if row["certificateEnds"] is None else when(row["certificateEnds"])
    ),
}
VALIDATORS: Columns = {
    "validator": "address",
    "proposed": "proposed",
    "sealed": "sealed",
    "turns missed": "missed",
    "last sealed": "lastSealed",
}
FLOWS: Columns = {
    "provider": "provider",
    "buyer": "buyer",
    "asset": "assetId",
    "calls": "calls",
    "amount": lambda row: yuan(row["amount"]),
}
HOURS: Columns = {
    "hour": lambda row: when(row["hour"]),
    "calls": "calls",
    "amount": lambda row: yuan(row["amount"]),
    "opened": "opened",
    "closed": "closed",
}
RECORDS: Columns = {
    "part": "part",
    "kind": "kind",
    "id": "id",
    "title": "title",
    "facts": lambda row: ", ".join(f"{fact['kind']} {fact['value']}" for fact in row["facts"]),
}
RUNS: Columns = {
    "run": "id",
    "state": "state",
    "started": lambda row: when(row["startedAt"]),
    "agreements": "agreements",
    "calls": "positions",
    "contradictions": "findings",
    "lost": lambda row: yuan(row["lost"]),
}
FINDINGS: Columns = {
    "agreement": "agreementId",
    "finding": "kind",
    "lane": "lane",
    "responsible": lambda row: ", ".join(row["responsible"]),
    "due": lambda row: when(row["dueAt"]),
    "reported": "sentence",
}


def _flows(session: CommandSession, arguments: argparse.Namespace) -> None:
    answer = session.client.get(filled_path("/v1/network/flows", arguments, ("days",)))
    session.table(answer["flows"], FLOWS, whole=answer)
    session.say(
        f"{answer['firstDay']} to {answer['lastDay']}: {answer['total']} flows, "
        f"{answer['calls']:,} calls, {yuan(answer['amount'])}."
    )


def _trace(session: CommandSession, arguments: argparse.Namespace) -> None:
    answer = session.client.get(filled_path("/v1/trace", arguments, ("q",)))
    rows: list[Mapping[str, Any]] = [
        {"part": part, **record}
        for part in ("found", "source", "following")
        for record in answer[part]
    ]
    session.table(rows, RECORDS, whole=answer)


GROUP = CommandGroup(
    (
        Command(
            "alarms",
            "what is not in order, the worst first",
            read("/v1/network/alarms", within="alarms", columns=ALARMS),
            role="auditor",
        ),
        Command(
            "nodes",
            "how the other members' nodes are, and when their certificates end",
            read("/v1/network/nodes", within="nodes", columns=NODES),
            role="auditor",
        ),
        Command(
            "validators",
            "who proposed and sealed the last blocks",
            read("/v1/network/validators", within="validators", columns=VALIDATORS),
            role="auditor",
        ),
        Command(
            "flows",
            "who gave which data to whom, the largest flows first",
            _flows,
            (arg("--days", type=int, help="up to today (default 30)"),),
            role="auditor",
        ),
        Command(
            "money",
            "whether the chain's money adds up: every account and the open agreements",
            read("/v1/conservation"),
            role="auditor",
        ),
        Command(
            "hours",
            "calls and money of the last 24 hours",
            read("/v1/network/hours", within="hours", columns=HOURS),
            role="auditor",
        ),
        Command(
            "trace",
            "a record back to its source",
            _trace,
            (arg("q", metavar="ID", help="an id, a member's code, or CODE/INDEX of a log"),),
            role="auditor",
        ),
        Command(
            "start-run",
            "compare every agreement in the background",
            change("/v1/reconciliation/runs", lambda _arguments: {}),
            role="auditor",
        ),
        Command(
            "runs",
            "comparisons of every agreement, the latest first",
            read_pages("/v1/reconciliation/runs", within="runs", columns=RUNS),
            PAGE,
            role="auditor",
        ),
        Command(
            "findings",
            "open findings, and who has to answer by when",
            read_pages(
                "/v1/reconciliation/findings",
                within="findings",
                columns=FINDINGS,
                query=("settled",),
            ),
            (arg("--settled", choices=["true", "false"], help="those that were settled"), *PAGE),
            role="auditor",
        ),
    )
)
