"""``qiaolian webhook``: addresses of the organisation's own systems that receive events."""

from __future__ import annotations

import argparse

from nodes.cli.command_group import PAGE, Command, CommandGroup, arg, change, read, read_pages
from nodes.cli.output import Columns, when
from nodes.cli.session import CommandSession
from nodes.webhooks.model import SUBSCRIBED

WEBHOOKS: Columns = {
    "webhook": "id",
    "address": "url",
    "active": lambda row: "yes" if row["active"] else f"no ({row['disabledReason']})",
    "kinds": lambda row: ", ".join(row["kinds"]),
}
DELIVERIES: Columns = {
    "delivery": "id",
    "kind": lambda row: row["event"]["kind"],
    "subject": lambda row: row["event"]["subject"],
    "state": "state",
    "attempts": "attempts",
    "status": "status",
    "error": "error",
    "at": lambda row: when(row["changedAt"]),
}
WEBHOOK = arg("webhook_id", metavar="WEBHOOK", help="its id, as in the list")
ROLE = "administrator"
_PATH = "/v1/webhooks/{webhook_id}"


def _remove(session: CommandSession, arguments: argparse.Namespace) -> None:
    session.client.request("DELETE", f"/v1/webhooks/{arguments.webhook_id}")
    session.say("Removed, with its secret and its list of deliveries.")


GROUP = CommandGroup(
    (
        Command(
            "list",
            "all webhooks",
            read("/v1/webhooks", within="webhooks", columns=WEBHOOKS),
            role=ROLE,
        ),
        Command(
            "add",
            "send events to an address; prints its secret once",
            change(
                "/v1/webhooks",
                lambda arguments: {
                    "url": arguments.address,
                    "kinds": arguments.kind or [],
                    "description": arguments.description,
                },
            ),
            (
                arg("address", metavar="URL", help="https://HOST/PATH of a system of your own"),
                arg(
                    "--kind",
                    action="append",
                    choices=[kind.value for kind in SUBSCRIBED],
                    help="a kind of event, more than once for several (default: all)",
                ),
                arg("--description", default="", help="for your colleagues"),
            ),
            role=ROLE,
        ),
        Command(
            "test", "send a webhook.test event", change(_PATH + "/test"), (WEBHOOK,), role=ROLE
        ),
        Command(
            "deliveries",
            "what was delivered in the last 30 days, the newest first",
            read_pages(_PATH + "/deliveries", within="deliveries", columns=DELIVERIES),
            (WEBHOOK, *PAGE),
            role=ROLE,
        ),
        Command(
            "replay",
            "send a delivery again",
            change(_PATH + "/deliveries/{delivery_id}/replay"),
            (WEBHOOK, arg("delivery_id", metavar="DELIVERY", type=int)),
            role=ROLE,
        ),
        Command(
            "rotate",
            "make a fresh secret and print it; the former one is used beside it for a day",
            change(_PATH + "/secret"),
            (WEBHOOK,),
            role=ROLE,
        ),
        Command(
            "disable",
            "deliver nothing until enabled",
            change(_PATH + "/disable"),
            (WEBHOOK,),
            role=ROLE,
        ),
        Command("enable", "deliver again", change(_PATH + "/enable"), (WEBHOOK,), role=ROLE),
        Command("remove", "delete a webhook and its secret", _remove, (WEBHOOK,), role=ROLE),
    )
)
