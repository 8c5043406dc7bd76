"""``qiaolian asset``: the catalogue, an organisation's own publications, dispute holds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from chain.core.errors import BadInput
from nodes.cli.command_group import (
    PAGE,
    REASON_HELP,
    Command,
    CommandGroup,
    arg,
    change,
    filled_path,
    pairs,
    read,
    read_pages,
)
from nodes.cli.output import Columns, when, yuan
from nodes.cli.session import CommandSession
from registry.purposes import KNOWN_PURPOSES

CATALOGUE: Columns = {
    "asset": "assetId",
    "name": "name",
    "version": "assetVersion",
    "L": "grade",
    "rows": "rowCount",
    "category": "category",
    "holder": "holder",
    "state": lambda row: (
        "cancelled" if row["cancelledAt"] else "on hold" if row["held"] else "usable"
    ),
}
FOUND: Columns = {
    "asset": "assetId",
    "name": "name",
    "L": "grade",
    "rows": "rowCount",
    "holder": "holder",
    "fen": lambda row: "" if row["price"] is None else f"{row['price']}/{row['unit']}",
    "columns": lambda row: ",".join(row["columns"]),
    "state": "state",
}
FILTERS = ("q", "holder", "category", "grade", "price", "unit", "column", "minDays")
BANDS = ("free", "below-1", "1-10", "10-", "unknown")
OWN: Columns = {
    "asset": "assetId",
    "title": "titleZh",
    "version": "assetVersion",
    "source": "source",
    "state": "state",
    "rows": "rows",
}
INCIDENTS: Columns = {
    "asset": "assetId",
    "version": "assetVersion",
    "kind": "kind",
    "columns": lambda row: ",".join(row["columns"]),
    "row": lambda row: row["row"] or "",
    "calls refused": "calls",
    "last": lambda row: when(row["lastAt"]),
}
FAULTS: Columns = {
    "line": lambda row: row["line"] or "",
    "column": "column",
    "place": "place",
    "cell": "cell",
    "fault": "kind",
    "detail": "detail",
    "publishable": lambda row: "no" if row["blocking"] else "yes",
}
COUNTS: Columns = {
    "calls": lambda row: row["counts"]["served"],
    "refused": lambda row: row["counts"]["refused"],
    "units": lambda row: row["counts"]["units"],
    "earned": lambda row: yuan(row["counts"]["amount"]),
}
USED: Columns = {"asset": "assetId", **COUNTS}
USAGE_ROWS: Columns = {
    "day": "day",
    "buyer": "buyer",
    "agreement": "agreementId",
    "columns": lambda row: ", ".join(row["columns"]),
    **COUNTS,
}
PERIOD = (
    arg("--since", metavar="DATE", help="such as 2026-11-01 (default 30 days ago)"),
    arg("--until", metavar="DATE", help="such as 2026-11-30 (default today)"),
)
ASSET, REASON = arg("asset_id"), arg("--reason", required=True, help=REASON_HELP)
MASK_HELP = "keep, drop, range:10, round:1000, prefix:4, constant; repeated"
PURPOSE_HELP = (
    f"what it may be used for: {', '.join(KNOWN_PURPOSES)}; the subject's consent is needed "
    "unless =no-consent; repeated"
)
TYPE_HELP = "text, integer, decimal or boolean instead of the type guessed from the cells; repeated"
CATALOGUE_PAGE = (arg("--holder", help="only this member's assets"), *PAGE)


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
        "dataItem": arguments.data_item,
        "parents": arguments.parent or [],
        **_content(arguments),
        "purposes": purposes_of(arguments.purpose),
    }


def _content(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a publication says of its columns."""
    return {
        "masking": pairs(arguments.mask, "A column's masking"),
        "types": pairs(arguments.type, "A column's type"),
    }


def purposes_of(values: Sequence[str]) -> dict[str, dict[str, bool]]:
    """``--purpose`` options as the node takes them; ``purpose_malformed``."""
    found: dict[str, dict[str, bool]] = {}
    for value in values:
        code, sign, demand = value.partition("=")
        if code in found or (sign and demand != "no-consent"):
            raise BadInput(
                "purpose_malformed", f"A purpose is given once, as CODE or CODE=no-consent: {value}"
            )
        found[code] = {"consent": not sign}
    return found


def _publish(session: CommandSession, arguments: argparse.Namespace) -> None:
    def how_far() -> str:
        running = [
            row
            for row in session.client.rows("/v1/publications", "publications")
            if row["state"] == "publishing"
        ]
        return (
            f"{running[-1]['rows']:,} rows committed"
            if running
            else f"{arguments.source} is being read"
        )

    session.show_when_final(
        session.post_with_progress("/v1/assets", _publication(arguments), how_far)
    )


