"""``qiaolian demand``: what banks need and the catalogue does not offer yet."""

from __future__ import annotations

import argparse
from typing import Any

from nodes.cli.command_group import (
    COLUMNS_HELP,
    IDEMPOTENCY_OPTIONS,
    PAGE,
    Command,
    CommandGroup,
    arg,
    change,
    listed,
    read_pages,
)
from nodes.cli.output import Columns, when
from nodes.cli.session import CommandSession

OWN: Columns = {
    "demand": "demandId",
    "title": "title",
    "purpose": "purpose",
    "posted": lambda row: when(row["postedAt"]),
    "answers": lambda row: len(row["answers"]),
    "state": lambda row: "ended" if row["withdrawnAt"] else "open",
}
RECEIVED: Columns = {
    "bank": "bank",
    "demand": "demandId",
    "title": "title",
    "purpose": "purpose",
    "posted": lambda row: when(row["postedAt"]),
    "answered with": lambda row: row["answeredWith"] or "",
}
DEMAND = arg("demand_id")


def _post(session: CommandSession, arguments: argparse.Namespace) -> None:
    body = {
        "title": arguments.title,
        "text": arguments.text,
        "purpose": arguments.purpose,
        "columns": listed(arguments.columns or ""),
    }
    session.show(session.post_once("/v1/demands", body))


def _answer(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"assetId": arguments.asset, "note": arguments.note}


GROUP = CommandGroup(
    (
        Command(
            "post",
            "as a bank, post what is needed",
            _post,
            (
                arg("--title", required=True),
                arg("--text", required=True, help="what it is needed for, for people"),
                arg("--purpose", required=True, help="a code such as credit-assessment"),
                arg("--columns", help=COLUMNS_HELP),
                IDEMPOTENCY_OPTIONS,
            ),
        ),
        Command(
            "list",
            "this bank's demands with their answers",
            read_pages("/v1/demands", within="demands", columns=OWN),
            PAGE,
        ),
        Command(
            "withdraw",
            "as a bank, end a demand",
            change("/v1/demands/{demand_id}/withdraw"),
            (DEMAND,),
        ),
        Command(
            "received",
            "other members' open demands",
            read_pages("/v1/received-demands", within="demands", columns=RECEIVED),
            PAGE,
        ),
        Command(
            "answer",
            "as a department, answer a demand with an asset",
            change("/v1/received-demands/{bank}/{demand_id}/answer", _answer),
            (
                arg("bank", help="the bank's code"),
                DEMAND,
                arg("--asset", required=True, metavar="ASSET"),
                arg("--note", default="", help="for the bank"),
            ),
        ),
    )
)
