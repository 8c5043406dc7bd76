"""``qiaolian dispute``: contested calls, for provider, buyer and arbiter."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from chain.core.errors import BadInput
from nodes.cli.command_group import (
    OUT,
    PAGE,
    Command,
    CommandGroup,
    arg,
    change,
    read,
    read_pages,
    save,
)
from nodes.cli.member import SHARE, say_next
from nodes.cli.output import Columns, yuan
from nodes.cli.session import CommandSession

RECEIPT = arg("receipt_id", metavar="RECEIPT", help="the dispute: its receipt's hash")
LISTED: Columns = {
    "dispute": "receiptId",
    "call": lambda row: f"lane {row['lane']}, position {row['seq']}",
    "amount": lambda row: yuan(row["amount"]),
    "you are": "role",
    "step": "step",
    "outcome": "outcome",
    "paid": lambda row: yuan(row["paid"]),
}
EQUIVOCATIONS: Columns = {
    "provider": "provider",
    "agreement": "agreementId",
    "call": lambda row: f"lane {row['lane']}, position {row['seq']}",
    "taken": lambda row: yuan(row["taken"]),
    "block": "height",
}
FINES: Columns = {
    "provider": "provider",
    "agreement": "agreementId",
    "decision": "reason",
    "taken": lambda row: yuan(row["taken"]),
    "block": "height",
}


def _propose_fine(session: CommandSession, arguments: argparse.Namespace) -> None:
    body = {
        "amount": arguments.amount,
        "to": arguments.to,
        "reason": arguments.reason,
        "shareWith": arguments.share_with,
    }
    made = session.client.post(f"/v1/agreements/{arguments.agreement_id}/fine-proposals", body)
    session.show(made)
    say_next(session, made)


def _ruling(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "amount": arguments.amount,
        "opinion": arguments.opinion,
        "evidence": [_position(text) for text in arguments.evidence],
    }


def _position(text: str) -> dict[str, Any]:
    member, sign, index = text.partition("=")
    if not sign or not (index.isascii() and index.isdecimal()):
        raise BadInput(
            "evidence_malformed", "Evidence is a member and an index of its log: MEMBER=INDEX."
        )
    return {"member": member, "index": int(index)}


def _two_receipts(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "agreementId": arguments.agreement_id,
        "first": _signed_receipt(arguments.first),
        "second": _signed_receipt(arguments.second),
    }


def _signed_receipt(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return {"receipt": value["receipt"], "signature": value["signature"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            "receipt_file_malformed",
            f"{path} does not hold a receipt and its signature.",
            hint='Write {"receipt": {…}, "signature": "0x…"} into it.',
        ) from error


GROUP = CommandGroup(
    (
        Command(
            "list",
            "disputes of all agreements, the latest first",
            read_pages("/v1/call-disputes", within="disputes", columns=LISTED, query=("live",)),
            (arg("--live", action="store_const", const="true", help="only open ones"), *PAGE),
        ),
        Command(
            "show",
            "one dispute: whose turn it is, and until when",
            read("/v1/call-disputes/{receipt_id}"),
            (RECEIPT,),
        ),
        Command(
            "claim",
            "as provider, claim a lane's last receipt that the buyer has not acknowledged",
            change(
                "/v1/agreements/{agreement_id}/receipt-claim",
                lambda arguments: {"lane": arguments.lane},
            ),
            (arg("agreement_id"), arg("--lane", type=int, default=0, help="default 0")),
        ),
        Command(
            "contest",
            "as buyer, contest a claimed receipt; your stake is bonded",
            change(
                "/v1/call-disputes/{receipt_id}/contest",
                lambda arguments: {"reason": arguments.reason},
            ),
            (
                RECEIPT,
                arg(
                    "--reason",
                    required=True,
                    help="no_answer, answer_differs, record_differs, not_requested, "
                    "price_differs or right_revoked",
                ),
            ),
        ),
        Command(
            "answer",
            "as provider, serve the stored answer again (your node does so by itself)",
            change("/v1/call-disputes/{receipt_id}/answer"),
            (RECEIPT,),
        ),
        Command(
            "check",
            "as buyer or arbiter, read the answer that was served again and compare it",
            read("/v1/call-disputes/{receipt_id}/answer"),
            (RECEIPT,),
        ),
        Command(
            "open",
            "as buyer, let the arbiter read the answer",
            change("/v1/call-disputes/{receipt_id}/opening"),
            (RECEIPT,),
        ),
        Command(
            "rule",
            "as arbiter, rule how much of the call is paid",
            change("/v1/call-disputes/{receipt_id}/ruling", _ruling),
            (
                RECEIPT,
                arg("--amount", type=int, required=True, metavar="FEN", help="all, 0 or a part"),
                arg("--opinion", required=True, metavar="TEXT", help="your reasons in words"),
                arg(
                    "--evidence",
                    action="append",
                    required=True,
                    metavar="MEMBER=INDEX",
                    help="an entry of a party's log; repeated",
                ),
            ),
        ),
        Command(
            "end",
            "end a dispute whose time is over (any node of a party does so by itself)",
            change("/v1/call-disputes/{receipt_id}/end"),
            (RECEIPT,),
        ),
        Command(
            "prove",
            "prove that a provider signed two receipts for one place",
            change("/v1/equivocations", _two_receipts),
            (
                arg("agreement_id"),
                arg("first", type=Path, help="file with a receipt and its signature"),
                arg("second", type=Path, help="file with the other one"),
            ),
        ),
        Command(
            "bundle",
            "write the bundle of a dispute over one call, from your node's own store",
            save("/v1/agreements/{agreement_id}/dispute-bundle", query=("lane", "seq", "case")),
            (
                arg("agreement_id"),
                arg("--lane", type=int, default=0, help="default 0"),
                arg("--seq", type=int, required=True, help="the call's position, from 1"),
                arg(
                    "--case",
                    choices=("claim", "equivocation", "request", "amount", "revoked", "answer"),
                    default="claim",
                    help="what it shows; default claim: the claim and how it ended",
                ),
                OUT,
            ),
            "auditor",
        ),
        Command(
            "freeze",
            "as supervisor, stop the calls of an agreement",
            change(
                "/v1/agreements/{agreement_id}/freeze",
                lambda arguments: {"reason": arguments.reason},
            ),
            (
                arg("agreement_id"),
                arg("--reason", required=True, help="the decision's number, such as 2026-17"),
            ),
        ),
        Command(
            "unfreeze",
            "as supervisor, allow the calls of a frozen agreement again",
            change("/v1/agreements/{agreement_id}/unfreeze"),
            (arg("agreement_id"),),
        ),
        Command(
            "propose-fine",
            "as governor, propose a fine out of a provider's bond; two governors approve it",
            _propose_fine,
            (
                arg("agreement_id"),
                arg("--amount", type=int, required=True, metavar="FEN", help="at most the bond"),
                arg("--to", required=True, metavar="MEMBER", help="who gets it"),
                arg("--reason", required=True, help="the decision's number, such as 2026-17"),
                SHARE,
            ),
            "administrator",
        ),
        Command(
            "fines",
            "fines of providers, the latest first",
            read_pages("/v1/fines", within="fines", columns=FINES),
            PAGE,
        ),
        Command(
            "equivocations",
            "providers that signed two receipts for one place",
            read_pages("/v1/equivocations", within="equivocations", columns=EQUIVOCATIONS),
            PAGE,
        ),
    )
)
