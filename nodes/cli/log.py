"""``qiaolian log``: the node's own evidence log, and forks of others' logs it caught
as a witness.
"""

from __future__ import annotations

from nodes.cli.command_group import PAGE, Command, CommandGroup, change, read, read_pages
from nodes.cli.output import Columns

FORKS: Columns = {"log": "origin", "found at": "foundAt", "one": "first", "other": "second"}

GROUP = CommandGroup(
    (
        Command("show", "size, newest checkpoint and anchor of the own log", read("/v1/log")),
        Command(
            "anchor", "checkpoint and anchor now", change("/v1/log/anchor"), role="administrator"
        ),
        Command(
            "forks",
            "forks of others' logs this node caught",
            read_pages("/v1/log/forks", within="forks", columns=FORKS),
            PAGE,
            "auditor",
        ),
    )
)
