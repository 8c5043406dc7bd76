"""Bundles of trades from their parties' nodes."""

from __future__ import annotations

from chain.context import Context
from chain.core.canonical import dumps


async def fetch_bundle(
    context: Context, party: str, agreement_id: bytes, lane: int, seq: int | None
) -> bytes:
    """The bundle of one call, or of a whole lane, from a party's node."""
    agreement = f"/v1/peer/agreements/0x{agreement_id.hex()}"
    if seq is None:
        return dumps(await context.peers.get(party, f"{agreement}/lane-bundle?lane={lane}"))
    return dumps(await context.peers.get(party, f"{agreement}/bundle?lane={lane}&seq={seq}"))
