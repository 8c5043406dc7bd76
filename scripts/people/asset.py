"""``qiaolian asset``: the catalogue, an organisation's own publications, dispute holds."""

from __future__ import annotations

import argparse
from typing import Any

from scripts.people.desk import Desk
from scripts.people.show import Columns
from scripts.people.verb import Noun, Verb, arg, change, pairs, read

CATALOGUE: Columns = {
    "asset": "assetId",
    "name": "name",
    "version": "assetVersion",
    "L": "grade",
    "rows": "rowCount",
    "category": "category",
    "holder": "holder",
    "state": lambda row: "cancelled" if row["cancelledAt"] else "on hold" if row["held"] else "usable",
}
OWN: Columns = {
    "asset": "assetId",
    "title": "titleZh",
    "version": "assetVersion",
    "source": "source",
    "state": "state",
    "rows": "rows",
}
ASSET, REASON = arg("asset_id"), arg("--reason", required=True, help="why, as a code such as source-replaced")
PAGE = (
    arg("--holder", help="only this member's assets"),
    arg("--limit", type=int, help="at most so many rows"),
    arg("--offset", type=int, help="leave out so many rows first"),
)


def _publication(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "name": arguments.name,
        "source": arguments.source,
        "description": {
            "titleZh": arguments.title_zh,
            "titleEn": arguments.title_en,
            "description": arguments.description,
            "grade": arguments.grade,
            "category": arguments.category,
        },
        "masking": pairs(arguments.mask, "A column's masking"),
        "dataItem": arguments.data_item,
        "parents": arguments.parent or [],
    }


def _publish(desk: Desk, arguments: argparse.Namespace) -> None:
    def how_far() -> str:
        running = [each for each in desk.client.get("/v1/publications")["publications"] if each["state"] == "publishing"]
        return f"{running[-1]['rows']:,} rows committed" if running else f"{arguments.source} is being read"

    desk.settled(desk.patiently("/v1/assets", _publication(arguments), how_far))


def _reason(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"reason": arguments.reason}


NOUN = Noun(
    (
        Verb(
            "list",
            "the catalogue of all members",
            read("/v1/assets", within="assets", columns=CATALOGUE, query=("holder", "limit", "offset")),
            PAGE,
        ),
        Verb(
            "search",
            "assets by a part of their name or category",
            read("/v1/assets", within="assets", columns=CATALOGUE, query=("q", "holder", "limit", "offset")),
            (arg("q", metavar="TEXT"), *PAGE),
        ),
        Verb("show", "one asset with its metadata, checked against the chain's hash", read("/v1/assets/{asset_id}"), (ASSET,)),
        Verb(
            "publish",
            "publish an asset from one of the node's sources",
            _publish,
            (
                arg("--name", required=True, help="the asset's name within this organisation, as a code"),
                arg("--source", required=True, help="the source's name in node.toml"),
                arg("--title-zh", required=True, help="its title in Chinese"),
                arg("--title-en", required=True, help="its title in English"),
                arg("--description", required=True, help="what it holds, for people"),
                arg("--grade", type=int, required=True, choices=range(1, 6), help="1 to 5 for L1 to L5"),
                arg("--category", default="other", help="a code such as social-security"),
                arg("--data-item", default="", help="the data item this is the authoritative source of"),
                arg("--mask", action="append", required=True, metavar="COLUMN=RULE", help="keep, drop, range:10, round:1000, constant …; repeated"),
                arg("--parent", action="append", metavar="ASSET", help="an asset this one was made from; repeated"),
            ),
        ),
        Verb(
            "own",
            "what this node has published or is publishing, and how far that is",
            read("/v1/publications", within="publications", columns=OWN),
        ),
        Verb("cancel", "take an own asset off the network", change("/v1/assets/{asset_id}/cancel", _reason), (ASSET, REASON)),
        Verb(
            "hold",
            "as supervisor, put an asset on dispute hold",
            change("/v1/assets/{asset_id}/hold", _reason),
            (ASSET, REASON),
            "officer",
        ),
        Verb("release", "as supervisor, end an asset's dispute hold", change("/v1/assets/{asset_id}/release"), (ASSET,), "officer"),
    )
)
