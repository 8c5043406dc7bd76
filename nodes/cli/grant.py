"""``qiaolian grant``: a clerk asks, the chief data officer decides with a key the node does not
hold.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

from chain.core.errors import BadInput
from chain.core.zone import day_start
from chain.statements.grants import GrantTerms, Operation
from nodes.cli.command_group import (
    COLUMNS_HELP,
    IDEMPOTENCY_OPTIONS,
    KEY_OPTIONS,
    OUT,
    PAGE,
    REASON_HELP,
    Command,
    CommandGroup,
    arg,
    filled_path,
    listed,
    read,
    read_pages,
    save,
    show_pages,
)
from nodes.cli.output import Columns, when
from nodes.cli.session import CommandSession
from registry.grants.signing import (
    ReviewedAsset,
    decision_of,
    reviewed,
    reviewed_asset,
    revocation_of,
)
from registry.masking import served_columns

LISTED: Columns = {
    "grant": "grantId",
    "state": "state",
    "grantee": lambda row: row["terms"]["grantee"],
    "owner": lambda row: row["terms"]["owner"],
    "purpose": lambda row: row["terms"]["purpose"],
    "may": lambda row: ",".join(operation_names(row["terms"]["operations"])),
    "until": lambda row: when(row["terms"]["notAfter"]),
}
GRANT, REASON = arg("grant_id"), arg("--reason", required=True, help=REASON_HELP)


def operation_names(operations: int) -> list[str]:
    """The operations' names."""
    return [str(operation.name).lower() for operation in Operation if int(operations) & operation]


def _operations(text: str) -> int:
    found = 0
    for name in listed(text):
        if name.upper() not in Operation.__members__:
            raise BadInput(
                "grant_operation_unknown",
                f"There is no operation {name}.",
                hint=", ".join(member.lower() for member in Operation.__members__),
            )
        found |= Operation[name.upper()]
    return found


def _list(session: CommandSession, arguments: argparse.Namespace) -> None:
    show_pages(
        session,
        arguments,
        filled_path("/v1/grants", arguments, ("state",)),
        within="grants",
        columns=LISTED,
    )


def _request(session: CommandSession, arguments: argparse.Namespace) -> None:
    asset = session.client.get(f"/v1/assets/{arguments.asset}")
    # The city's whole days, so that a repetition under one idempotency key is the same request.
    now = time.time()
    columns = (
        listed(arguments.columns)
        if arguments.columns
        else served_columns(asset["metadata"]["masking"])
    )
    body = {
        "assetId": asset["assetId"],
        "assetVersion": arguments.asset_version or asset["assetVersion"],
        "owner": asset["holder"],
        "operations": _operations(arguments.operations),
        "scene": arguments.scene,
        "purpose": arguments.purpose,
        "columns": columns,
        "notBefore": day_start(now),
        "notAfter": day_start(now, days=arguments.days + 1) - 1,
        "maxUses": arguments.uses,
    }
    session.show_when_final(session.post_once("/v1/grants", body))


def _decide(session: CommandSession, arguments: argparse.Namespace, *, approved: bool) -> None:
    shown = session.wait_until(
        lambda: session.client.get(f"/v1/grants/{arguments.grant_id}"),
        lambda found: bool(found["state"] != "sent"),
        "the request to reach the chain",
    )
    grant_id, terms = reviewed(shown)
    asset = reviewed_asset(shown, terms)
    if approved and asset is None:
        raise BadInput(
            "grant_asset_not_shown",
            "The node does not publish the asset version that this "
            "grant is about, so that it cannot be reviewed.",
            hint="Ask at the owner's node: qiaolian asset own.",
        )
    decision = decision_of(
        grant_id, approved=approved, reason=arguments.reason, now=int(time.time())
    )
    signature = session.sign(decision, session.key(), about=_about(session, shown, terms, asset))
    path = f"/v1/grants/{arguments.grant_id}/decision"
    session.show_when_final(
        session.client.post(path, {"decision": decision.to_json(), "signature": signature})
    )


def _approve(session: CommandSession, arguments: argparse.Namespace) -> None:
    _decide(session, arguments, approved=True)


def _refuse(session: CommandSession, arguments: argparse.Namespace) -> None:
    _decide(session, arguments, approved=False)


