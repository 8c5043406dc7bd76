"""``qiaolian agreement``: metered trades of an organisation, from opening to refund."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

from chain.core.errors import BadInput, Conflict
from nodes.cli.command_group import (
    IDEMPOTENCY_OPTIONS,
    OUT,
    PAGE,
    Command,
    CommandGroup,
    arg,
    change,
    filled_path,
    read,
    save,
    show_pages,
)
from nodes.cli.offer import offer_for, terms_of
from nodes.cli.output import Columns, when, yuan
from nodes.cli.session import POLL_SECONDS, CommandSession

PENDING = ("proposed", "signed")
ENDED = ("failed", "expired", "withdrawn")

LISTED: Columns = {
    "agreement": "agreementId",
    "state": lambda row: (
        row["state"] if row["held"] is None else f"{row['state']}, held: {row['held']}"
    ),
    "why": "reason",
    "since": lambda row: _since(row),
    "as": "side",
    "provider": "provider",
    "buyer": "buyer",
    "price": lambda row: f"{row['agreement']['price']} fen/{row['unit']}",
    "cap": lambda row: yuan(row["agreement"]["cap"]),
    "paid": lambda row: yuan(row["paid"]),
    "refunded": lambda row: yuan(row["refunded"]),
}
AGREEMENT = arg("agreement_id")
PARTY = arg(
    "--party",
    choices=("provider", "buyer"),
    help="whose bundle; default your own, as supervisor the first to be had",
)
LANE = arg("--lane", type=int, default=0, help="default 0")


def _list(session: CommandSession, arguments: argparse.Namespace) -> None:
    path = filled_path("/v1/agreements", arguments, ("state",))
    if arguments.everybody:
        path += ("&" if "?" in path else "?") + "all=true"
    show_pages(session, arguments, path, within="agreements", columns=LISTED)


def _since(row: Mapping[str, Any]) -> str:
    """Return when the state began: a time for a proposal, a block for what is on the chain."""
    block = row["closedAt"] or row["noticeAt"] or row["openedAt"]
    if block is not None:
        return f"block {block}"
    return "-" if row["stateSince"] is None else when(row["stateSince"])


def _open(session: CommandSession, arguments: argparse.Namespace) -> None:
    order: dict[str, Any] = {
        "grantId": arguments.grant,
        "cap": arguments.cap,
        "maxUnits": arguments.max_units,
        "lanes": arguments.lanes,
    }
    order |= {"seconds": arguments.days * 86_400, "arbiter": arguments.arbiter}
    order["offerHash"] = _agreed_offer(session, arguments)
    _opened(session, session.post_once("/v1/agreements", order))


def _agreed_offer(session: CommandSession, arguments: argparse.Namespace) -> str:
    """Return the hash of the offer that the person saw: named by ``--offer``, or shown and
    confirmed.

    Raises:
        BadInput: ``offer_not_named`` where nobody can be shown anything, ``not_confirmed``.
    """
    named: str | None = arguments.offer
    if arguments.yes:
        if named is None:
            raise BadInput(
                "offer_not_named",
                "Nobody is shown the terms, so the order must name the offer it is made on.",
                hint="Give --offer HASH, as `qiaolian offer show` prints it.",
            )
        return named
    terms = session.client.get(f"/v1/grants/{arguments.grant}")["terms"]
    offer = offer_for(session, terms["owner"], terms["assetId"], int(terms["assetVersion"]))
    if named is not None and named.lower() != offer["offerHash"]:
        # The node refuses it and says what changed, or knows the key as an order made before.
        return named
    ordered = {
        "provider": terms["owner"],
        "purpose": terms["purpose"],
        "locked at once, owed at most": yuan(arguments.cap),
        "units at most": arguments.max_units or "as the money allows",
        "for": f"{arguments.days} days",
        "arbiter": arguments.arbiter or "none",
    }
    session.confirm({**ordered, "on the terms": terms_of(offer)}, "Order this?")
    return str(offer["offerHash"])


def _resume(session: CommandSession, arguments: argparse.Namespace) -> None:
    _opened(
        session,
        session.client.post(filled_path("/v1/agreements/{agreement_id}/resume", arguments), {}),
    )


def _opened(session: CommandSession, made: dict[str, Any]) -> None:
    """Wait until the node counts the agreement as open, so that calls can begin."""
    if session.waits and made["state"] in PENDING:
        session.operation_outcome(made["openOperation"])
    path = f"/v1/agreements/{made['agreementId']}"
    found = session.wait_until(
        lambda: session.client.get(path),
        lambda found: bool(found["state"] not in PENDING),
        "the agreement to open",
    )
    session.show(found)
    if found["state"] in ENDED:
        raise Conflict(
            "proposal_ended",
            found["reasonText"] or "The proposal has ended.",
            hint="Order again under a new idempotency key.",
        )


def _withdraw(session: CommandSession, arguments: argparse.Namespace) -> None:
    made = session.client.post(
        filled_path("/v1/agreements/{agreement_id}/withdrawal", arguments), {}
    )
    session.show(made)
    until = when(made["agreement"]["openBefore"])
    session.say(
        "This node does not open it. If the provider has signed, it can still be opened until "
        f"{until}; then it is open."
    )


def _close(session: CommandSession, arguments: argparse.Namespace) -> None:
    """End it: cooperatively, else by notice, waiting out the window if asked to."""
    if _refunded(session, arguments, seconds=0):
        return
    ways = {"cooperative": not arguments.by_notice, "notice": not arguments.cooperative_only}
    answer = session.client.post(
        filled_path("/v1/agreements/{agreement_id}/closing", arguments), ways
    )
    if answer["way"] != "notice" or not arguments.wait_window:
        session.show_when_final(answer)
        return
    session.operation_outcome(answer["operation"])
    _refunded(session, arguments, seconds=arguments.wait_window)


def _refunded(session: CommandSession, arguments: argparse.Namespace, *, seconds: float) -> bool:
    """Whether the window after a notice has passed, so that the rest is refunded; waits so long for
    it.
    """
    path = filled_path("/v1/agreements/{agreement_id}/close", arguments)
    deadline = time.monotonic() + seconds
    while True:
        try:
            session.show_when_final(session.client.post(path, {}))
            return True
        except Conflict as error:
            if error.code not in ("window_open", "no_notice"):
                raise
            if time.monotonic() > deadline:
                if seconds:
                    raise
                return False
        time.sleep(POLL_SECONDS)


GROUP = CommandGroup(
    (
        Command(
            "list",
            "this organisation's agreements",
            _list,
            (
                arg(
                    "--state",
                    help="proposed, signed, open, notice, closed, failed, expired or withdrawn",
                ),
                arg("--everybody", action="store_true", help="everybody's, by the chain's events"),
                *PAGE,
            ),
        ),
        Command(
            "show",
            "one agreement with all its terms",
            read("/v1/agreements/{agreement_id}"),
            (AGREEMENT,),
        ),
        Command(
            "open",
            "order under a grant by its owner's offer, sign, and lock the cap",
            _open,
            (
                arg("--grant", required=True, metavar="GRANT"),
                arg(
                    "--cap",
                    type=int,
                    required=True,
                    metavar="FEN",
                    help="most that can be owed, in fen; locked at once",
                ),
                arg(
                    "--max-units",
                    type=int,
                    default=0,
                    help="most units that may be served (0: the cap alone limits)",
                ),
                arg("--lanes", type=int, default=1, help="calls in parallel (default 1)"),
                arg("--days", type=int, default=30, help="for how long (default 30)"),
                arg("--arbiter", default="", metavar="MEMBER", help="neither party"),
                arg(
                    "--offer",
                    metavar="HASH",
                    help="the offer as you saw it; if it has changed, nothing is signed",
                ),
                arg("--yes", action="store_true", help="order without being asked; needs --offer"),
                IDEMPOTENCY_OPTIONS,
            ),
        ),
        Command("resume", "ask the provider again to sign a stored order", _resume, (AGREEMENT,)),
        Command("withdraw", "take back an order that is not open yet", _withdraw, (AGREEMENT,)),
        Command(
            "acknowledge",
            "as buyer, sign closing vouchers for everything delivered, without ending",
            change(
                "/v1/agreements/{agreement_id}/closing",
                lambda _arguments: {"cooperative": False, "notice": False},
            ),
            (AGREEMENT,),
        ),
        Command(
            "notice",
            "as either party, give notice",
            change("/v1/agreements/{agreement_id}/notice"),
            (AGREEMENT,),
        ),
        Command(
            "claim",
            "as provider, claim what was acknowledged",
            change("/v1/agreements/{agreement_id}/claim"),
            (AGREEMENT,),
        ),
        Command(
            "close",
            "end it: pay and refund at once if the other side agrees, "
            "else give notice and refund after the window",
            _close,
            (
                AGREEMENT,
                arg("--by-notice", action="store_true", help="do not ask the other side"),
                arg(
                    "--cooperative-only",
                    action="store_true",
                    help="give no notice where the other side does not agree",
                ),
                arg(
                    "--wait-window",
                    type=float,
                    default=0.0,
                    metavar="SECONDS",
                    help="after notice, wait so long for the window to pass "
                    "(default 0: run it again later)",
                ),
            ),
        ),
        Command(
            "totals",
            "the final totals of a cooperative close, with the signatures so far",
            read("/v1/agreements/{agreement_id}/final-settlement"),
            (AGREEMENT,),
        ),
        Command(
            "balance",
            "an agreement's money, read from the chain",
            read("/v1/agreements/{agreement_id}/balance"),
            (AGREEMENT,),
        ),
        Command(
            "bundle",
            "write the bundle of one call: your own, or as supervisor a party's",
            save("/v1/agreements/{agreement_id}/bundle", query=("lane", "seq", "party")),
            (
                AGREEMENT,
                LANE,
                arg("--seq", type=int, required=True, help="the call's position, from 1"),
                PARTY,
                OUT,
            ),
            "auditor",
        ),
        Command(
            "lane-bundle",
            "write the bundle of every call of a lane: your own, or as supervisor a party's",
            save("/v1/agreements/{agreement_id}/lane-bundle", query=("lane", "party")),
            (AGREEMENT, LANE, PARTY, OUT),
            "auditor",
        ),
    )
)
