"""``qiaolian offer``: a provider's terms for an asset version."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from chain.core.errors import BadInput, NotFound
from nodes.cli.command_group import PAGE, Command, CommandGroup, arg, change, pairs, read_pages
from nodes.cli.output import Columns, yuan
from nodes.cli.session import CommandSession

LISTED: Columns = {
    "asset": "assetId",
    "version": "assetVersion",
    "unit": "unit",
    "price": lambda row: yuan(row["price"]),
    "most": lambda row: yuan(row["maxCap"]),
    "buyers": lambda row: ",".join(row["buyers"]) or "all",
    "offer": "offerHash",
}


def _offer(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "assetId": arguments.asset_id,
        "assetVersion": arguments.asset_version,
        "unit": arguments.unit,
        "price": arguments.price,
        "maxCap": arguments.max_cap,
        "maxUnits": arguments.max_units,
        "maxPerCall": arguments.price if arguments.max_per_call is None else arguments.max_per_call,
        "closeWindowBlocks": arguments.close_window_blocks,
        "closeWindowSeconds": arguments.close_window_seconds,
        "shares": shares(arguments.share),
        "buyers": arguments.buyer or [],
        "bond": arguments.bond,
        "bondFromEarnings": arguments.bond_from_earnings,
        "stake": arguments.stake,
    }


def terms_of(offer: Mapping[str, Any]) -> dict[str, Any]:
    """An offer as a person reads it before ordering on it."""
    unit = offer["unit"]
    split = [
        f"{share['member']} {int(share['basisPoints']) / 100:.2f} %" for share in offer["shares"]
    ]
    units = offer["maxUnits"] or "any number of"
    blocks, seconds = offer["closeWindowBlocks"], offer["closeWindowSeconds"]
    return {
        "asset": f"{offer['assetId']} version {offer['assetVersion']}",
        "price": f"{yuan(offer['price'])} a {unit}",
        "one call at most": yuan(offer["maxPerCall"]),
        "one agreement at most": f"{yuan(offer['maxCap'])}, {units} {unit}s",
        "lanes at most": offer["maxLanes"],
        "term at most": f"{int(offer['maxSeconds']) // 86_400} days",
        "window for claims after notice": f"{blocks} blocks and {seconds} seconds",
        "each payment goes to": split,
        "provider's bond": _bond(offer),
        "stake of a dispute": yuan(offer["stake"]),
        "offer": offer["offerHash"],
    }


def _bond(offer: Mapping[str, Any]) -> str:
    source = "withheld from its first earnings" if offer["bondFromEarnings"] else "at opening"
    return f"{yuan(offer['bond'])}, {source}" if offer["bond"] else "none"


def offer_for(
    session: CommandSession, provider: str | None, asset_id: str, version: int
) -> dict[str, Any]:
    """The offer for an asset version, of a provider or of the own organisation; ``not_offered``."""
    path = "/v1/offers" if provider is None else f"/v1/offers?{urlencode({'provider': provider})}"
    for offer in session.client.rows(path, "offers"):
        if (offer["assetId"].lower(), int(offer["assetVersion"])) == (asset_id.lower(), version):
            return dict(offer)
    raise NotFound(
        "not_offered", "That version of the asset is not offered.", hint="See: qiaolian offer list"
    )


def _show(session: CommandSession, arguments: argparse.Namespace) -> None:
    offer = offer_for(session, arguments.provider, arguments.asset_id, arguments.asset_version)
    session.show(offer if session.json else terms_of(offer))


def shares(given: list[str]) -> list[dict[str, Any]]:
    """The revenue split of ``MEMBER=BASISPOINTS`` options; ``share_malformed``."""
    found = pairs(given, "A share")
    if not all(part.isascii() and part.isdecimal() for part in found.values()):
        raise BadInput(
            "share_malformed", "A share is a member and basis points; all of them add up to 10000."
        )
    return [{"member": member, "basisPoints": int(part)} for member, part in found.items()]


GROUP = CommandGroup(
    (
        Command(
            "list",
            "this organisation's own offers, or what another makes to it",
            read_pages("/v1/offers", within="offers", columns=LISTED, query=("provider",)),
            (arg("--provider", metavar="MEMBER", help="whose offers (default: the own)"), *PAGE),
        ),
        Command(
            "show",
            "an offer's terms and the hash that an order names it by",
            _show,
            (
                arg("asset_id"),
                arg("--asset-version", type=int, default=1, help="default 1"),
                arg("--provider", metavar="MEMBER", help="whose offer (default: the own)"),
            ),
        ),
        Command(
            "make",
            "offer an asset version on terms; amounts in fen",
            change("/v1/offers", _offer),
            (
                arg("asset_id"),
                arg("--asset-version", type=int, default=1, help="default 1"),
                arg(
                    "--unit",
                    default="call",
                    choices=("call", "row", "byte"),
                    help="what is metered (default call)",
                ),
                arg(
                    "--price",
                    type=int,
                    required=True,
                    metavar="FEN",
                    help="fen a unit; 0 is free sharing, with --max-units",
                ),
                arg(
                    "--max-cap",
                    type=int,
                    default=0,
                    metavar="FEN",
                    help="most one agreement may be worth",
                ),
                arg("--max-units", type=int, default=0, help="most units one agreement may serve"),
                arg(
                    "--max-per-call",
                    type=int,
                    metavar="FEN",
                    help="most one call may cost (default: one unit)",
                ),
                arg(
                    "--close-window-blocks",
                    type=int,
                    help="blocks for claims after notice (default 604800)",
                ),
                arg(
                    "--close-window-seconds",
                    type=int,
                    help="seconds for claims after notice (default "
                    "604800, seven days; at most 90 days)",
                ),
                arg(
                    "--share",
                    action="append",
                    required=True,
                    metavar="MEMBER=BASISPOINTS",
                    help="a part of each payment; repeated, 10000 in all",
                ),
                arg(
                    "--bond",
                    type=int,
                    default=0,
                    metavar="FEN",
                    help="your security, until the agreement closes (default 0)",
                ),
                arg(
                    "--bond-from-earnings",
                    action="store_true",
                    help="withhold the bond from your first earnings, not from your balance",
                ),
                arg(
                    "--stake",
                    type=int,
                    default=0,
                    metavar="FEN",
                    help="what a contested call costs whoever loses (default 0)",
                ),
                arg(
                    "--buyer",
                    action="append",
                    metavar="MEMBER",
                    help="offered to this member only; repeated",
                ),
            ),
        ),
    )
)