def _revoke(session: CommandSession, arguments: argparse.Namespace) -> None:
    shown = session.client.get(f"/v1/grants/{arguments.grant_id}")
    grant_id, terms = reviewed(shown)
    revocation = revocation_of(grant_id, reason=arguments.reason, now=int(time.time()))
    signature = session.sign(
        revocation, session.key(), about=_about(session, shown, terms, reviewed_asset(shown, terms))
    )
    path = f"/v1/grants/{arguments.grant_id}/revocation"
    session.show_when_final(
        session.client.post(path, {"revocation": revocation.to_json(), "signature": signature})
    )


def _about(
    session: CommandSession,
    shown: Mapping[str, Any],
    terms: GrantTerms,
    asset: ReviewedAsset | None,
) -> dict[str, Any]:
    """What the officer reads before signing: checked against the grant's id by ``reviewed`` and
    ``reviewed_asset``.
    """
    asset_id = f"0x{terms.asset_id.hex()} version {terms.asset_version}"
    titles = (
        {}
        if asset is None
        else {
            "title": f"{asset.title_zh} / {asset.title_en}",
            "name": asset.name,
            "grade": f"L{asset.grade}",
        }
    )
    return {
        "asset": titles | {"id": asset_id},
        "owner": session.member_name(terms.owner),
        "grantee": session.member_name(terms.grantee),
        "may": ", ".join(operation_names(terms.operations)),
        "columns": ", ".join(shown["scope"]["columns"])
        if shown["scope"]
        else "not known to this node",
        "scene and purpose": f"{terms.scene}, {terms.purpose}",
        "from": when(terms.not_before),
        "until": when(terms.not_after),
        "uses at most": terms.max_uses,
    }


UNKNOWN: Columns = {
    "grant": "grantId",
    "refusals": "refusals",
    "last": lambda row: when(row["lastAt"]),
    "refused until": lambda row: when(row["refusedUntil"]) if row["refusedUntil"] else "",
}


GROUP = CommandGroup(
    (
        Command(
            "list",
            "grants this organisation gave or got",
            _list,
            (arg("--state", help="sent, requested, approved, refused or revoked"), *PAGE),
        ),
        Command(
            "show", "one grant with its terms and scope", read("/v1/grants/{grant_id}"), (GRANT,)
        ),
        Command(
            "request",
            "ask an asset's holder for a grant",
            _request,
            (
                arg("--asset", required=True, metavar="ASSET"),
                arg("--asset-version", type=int, help="default: the newest"),
                arg(
                    "--operations",
                    default="use",
                    help="separated by commas: view, export, use, copy, "
                    "train, compute (default use)",
                ),
                arg("--scene", required=True, help="a code such as small-loan"),
                arg("--purpose", required=True, help="a code such as credit-assessment"),
                arg("--columns", help=f"{COLUMNS_HELP} (default: every column the asset serves)"),
                arg(
                    "--days",
                    type=int,
                    default=365,
                    help="for how many days after today, by the city's calendar (default 365)",
                ),
                arg("--uses", type=int, required=True, help="how often at most"),
                IDEMPOTENCY_OPTIONS,
            ),
        ),
        Command(
            "approve",
            "as chief data officer, approve a request",
            _approve,
            (GRANT, arg("--reason", default="", help="a code"), *KEY_OPTIONS),
            "officer",
        ),
        Command(
            "refuse",
            "as chief data officer, refuse a request",
            _refuse,
            (GRANT, REASON, *KEY_OPTIONS),
            "officer",
        ),
        Command(
            "revoke",
            "as chief data officer, take a grant back at once",
            _revoke,
            (GRANT, REASON, *KEY_OPTIONS),
            "officer",
        ),
        Command(
            "unknown-subjects",
            "grants under which subjects were asked for that are not on "
            "record, and whether their calls are refused for it",
            read_pages("/v1/unknown-subjects", within="grants", columns=UNKNOWN),
            PAGE,
        ),
        Command(
            "bundle",
            "write the grant's life as a bundle",
            save("/v1/grants/{grant_id}/bundle"),
            (GRANT, OUT),
            "auditor",
        ),
    )
)
