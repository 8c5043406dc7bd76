"""``qiaolian clearing``: the clearing book, bank files, payouts and account statements."""

from __future__ import annotations

import argparse
import base64
from pathlib import Path
from typing import Any

from nodes.cli.command_group import (
    OUT,
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

DAYS: Columns = {
    "day": "day",
    "state": "state",
    "held at the start": lambda row: yuan(row["openingBalance"]),
    **{
        name: lambda row, name=name: yuan(row["sums"][name])  # type: ignore[misc]
        for name in ("deposited", "paid", "refunded", "withdrawn")
    },
    "held at the end": lambda row: yuan(row["closingBalance"]),
    "entries": lambda row: row["sums"]["entries"],
}
ENTRIES: Columns = {
    "time": lambda row: when(row["at"]),
    "block": "height",
    "kind": "kind",
    "member": "member",
    "amount": lambda row: yuan(row["amount"]),
    "agreement": "agreementId",
}
DAY = arg("day", help="such as 2026-11-30")
MONEY = ("opening", "deposited", "earned", "spent", "net", "withdrawn", "closing")
POSITIONS: Columns = {
    "member": "member",
    **{name: lambda row, name=name: yuan(row[name]) for name in MONEY},  # type: ignore[misc]
}
FILES: Columns = {
    "taken": lambda row: when(row["takenAt"]),
    "file": "fileId",
    "statement": "statementId",
    "balance at the end": lambda row: yuan(row["closingBalance"]),
    "state": "state",
}
BANK_ENTRIES: Columns = {
    "line": "line",
    "direction": "direction",
    "amount": lambda row: yuan(row["amount"]),
    "reference": "reference",
    "state": "state",
    "does": "action",
    "member": "member",
    "problem": "problem",
}
PAYOUTS: Columns = {
    "withdrawn": lambda row: when(row["at"]),
    "payout": "payoutId",
    "member": "member",
    "amount": lambda row: yuan(row["amount"]),
    "state": "state",
    "order": "orderId",
}
ORDERS: Columns = {
    "made": lambda row: when(row["madeAt"]),
    "order": "orderId",
    "pay on": "day",
    "payments": "payments",
    "total": lambda row: yuan(row["total"]),
    "state": "state",
}
ACCOUNTS: Columns = {
    "member": "member",
    "account": "account",
    "name": "name",
    "bank": "bankCode",
    "since": lambda row: when(row["since"]),
}
LINES: Columns = {
    "time": lambda row: when(row["at"]),
    "kind": "kind",
    "counterparty": "counterparty",
    "amount": lambda row: yuan(row["amount"]),
    "agreement": "agreementId",
}
RULES: Columns = {
    "from": "effectiveFrom",
    **{name: name for name in ("holding", "processing", "operating")},
}
FILE_ID = arg("file_id", metavar="FILE-ID", help="as `clearing files` shows it")
ORDER_ID = arg("order_id", metavar="ORDER", help="as `clearing orders` shows it")
LINE = arg("line", type=int, help="the entry's number in the file")
TWO_PERSONS = "each person with a token of its own"


def _take(session: CommandSession, arguments: argparse.Namespace) -> None:
    file: Path = arguments.file
    body = {"name": file.name, "content": base64.b64encode(file.read_bytes()).decode()}
    _show_preview(session, session.client.post("/v1/bank-files", body))


def _approve(session: CommandSession, arguments: argparse.Namespace) -> None:
    path = filled_path("/v1/bank-files/{file_id}/approvals", arguments)
    _show_preview(session, session.client.post(path, {"digest": arguments.digest}))


def _show_preview(session: CommandSession, answer: Any) -> None:
    session.show(answer)
    if answer["entries"].get("understood"):
        session.say(
            f"{yuan(answer['deposits'])} of deposits and {yuan(answer['payouts'])} of payouts wait "
            f"for two persons: qiaolian clearing approve {answer['file']['fileId']} --digest "
            f"{answer['digest']}"
        )


def _comparison(session: CommandSession, _arguments: argparse.Namespace) -> int:
    answer = session.client.get("/v1/clearing/comparison")
    session.show(answer)
    session.say(
        f"Block {answer['height']}: the contract holds {yuan(answer['held'])}; "
        f"{answer['members']} members compared, "
        f"{'every sum agrees' if answer['agrees'] else 'SUMS DIFFER'}."
    )
    return 0 if answer["agrees"] else 1


def _statement(session: CommandSession, arguments: argparse.Namespace) -> None:
    query = ("since", "until", "member")
    answer = session.client.get(filled_path("/v1/account-statement", arguments, query))
    session.table(answer["lines"], LINES, whole=answer)
    verdicts = {True: "agrees with the contract", False: "DIFFERS FROM THE CONTRACT"}
    session.say(
        f"{answer['since']} to {answer['until']}: {yuan(answer['openingBalance'])} at the start, "
        f"{yuan(answer['closingBalance'])} at the end; "
        f"{verdicts.get(answer['agrees'], 'not compared with the contract')}."
    )


def _order_file(session: CommandSession, arguments: argparse.Namespace) -> None:
    content = session.client.download(filled_path("/v1/payment-orders/{order_id}/file", arguments))
    session.save(arguments.out, content)
    session.say(f"{arguments.out} written; hand it to the bank.")


def _account_body(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "member": arguments.member,
        "account": arguments.account,
        "name": arguments.name,
        "bankCode": arguments.bank_code,
    }


def _rule_body(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "effectiveFrom": arguments.effective_from,
        "holding": arguments.holding,
        "processing": arguments.processing,
        "operating": arguments.operating,
    }


GROUP = CommandGroup(
    (
        Command(
            "days",
            "the days of the book, the latest first",
            read("/v1/clearing/days", within="days", columns=DAYS),
            role="auditor",
        ),
        Command("show", "one day", read("/v1/clearing/days/{day}"), (DAY,), role="auditor"),
        Command(
            "entries",
            "the entries of a day, the latest first",
            read_pages("/v1/clearing/days/{day}/entries", within="entries", columns=ENTRIES),
            (DAY, *PAGE),
            role="auditor",
        ),
        Command(
            "close",
            f"as operator, approve the closing of a day; a second person closes it ({TWO_PERSONS})",
            change("/v1/clearing/days/{day}/closing", lambda _arguments: {}),
            (DAY,),
        ),
        Command(
            "positions",
            "each member's net position of a day",
            read("/v1/clearing/days/{day}/positions", within="positions", columns=POSITIONS),
            (DAY,),
            role="auditor",
        ),
        Command("compare", "the book beside the contract, to the fen", _comparison, role="auditor"),
        Command(
            "take",
            "as settlement bank, take an account statement (camt.053): nothing is booked yet",
            _take,
            (arg("file", type=Path, help="the file as the bank made it"),),
        ),
        Command(
            "files",
            "account statements that were taken, the latest first",
            read_pages("/v1/bank-files", within="files", columns=FILES),
            PAGE,
        ),
        Command(
            "file",
            "a statement with what booking it would do",
            read("/v1/bank-files/{file_id}"),
            (FILE_ID,),
        ),
        Command(
            "bank-entries",
            "the entries of a statement, and what is made of each",
            read_pages("/v1/bank-files/{file_id}/entries", within="entries", columns=BANK_ENTRIES),
            (FILE_ID, *PAGE),
        ),
        Command(
            "name",
            "name the member that an unclear entry is of",
            change(
                "/v1/bank-files/{file_id}/entries/{line}/member",
                lambda arguments: {"member": arguments.member},
            ),
            (FILE_ID, LINE, arg("--member", required=True)),
        ),
        Command(
            "aside",
            "set an entry aside that is no money of a member",
            change(
                "/v1/bank-files/{file_id}/entries/{line}/aside",
                lambda arguments: {"reason": arguments.reason},
            ),
            (FILE_ID, LINE, arg("--reason", required=True, help="such as: bank charges")),
        ),
        Command(
            "approve",
            f"approve what booking a statement would do; a second person books it ({TWO_PERSONS})",
            _approve,
            (FILE_ID, arg("--digest", required=True, help="of what you were shown")),
        ),
        Command(
            "payouts",
            "withdrawals and their payment, the latest first",
            read_pages("/v1/payouts", within="payouts", columns=PAYOUTS, query=("state",)),
            (
                arg("--state", help="ordered, proposed, instructed, paid or returned"),
                *PAGE,
            ),
        ),
        Command(
            "order",
            "put the withdrawals that wait into an order for the bank, as the first person",
            change("/v1/payment-orders", lambda arguments: {"day": arguments.day or ""}),
            (arg("--day", metavar="DATE", help="when the bank is to pay (default today)"),),
        ),
        Command(
            "orders",
            "orders of payments, the latest first",
            read_pages("/v1/payment-orders", within="orders", columns=ORDERS),
            PAGE,
        ),
        Command(
            "order-show",
            "one order of payments",
            read("/v1/payment-orders/{order_id}"),
            (ORDER_ID,),
        ),
        Command(
            "order-payouts",
            "the withdrawals that an order pays",
            read_pages("/v1/payment-orders/{order_id}/payouts", within="payouts", columns=PAYOUTS),
            (ORDER_ID, *PAGE),
        ),
        Command(
            "release",
            f"release an order to the bank, as the second person ({TWO_PERSONS})",
            change("/v1/payment-orders/{order_id}/release"),
            (ORDER_ID,),
        ),
        Command(
            "drop",
            "drop an order that is not released",
            change("/v1/payment-orders/{order_id}/drop"),
            (ORDER_ID,),
        ),
        Command(
            "order-file",
            "write the file of a released order (pain.001) for the bank",
            _order_file,
            (ORDER_ID, OUT),
        ),
        Command(
            "accounts",
            "the accounts that members are paid to",
            read_pages("/v1/member-accounts", within="accounts", columns=ACCOUNTS),
            PAGE,
        ),
        Command(
            "account",
            f"register the account that a member is paid to: two persons give the same one "
            f"({TWO_PERSONS})",
            change("/v1/member-accounts", _account_body),
            (
                arg("--member", required=True),
                arg("--account", required=True, help="IBAN or the bank's own number"),
                arg("--name", required=True, help="the account's name"),
                arg("--bank-code", required=True, help="the bank's number of 12 digits (CNAPS)"),
            ),
        ),
        Command(
            "statement",
            "this member's account over a period, from its own node",
            _statement,
            (
                arg("--since", metavar="DATE", help="such as 2026-11-01 (default: this month)"),
                arg("--until", metavar="DATE", help="such as 2026-11-30 (default today)"),
                arg("--member", help="another member's, at the operator or supervisor"),
            ),
        ),
        Command(
            "rules",
            "how a share for several rights is divided",
            read("/v1/split-rules", within="rules", columns=RULES),
        ),
        Command(
            "set-rule",
            f"as operator, set such a rule from a day to come: two persons give the same one "
            f"({TWO_PERSONS})",
            change("/v1/split-rules", _rule_body),
            (
                arg("effective_from", metavar="DATE", help="such as 2027-01-01"),
                *(
                    arg(f"--{name}", type=int, required=True, metavar="BP", help="basis points")
                    for name in ("holding", "processing", "operating")
                ),
            ),
        ),
    )
)
