"""Whether this node's records of a lane are as new as the other side's: checked when an agreement
is first used after a start.

A buyer whose database was restored from an old backup would sign another request for a position it
has used. The provider holds the first one, with this node's signature under it, and shows it; a
provider that shows anything else proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from chain.context import Context
from chain.core import schema
from chain.core.crypto import recover
from chain.core.errors import Conflict, QiaolianError, Unavailable
from chain.statements.trade import Agreement, UsageRequest


async def require_synchronised(
    context: Context,
    agreement_id: bytes,
    agreement: Agreement,
    *,
    last: Mapping[int, int],
    digest: Callable[[bytes], bytes],
) -> None:
    """Refuse an agreement of which the provider holds later requests than this node does.

    Args:
        last: the last position this node has requested in each lane.
        digest: what is signed of a statement's struct hash.

    Raises:
        Conflict: ``lane_behind_provider``; Unavailable: when the provider cannot be asked.
    """
    answer = await _provider_counts(context, agreement_id, agreement.provider)
    for reported in answer.values():
        request = _own_request(reported, agreement, agreement_id, digest)
        if request is not None and request.seq > last.get(request.lane, 0):
            raise Conflict(
                "lane_behind_provider",
                "The provider holds a request of this organisation's "
                "that this node's database does not have.",
                hint="The database is older than the lane: stop the node and run `qiaolian node "
                "recover`, see docs/operations.md.",
                lane=request.lane,
                seq=request.seq,
            )


async def _provider_counts(
    context: Context, agreement_id: bytes, provider: str
) -> Mapping[str, Any]:
    """The provider's counts by lane; none where it answers without any, which proves nothing either
    way.
    """
    try:
        answer = await context.peers.get(
            provider, f"/v1/peer/agreements/0x{agreement_id.hex()}/counters"
        )
    except Unavailable:
        raise
    except QiaolianError:
        return {}
    lanes = answer.get("lanes") if isinstance(answer, dict) else None
    return lanes if isinstance(lanes, dict) else {}


def _own_request(
    reported: Any, agreement: Agreement, agreement_id: bytes, digest: Callable[[bytes], bytes]
) -> UsageRequest | None:
    """The lane's last request as the provider shows it, if this organisation signed it."""
    try:
        shown = reported["request"]
        request = UsageRequest.from_json(shown["request"])
        signer = recover(digest(request.struct_hash()), schema.signature(shown["signature"]))
    except (QiaolianError, ValueError, KeyError, TypeError):
        return None
    return (
        request if signer == agreement.buyer_key and request.agreement_id == agreement_id else None
    )
