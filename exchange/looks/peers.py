"""What a buyer's node lists of its calls for a subject, for the provider of those calls."""

from __future__ import annotations

from typing import Any

from chain.context import Context
from chain.core import schema
from chain.core.canonical import dumps
from chain.core.errors import Unavailable
from exchange.metering.look_model import Position

MAX_POSITIONS = 20_000


async def positions_of(context: Context, buyer: str, subject: str) -> set[Position]:
    """The buyer's answered calls for a subject under its agreements with this member.

    Raises:
        Unavailable: ``peer_bad_answer``, and whatever keeps the buyer's node from answering.
    """
    answer = await context.peers.post(buyer, "/v1/peer/looks", {"subject": subject})
    listed = answer.get("positions") if isinstance(answer, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_POSITIONS:
        raise _bad_answer()
    return {_position(value) for value in listed}


async def fetch_bundle(context: Context, provider: str, position: Position) -> bytes:
    """The bundle of this buyer's call, from its provider's node."""
    path = f"/v1/peer/looks/0x{position.agreement_id.hex()}/{position.lane}/{position.seq}/bundle"
    return dumps(await context.peers.get(provider, path))


def _position(value: Any) -> Position:
    try:
        return Position(
            schema.hash32(value["agreementId"]),
            schema.count(value["lane"]),
            schema.count(value["seq"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _bad_answer() from error


def _bad_answer() -> Unavailable:
    return Unavailable(
        "peer_bad_answer",
        "The buyer does not list its calls in the form expected.",
        hint="Ask again; its operator should look at its log.",
    )
