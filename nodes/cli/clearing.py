"""``qiaolian clearing``: the clearing book by day, and its closing."""

from __future__ import annotations

from nodes.cli.command_group import PAGE, Command, CommandGroup, arg, change, read, read_pages
from nodes.cli.output import Columns, when, yuan

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
            "as operator, close a day that is over",
            change("/v1/clearing/days/{day}/closing", lambda _arguments: {}),
            (DAY,),
        ),
    )
)
