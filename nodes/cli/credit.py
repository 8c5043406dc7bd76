"""``qiaolian credit``: one-stop reports for banks; certificates, disputes and repairs at
departments.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from chain.core.errors import BadInput
from nodes.cli.command_group import (
    IDEMPOTENCY_OPTIONS,
    OUT,
    PAGE,
    Command,
    CommandGroup,
    arg,
    change,
    filled_path,
    listed,
    pairs,
    read,
    read_pages,
    save,
)
from nodes.cli.output import Columns, when
from nodes.cli.session import CommandSession, json_bytes, read_json

QUERIES: Columns = {
    "query": "queryId",
    "bank": "bank",
    "issued": lambda row: when(row["issuedAt"]) if "issuedAt" in row else f"block {row['height']}",
}
DISPUTES: Columns = {
    "dispute": "disputeId",
    "state": "state",
    "subject": "subject",
    "claim": lambda row: ", ".join(f"{name}: {value}" for name, value in row["claim"].items()),
    "asset": "assetId",
}
SOURCES: Columns = {
    "agreement": "agreementId",
    "department": "department",
    "columns": lambda row: ",".join(row["columns"]),
    "price (fen)": "price",
}
HELD: Columns = {
    "consent": "consent",
    "subject": "subject",
    "purpose": "purpose",
    "ends": lambda row: when(row["endsAt"]),
    "refused for": "refusal",
}
IDENTITY = arg(
    "--identity",
    action="append",
    metavar="NAME=VALUE",
    help="more of the identity, such as kind=sole-trader; repeated",
)


def identity_of(arguments: argparse.Namespace) -> dict[str, str]:
    """Code and whatever else the issuer knows the subject by."""
    return {"code": arguments.code, **pairs(arguments.identity, "A part of an identity")}


def _sources(session: CommandSession, arguments: argparse.Namespace) -> None:
    answer = session.client.get(filled_path("/v1/reports/sources", arguments, ("purpose",)))
    session.table(answer["sources"], SOURCES, whole=answer)


LOOKS: Columns = {
    "when": lambda row: when(row["at"]),
    "columns": lambda row: ",".join(row["columns"]),
    "purpose": "purpose",
    "outcome": lambda row: row["reason"] or row["outcome"],
    "agreement": "agreementId",
    "lane": "lane",
    "seq": "seq",
}


def _looks(session: CommandSession, arguments: argparse.Namespace) -> None:
    """Every page: the subject's code travels in the body, not in an address that logs keep."""
    rows: list[Any] = []
    path = "/v1/looks"
    while True:
        answer = session.client.post(path, {"subject": arguments.code})
        rows += answer["looks"]
        if answer["next"] is None or len(rows) >= arguments.limit:
            break
        path = f"/v1/looks?{urlencode({'cursor': answer['next']})}"
    session.table(rows[: arguments.limit], LOOKS, whole={"looks": rows[: arguments.limit]})


def _check_looks(session: CommandSession, arguments: argparse.Namespace) -> None:
    session.show(session.client.post("/v1/looks/check", {"subject": arguments.code}))


def _report(session: CommandSession, arguments: argparse.Namespace) -> None:
    parts = [
        {"agreementId": agreement, "columns": listed(columns)}
        for agreement, columns in pairs(arguments.part, "An agreement's columns").items()
    ]
    body = {
        "subject": arguments.subject,
        "consentId": arguments.consent,
        "purpose": arguments.purpose,
        "parts": parts,
    }
    session.show_when_final(session.post_once("/v1/reports", body))


def _certify(session: CommandSession, arguments: argparse.Namespace) -> None:
    request = read_json(arguments.request, "subject's request")
    if not isinstance(request, dict):
        raise BadInput("request_malformed", "The subject's request is not a JSON object.")
    session.show(
        {"certified": {name: request.get(name) for name in ("identity", "key", "purpose")}}
    )
    made = session.client.post(
        "/v1/certificates", {**request, "notAfter": int(time.time()) + arguments.days * 86_400}
    )
    session.save(arguments.out, json_bytes(made))
    session.say(f"{arguments.out} written: give it to the subject.")


