"""The bundle of a look. The provider's node makes it, which has the request, the receipt and what
opens the query; the buyer's node fetches it there.
"""

from __future__ import annotations

import asyncio

from chain.context import Context
from chain.core.errors import NotFound
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide
from exchange.looks import peers
from exchange.metering import looks, records
from exchange.metering.look_model import Position
from exchange.metering.model import REQUEST_DOMAIN
from exchange.settlement.bundles import TradeExporter


async def fetch(context: Context, position: Position, *, subject: str | None = None) -> bytes:
    """The bundle's bytes, at the node of either side; raises as ``bundle``."""
    signed = await asyncio.to_thread(agreements.load, context, position.agreement_id)
    if signed.side == AgreementSide.PROVIDER:
        return await asyncio.to_thread(bundle, context, position, subject=subject)
    look = await asyncio.to_thread(looks.bought_at, context, position)
    if subject not in (None, look.query.subject):
        raise NotFound("look_unknown", "This node has no such call of the subject.")
    return await peers.fetch_bundle(context, signed.agreement.provider, position)


def bundle(context: Context, position: Position, *, subject: str | None = None) -> bytes:
    """The bundle's bytes.

    Args:
        subject: whose look it must be, for somebody who may see no other's.

    Raises:
        NotFound: ``look_unknown``, also for another subject's; Conflict: ``entry_not_anchored``
            until the receipt's anchor is on the chain.
    """
    asked_for, opening = looks.opening_of(context, position)
    signed = agreements.load(context, position.agreement_id)
    call = records.call_at(
        context, AgreementSide.PROVIDER, position.agreement_id, position.lane, position.seq
    )
    if call is None or call.receipt is None or subject not in (None, asked_for):
        raise NotFound("look_unknown", "This node has no such call, or not its query.")
    named: dict[str, str | int] = {
        "agreementId": "0x" + position.agreement_id.hex(),
        "lane": position.lane,
        "seq": position.seq,
    }
    exporter = TradeExporter(context, signed, "look", named)
    exporter.add_answered_request(call)
    exporter.add_disclosure(
        call.request.request_commitment,
        salt=opening.salt,
        domain=REQUEST_DOMAIN,
        record=opening.query,
    )
    return exporter.build()
