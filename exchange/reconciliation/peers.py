"""Counts of lanes as other members' nodes report them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chain.context import Context
from chain.core.errors import BadInput


async def counters(context: Context, member: str, agreement_id: bytes) -> Mapping[str, Any]:
    """A side's counts by lane, for ``rules.read``; ``counts_malformed``."""
    answer = await context.peers.get(member, f"/v1/peer/agreements/0x{agreement_id.hex()}/counters")
    lanes = answer.get("lanes") if isinstance(answer, dict) else None
    if not isinstance(lanes, dict):
        raise BadInput("counts_malformed", "Counts are not a JSON object with lanes.")
    return lanes
