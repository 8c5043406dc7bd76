"""``qiaolian money``: deposits, withdrawals and accounts, in fen."""

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
    show_pages,
)
from nodes.cli.output import Columns, when, yuan
from nodes.cli.session import CommandSession

PAYMENTS: Columns = {
    "block": "height",
    "kind": "kind",
    "member": "member",
    "amount": lambda row: yuan(row["amount"]),
    "agreement": "agreementId",
    "event": "logIndex",
}
AMOUNT = arg("--amount", type=int, required=True, metavar="FEN", help="in fen")


def _deposit(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "member": arguments.member,
        "amount": arguments.amount,
        "reference": arguments.reference,
    }


def _account(session: CommandSession, arguments: argparse.Namespace) -> None:
    answer = session.client.get(filled_path("/v1/accounts", arguments, ("member",)))
    if session.json:
        session.show(answer)
        return
    shown = [
        {"of": name, **answer[key]}
        for name, key in ((answer["member"], "account"), ("all members", "totals"))
    ]
    names = ("deposited", "withdrawn", "free", "locked", "earned", "spent", "bonded")
    session.table(
        [{**item, **{name: yuan(item[name]) for name in names}} for item in shown],
        {name: name for name in ("of", *names)},
    )
    session.say(
        "deposited = withdrawn + free + locked + bonded: "
        f"{'holds' if answer['conserved'] else 'DOES NOT HOLD'}"
    )


def _until(row: Mapping[str, Any]) -> str:
    if row["windowEndsAt"] is None:
        return "-"
    return f"{when(row['windowEndsAt'])}, {row['blocksLeft']} blocks"


CLAIMS: Columns = {
    "agreement": "agreementId",
    "unclaimed": lambda row: yuan(row["unclaimed"]),
    "due": "due",
    "until": _until,
    "refused": "refusal",
    "at risk": "atRisk",
}


EARNINGS: Columns = {
    "agreement": "agreementId",
    "buyer": "buyer",
    "state": "state",
    "calls": "served",
    "delivered": lambda row: yuan(row["delivered"]),
    "claimed": lambda row: yuan(row["claimed"]),
    "unclaimed": lambda row: yuan(row["unclaimed"]),
    "unacknowledged": lambda row: yuan(row["unacknowledged"]),
}
MONTHS: Columns = {
    "month": lambda row: when(row["month"])[:7],
    "calls": "served",
    "delivered": lambda row: yuan(row["delivered"]),
}


def _earnings(session: CommandSession, arguments: argparse.Namespace) -> None:
    answer = show_pages(session, arguments, "/v1/earnings", within="agreements", columns=EARNINGS)
    session.say(
        f"{yuan(answer['delivered'])} delivered in all, {yuan(answer['claimed'])} claimed, "
        f"{yuan(answer['unclaimed'])} not claimed yet; {yuan(answer['lost'])} lost."
    )


def _claims(session: CommandSession, arguments: argparse.Namespace) -> None:
    answer = show_pages(session, arguments, "/v1/claims", within="agreements", columns=CLAIMS)
    session.say(
        f"{yuan(answer['unclaimed'])} not claimed yet, {yuan(answer['atRisk'])} of it at risk; "
        f"{yuan(answer['lost'])} lost."
    )


GROUP = CommandGroup(
    (
        Command(
            "deposit",
            "as settlement bank, confirm money received for a member",
            change("/v1/deposits", _deposit),
            (
                arg("--member", required=True),
                AMOUNT,
                arg("--reference", required=True, help="the bank's own; it counts once"),
            ),
        ),
        Command(
            "withdraw",
            "order free money paid out",
            change(
                "/v1/withdrawals",
                lambda arguments: {"amount": arguments.amount, "order": arguments.order},
            ),
            (
                AMOUNT,
                arg("--order", required=True, help="your own number of this order; it counts once"),
            ),
        ),
        Command(
            "account",
            "a member's money and everybody's, read from the chain",
            _account,
            (arg("--member", help="default: this organisation"),),
        ),
        Command(
            "claims",
            "what buyers acknowledged and the chain has not paid "
            "yet, and until when it can be claimed",
            _claims,
        ),
        Command(
            "earnings",
            "what this organisation earned, by agreement: delivered, claimed, not claimed yet",
            _earnings,
            PAGE,
        ),
        Command(
            "months",
            "what was earned in each month, in all or under one agreement",
            read(
                "/v1/earnings/months",
                within="months",
                columns=MONTHS,
                query=("since", "until", "agreement"),
            ),
            (
                arg("--since", metavar="DATE", help="such as 2026-01-01 (default 30 days ago)"),
                arg("--until", metavar="DATE", help="such as 2026-11-30 (default today)"),
                arg("--agreement", metavar="AGREEMENT", help="of one agreement"),
            ),
        ),
        Command(
            "payments",
            "payments, deposits and withdrawals from the chain's events",
            read_pages(
                "/v1/payments", within="payments", columns=PAYMENTS, query=("agreement_id",)
            ),
            (
                arg(
                    "--agreement", dest="agreement_id", metavar="AGREEMENT", help="of one agreement"
                ),
                *PAGE,
            ),
        ),
    )
)
