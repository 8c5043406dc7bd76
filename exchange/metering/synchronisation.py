"""Whether this node's records of a lane are as new as the other side's: checked when an agreement
is first used after a start.

A buyer whose database was restored from an old backup would sign another request for a position it
has used. The provider holds the first one, with this node's signature under it, and shows it; a
provider that shows anything else proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from chain.context import Context
from chain.core.crypto import recover
from chain.core.errors import Conflict, QiaolianError
from chain.statements.trade import Agreement, UsageRequest
from exchange.metering import peers
from exchange.metering.digests import Digest
from exchange.metering.peers import Shown


async def require_synchronised(
    context: Context,
    agreement_id: bytes,
    agreement: Agreement,
    *,
    last: Mapping[int, int],
    digest: Digest,
) -> None:
    """Refuse an agreement of which the provider holds later requests than this node does.

    Args:
        last: the last position this node has requested in each lane.
        digest: what is signed of a statement's struct hash.

    Raises:
        Conflict: ``lane_behind_provider``; Unavailable: when the provider cannot be asked.
    """
    for shown in await peers.last_requests(context, agreement.provider, agreement_id):
        request = shown.statement
        if request.agreement_id != agreement_id or not _is_signed(shown, agreement, digest):
            continue
        if request.seq > last.get(request.lane, 0):
            raise Conflict(
                "lane_behind_provider",
                "The provider holds a request of this organisation's "
                "that this node's database does not have.",
                hint="The database is older than the lane: stop the node and run `qiaolian node "
                "recover`, see docs/operations.md.",
                lane=request.lane,
                seq=request.seq,
            )


def _is_signed(shown: Shown[UsageRequest], agreement: Agreement, digest: Digest) -> bool:
    """Whether this organisation signed a request that the provider shows."""
    try:
        signer = recover(digest(shown.statement.struct_hash()), shown.signature)
    except QiaolianError:
        return False
    return signer == agreement.buyer_key