def _check(session: CommandSession, arguments: argparse.Namespace) -> int:
    """Show every fault of a source's file; exit code 2 where it cannot be published."""
    path = filled_path("/v1/sources/{source}/inspection", arguments)
    found = session.client.post(path, {})
    session.table(found["faults"], FAULTS, whole=found)
    session.say(
        f"{found['rows']:,} rows, key column {found['key']}, {found['encoding']}; "
        f"{found['faultCount']:,} faults."
    )
    return 0 if found["publishable"] else 2


def _upload(session: CommandSession, arguments: argparse.Namespace) -> int:
    """Upload a file and show its faults; exit code 2 where it cannot be published."""
    file: Path = arguments.file
    try:
        content = file.read_bytes()
    except OSError as error:
        raise BadInput("file_unreadable", f"{file} cannot be read: {error.strerror}.") from error
    path = f"/v1/uploads?{urlencode({'name': file.name, 'key': arguments.key})}"
    found = session.client.upload(path, content)
    session.table(found["faults"], FAULTS, whole=found)
    session.say(
        f"{found['rows']:,} rows, key column {found['key']}; {found['faultCount']:,} faults. "
        f"Source: {found['source']}"
    )
    return 0 if found["publishable"] else 2


def _preview(session: CommandSession, arguments: argparse.Namespace) -> None:
    """Show the first rows as the source has them, then as they would be delivered."""
    body = {"source": arguments.source, **_content(arguments)}
    found = session.client.post("/v1/assets/preview", body)
    if session.json:
        session.show(found)
        return
    names = [column["name"] for column in found["columns"]]
    served = [column["name"] for column in found["columns"] if column["masking"] != "drop"]
    session.say("As the source has it:")
    session.table([{"line": row["line"], **row["held"]} for row in found["rows"]], _same(names))
    session.say("As it is delivered:")
    delivered = [{"line": row["line"], **row["delivered"]} for row in found["rows"]]
    session.table(delivered, _same(served))


def _same(names: Sequence[str]) -> Columns:
    """A table of the source's lines and these columns, under their own names."""
    return {"line": "line", **{name: name for name in names}}


def _republish(session: CommandSession, arguments: argparse.Namespace) -> None:
    """Show what changed; once the person agrees, publish exactly that."""
    wanted = {
        **_content(arguments),
        "purposes": purposes_of(arguments.purpose) if arguments.purpose else None,
    }
    found = session.client.post(filled_path("/v1/assets/{asset_id}/changes", arguments), wanted)
    about = {name: value for name, value in found.items() if name != "fingerprint"}
    session.confirm(about, f"Publish this as version {found['nextVersion']}?")
    body = {**wanted, "fingerprint": found["fingerprint"]}
    session.show_when_final(
        session.post_with_progress(
            filled_path("/v1/assets/{asset_id}/republish", arguments),
            body,
            lambda: "the source is being read",
        )
    )


def _reason(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"reason": arguments.reason}


