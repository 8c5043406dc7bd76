"""``qiaolian offer``: a provider's terms for an asset version."""

from __future__ import annotations

import argparse
from typing import Any

from chain.errors import BadInput
from scripts.people.show import Columns, yuan
from scripts.people.verb import Noun, Verb, arg, change, pairs, read

LISTED: Columns = {
    "asset": "assetId",
    "version": "assetVersion",
    "unit": "unit",
    "price": lambda row: yuan(row["price"]),
    "most": lambda row: yuan(row["mostCap"]),
    "buyers": lambda row: ",".join(row["buyers"]) or "all",
}


def _offer(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "assetId": arguments.asset_id,
        "assetVersion": arguments.asset_version,
        "unit": arguments.unit,
        "price": arguments.price,
        "mostCap": arguments.most_cap,
        "mostUnits": arguments.most_units,
        "mostPerCall": arguments.price if arguments.most_per_call is None else arguments.most_per_call,
        "closeWindowBlocks": arguments.close_window_blocks,
        "closeWindowSeconds": arguments.close_window_seconds,
        "shares": shares(arguments.share),
        "buyers": arguments.buyer or [],
    }


def shares(given: list[str]) -> list[dict[str, Any]]:
    """The revenue split of ``MEMBER=BASISPOINTS`` options; ``share_malformed``."""
    found = pairs(given, "A share")
    if not all(part.isascii() and part.isdecimal() for part in found.values()):
        raise BadInput("share_malformed", "A share is a member and basis points; all of them add up to 10000.")
    return [{"member": member, "basisPoints": int(part)} for member, part in found.items()]


NOUN = Noun(
    (
        Verb(
            "list",
            "this organisation's own offers, or what another makes to it",
            read("/v1/offers", within="offers", columns=LISTED, query=("provider",)),
            (arg("--provider", metavar="MEMBER", help="whose offers (default: the own)"),),
        ),
        Verb(
            "make",
            "offer an asset version on terms; amounts in fen",
            change("/v1/offers", _offer),
            (
                arg("asset_id"),
                arg("--asset-version", type=int, default=1, help="default 1"),
                arg("--unit", default="call", choices=("call", "row", "byte"), help="what is metered (default call)"),
                arg("--price", type=int, required=True, metavar="FEN", help="fen a unit; 0 is free sharing, with --most-units"),
                arg("--most-cap", type=int, default=0, metavar="FEN", help="most one agreement may be worth"),
                arg("--most-units", type=int, default=0, help="most units one agreement may serve"),
                arg("--most-per-call", type=int, metavar="FEN", help="most one call may cost (default: one unit)"),
                arg("--close-window-blocks", type=int, help="blocks for claims after notice (default 604800)"),
                arg(
                    "--close-window-seconds",
                    type=int,
                    help="seconds for claims after notice (default 604800, seven days; at most 90 days)",
                ),
                arg("--share", action="append", required=True, metavar="MEMBER=BASISPOINTS", help="a part of each payment; repeated, 10000 in all"),
                arg("--buyer", action="append", metavar="MEMBER", help="offered to this member only; repeated"),
            ),
        ),
    )
)