def _record(session: CommandSession, arguments: argparse.Namespace) -> None:
    found = session.client.post(f"/v1/assets/{arguments.asset_id}/records", identity_of(arguments))
    shown = {"assetId": arguments.asset_id, **found}
    if arguments.out is not None:
        member = session.config.member if arguments.department is None else arguments.department
        session.save(arguments.out, json_bytes({"department": member, **shown}))
    session.show(shown)


def _answer(arguments: argparse.Namespace) -> dict[str, Any]:
    if (arguments.record is None) != arguments.confirm:
        raise BadInput(
            "answer_missing", "A dispute is answered with --record FILE or with --confirm."
        )
    return {"record": None if arguments.confirm else read_json(arguments.record, "repaired record")}


GROUP = CommandGroup(
    (
        Command(
            "report",
            "as a bank, a one-stop report on a subject over several departments",
            _report,
            (
                arg("--subject", required=True, help="the subject's code"),
                arg(
                    "--consent",
                    required=True,
                    metavar="CONSENT",
                    help="the subject's consent to this bank",
                ),
                arg(
                    "--purpose",
                    default="credit-assessment",
                    help="as consented (default credit-assessment)",
                ),
                arg(
                    "--part",
                    action="append",
                    required=True,
                    metavar="AGREEMENT=COLUMNS",
                    help="columns separated by commas; one for each department",
                ),
                IDEMPOTENCY_OPTIONS,
            ),
        ),
        Command(
            "sources",
            "as a bank, the open agreements with which a report can be made",
            _sources,
            (arg("--purpose", default="credit-assessment", help="as granted, a code"),),
        ),
        Command(
            "show-report",
            "a report that this bank made, with receipts, log positions and blocks",
            read("/v1/reports/{query_id}"),
            (arg("query_id"),),
        ),
        Command(
            "consents",
            "the consents this bank holds, each with what a call would be refused for now",
            read_pages("/v1/consents/held", within="consents", columns=HELD, query=("subject",)),
            (arg("--subject", help="of one subject"), *PAGE),
        ),
        Command(
            "queries",
            "this bank's queries; at a supervisor, all the chain has",
            read_pages("/v1/credit/queries", within="queries", columns=QUERIES),
            PAGE,
        ),
        Command(
            "bundle",
            "write a query's bundle",
            save("/v1/credit/queries/{query_id}/bundle"),
            (arg("query_id"), OUT),
            "auditor",
        ),
        Command(
            "certify",
            "as the issuer that knows a subject, certify its one-time key",
            _certify,
            (
                arg("request", type=Path, help="what the subject's `qiaolian subject key` wrote"),
                arg("--days", type=int, default=365, help="for how long (default 365)"),
                OUT,
            ),
        ),
        Command(
            "record",
            "at the counter, what this department holds of the subject",
            _record,
            (
                arg("asset_id"),
                arg("--code", required=True, help="the subject's code"),
                IDENTITY,
                arg(
                    "--department",
                    metavar="MEMBER",
                    help="this department, when --node is not given",
                ),
                arg(
                    "--out",
                    type=Path,
                    metavar="FILE",
                    help="write it for the subject, who can dispute it with this file",
                ),
            ),
        ),
        Command(
            "looks",
            "at the counter, who asked for a subject's record and why, the latest first",
            _looks,
            (
                arg("--code", required=True, help="the subject's code"),
                arg("--limit", type=int, default=1_000, metavar="N", help="rows (default 1000)"),
            ),
        ),
        Command(
            "check-looks",
            "whether that account is complete, by receipts, log, chain and buyers",
            _check_looks,
            (arg("--code", required=True, help="the subject's code"),),
        ),
        Command(
            "look",
            "write the proof of one look",
            save("/v1/looks/{agreement}/{lane}/{seq}/bundle"),
            (arg("agreement"), arg("lane"), arg("seq"), OUT),
        ),
        Command(
            "disputes",
            "disputes at this department",
            read_pages("/v1/disputes", within="disputes", columns=DISPUTES),
            PAGE,
        ),
        Command(
            "answer",
            "as the department, repair a disputed record or confirm it",
            change("/v1/disputes/{dispute_id}/answer", _answer),
            (
                arg("dispute_id"),
                arg(
                    "--record",
                    type=Path,
                    metavar="FILE",
                    help="the repaired record, all its columns, as JSON",
                ),
                arg("--confirm", action="store_true", help="the old record is confirmed"),
            ),
        ),
    )
)
