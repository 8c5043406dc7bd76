"""Requests about demands to other members' nodes."""

from __future__ import annotations

from urllib.parse import urlencode

from chain.context import Context
from chain.core.errors import QiaolianError, Unavailable
from registry.demands.model import Demand
from registry.demands.rules import MAX_OPEN, read_demand
from registry.list_limits import MAX_ROWS
from registry.pages import require_next


async def fetch(context: Context, bank: str) -> list[Demand]:
    """A bank's open demands; one that is not well-formed is left out.

    Raises:
        Unavailable: ``peer_answer_unreadable``, and when it cannot be asked.
    """
    found: list[Demand] = []
    cursor: str | None = ""
    while cursor is not None and len(found) < MAX_OPEN:
        asked = {"limit": MAX_ROWS} | ({"cursor": cursor} if cursor else {})
        answer = await context.peers.get(bank, f"/v1/peer/demands?{urlencode(asked)}")
        try:
            values, cursor = list(answer["demands"]), require_next(answer["next"])
        except (KeyError, TypeError, ValueError) as error:
            raise Unavailable(
                "peer_answer_unreadable", "The bank's node shows no list of demands."
            ) from error
        for value in values[: MAX_OPEN - len(found)]:
            try:
                found.append(read_demand(value))
            except QiaolianError:
                continue
        if not values:
            break
    return found


async def send_answer(
    context: Context, bank: str, demand_id: str, asset_id: bytes, note: str
) -> None:
    """Tell a bank which asset meets its demand; raises whatever refusal its node gives."""
    body = {"assetId": "0x" + asset_id.hex(), "note": note}
    await context.peers.post(bank, f"/v1/peer/demands/{demand_id}/answers", body)
