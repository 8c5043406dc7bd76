"""Real node processes on a real chain."""

from __future__ import annotations

from typing import Any


def test_every_node_says_who_it_is_and_is_ready(network: Any) -> None:
    for each in network.organisations:
        answer = each.client(None).get("/v1/node")
        assert (answer["member"], answer["roles"]) == (each.member, list(each.plan.roles))
        assert each.client(None).get("/readyz")["ready"] is True