GROUP = CommandGroup(
    (
        Command(
            "list",
            "the catalogue of all members",
            read_pages("/v1/assets", within="assets", columns=CATALOGUE, query=("holder",)),
            CATALOGUE_PAGE,
        ),
        Command(
            "search",
            "assets by a part of their name or category",
            read_pages("/v1/assets", within="assets", columns=CATALOGUE, query=("q", "holder")),
            (arg("q", metavar="TEXT"), *CATALOGUE_PAGE),
        ),
        Command(
            "find",
            "assets by words, columns, price and other facets",
            read_pages("/v1/catalogue", within="assets", columns=FOUND, query=FILTERS),
            (
                arg("q", metavar="WORDS", nargs="?", default="", help="words or their beginnings"),
                arg("--holder", help="only this member's assets"),
                arg("--category", help="of this category"),
                arg("--grade", type=int, help="of this grade, 1 to 5"),
                arg("--price", choices=BANDS, help="yuan a unit"),
                arg("--unit", choices=("call", "row", "byte"), help="what is billed"),
                arg("--column", help="that deliver this column"),
                arg("--min-days", dest="minDays", type=int, help="with agreements this long"),
                *PAGE,
            ),
        ),
        Command(
            "course",
            "this organisation's access to an asset, and whose turn it is",
            read("/v1/catalogue/{asset_id}/course"),
            (ASSET,),
        ),
        Command(
            "show",
            "one asset with its metadata, checked against the chain's hash",
            read("/v1/assets/{asset_id}"),
            (ASSET,),
        ),
        Command(
            "sources",
            "the sources that this node can publish from",
            read("/v1/sources"),
        ),
        Command(
            "check",
            "every fault of a source's file, with line, column and cell",
            _check,
            (arg("source", help="the source's name in node.toml"),),
        ),
        Command(
            "upload",
            "upload a CSV, Excel or Parquet file as a source to publish from",
            _upload,
            (
                arg("file", type=Path, help="the file; its ending says what it is"),
                arg("--key", default="", help="the subject's column (default: the first one)"),
            ),
        ),
        Command(
            "preview",
            "the first ten rows of a source as they would be delivered; nothing is published",
            _preview,
            (
                arg("--source", required=True, help="the source's name in node.toml"),
                arg(
                    "--mask", action="append", required=True, metavar="COLUMN=RULE", help=MASK_HELP
                ),
                arg("--type", action="append", metavar="COLUMN=TYPE", help=TYPE_HELP),
            ),
        ),
        Command(
            "publish",
            "publish an asset from one of the node's sources",
            _publish,
            (
                arg(
                    "--name",
                    required=True,
                    help="the asset's name within this organisation, as a code",
                ),
                arg("--source", required=True, help="the source's name in node.toml"),
                arg("--title-zh", required=True, help="its title in Chinese"),
                arg("--title-en", required=True, help="its title in English"),
                arg("--description", required=True, help="what it holds, for people"),
                arg(
                    "--grade",
                    type=int,
                    required=True,
                    choices=range(1, 6),
                    help="1 to 5 for L1 to L5",
                ),
                arg("--category", default="other", help="a code such as social-security"),
                arg(
                    "--data-item",
                    default="",
                    help="the data item this is the authoritative source of",
                ),
                arg(
                    "--mask", action="append", required=True, metavar="COLUMN=RULE", help=MASK_HELP
                ),
                arg(
                    "--purpose",
                    action="append",
                    required=True,
                    metavar="CODE[=no-consent]",
                    help=PURPOSE_HELP,
                ),
                arg("--type", action="append", metavar="COLUMN=TYPE", help=TYPE_HELP),
                arg(
                    "--parent",
                    action="append",
                    metavar="ASSET",
                    help="an asset this one was made from; repeated",
                ),
            ),
        ),
        Command(
            "republish",
            "show how a source departs from its published version, and publish it as the next one",
            _republish,
            (
                ASSET,
                arg(
                    "--mask",
                    action="append",
                    metavar="COLUMN=RULE",
                    help=f"{MASK_HELP} (default: as before; a new column is dropped)",
                ),
                arg(
                    "--purpose",
                    action="append",
                    metavar="CODE[=no-consent]",
                    help=f"{PURPOSE_HELP} (default: as before)",
                ),
                arg(
                    "--type",
                    action="append",
                    metavar="COLUMN=TYPE",
                    help=f"{TYPE_HELP} (default: as before)",
                ),
                arg("--yes", action="store_true", help="publish without asking"),
            ),
        ),
        Command(
            "incidents",
            "where sources depart from what was published, and the calls refused for it",
            read_pages("/v1/incidents", within="incidents", columns=INCIDENTS, query=("asset",)),
            (arg("--asset", metavar="ASSET", help="of this asset only"), *PAGE),
        ),
        Command(
            "usage",
            "the own assets that were asked for, with calls and earnings",
            read_pages("/v1/usage", within="assets", columns=USED, query=("since", "until")),
            (*PERIOD, *PAGE),
        ),
        Command(
            "usage-detail",
            "how an own asset was used: by day, month and column",
            read("/v1/usage/{asset_id}", query=("since", "until")),
            (ASSET, *PERIOD),
        ),
        Command(
            "usage-buyers",
            "who used an own asset, by agreement",
            read_pages(
                "/v1/usage/{asset_id}/buyers",
                within="buyers",
                columns={"buyer": "buyer", "agreement": "agreementId", **COUNTS},
                query=("since", "until"),
            ),
            (ASSET, *PERIOD, *PAGE),
        ),
        Command(
            "usage-rows",
            "how an own asset was used: by day, agreement and set of columns",
            read_pages(
                "/v1/usage/{asset_id}/rows",
                within="usage",
                columns=USAGE_ROWS,
                query=("since", "until"),
            ),
            (ASSET, *PERIOD, *PAGE),
        ),
        Command(
            "own",
            "what this node has published or is publishing, and how far that is",
            read_pages("/v1/publications", within="publications", columns=OWN),
            PAGE,
        ),
        Command(
            "cancel",
            "take an own asset off the network",
            change("/v1/assets/{asset_id}/cancel", _reason),
            (ASSET, REASON),
        ),
        Command(
            "hold",
            "as supervisor, put an asset on dispute hold",
            change("/v1/assets/{asset_id}/hold", _reason),
            (ASSET, REASON),
            "officer",
        ),
        Command(
            "release",
            "as supervisor, end an asset's dispute hold",
            change("/v1/assets/{asset_id}/release"),
            (ASSET,),
            "officer",
        ),
    )
)
