"""Proposals that a command looks for before it makes another of the same."""

from __future__ import annotations

import time
from typing import Any

from nodes.cli.session import CommandSession


def proposed(
    session: CommandSession, function: str, arguments: dict[str, Any], share_with: list[str]
) -> str:
    """The id of the open proposal of exactly this action: one that the node knows,
    else a new one.
    """
    for known in session.client.rows("/v1/governance/proposals", "proposals"):
        is_open = known["executedAt"] is None and known["approval"]["deadline"] > time.time()
        if is_open and (known["function"], known["arguments"]) == (function, arguments):
            return str(known["proposalId"])
    body = {"function": function, "arguments": arguments, "shareWith": share_with}
    made = session.client.post("/v1/governance/proposals", body)
    for member in made["notReached"]:
        session.say(f"Not reached: the node of {member}. Share the proposal again once it answers.")
    return str(made["proposalId"])
