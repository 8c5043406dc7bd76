"""Bundles of trades from their providers' nodes."""

from __future__ import annotations

from chain.context import Context
from chain.core.canonical import dumps


async def fetch_bundle(
    context: Context, provider: str, agreement_id: bytes, lane: int, seq: int
) -> bytes:
    """The bundle of one call from its provider's node."""
    path = f"/v1/peer/agreements/0x{agreement_id.hex()}/bundle?lane={lane}&seq={seq}"
    return dumps(await context.peers.get(provider, path))
