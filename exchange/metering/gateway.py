"""The gateway: serves usage requests of other members and accepts their closing vouchers.

``usage_exchange`` is the path of a request; ``gateway_state`` caches agreements.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.crypto import recover
from chain.core.errors import BadInput, Forbidden
from chain.statements.trade import Voucher
from exchange.metering import rules
from exchange.metering.activity import Activity
from exchange.metering.digests import settlement_digest
from exchange.metering.gateway_state import GatewayState, GatewayTrade
from exchange.metering.model import (
    ClosingVoucher,
    LaneState,
)
from exchange.metering.store import erase_answers, store_voucher
from exchange.metering.usage_exchange import UsageExchange
from registry.evidence.log import append

MAX_REQUESTS = 256
CONTRACT = "TradeSettlement"


class Gateway:
    """Serves all agreements of a providing node. One for each running node; belongs to one event
    loop.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self._digest = settlement_digest(context)
        self._state = GatewayState(context)

    @classmethod
    def of(cls, context: Context) -> Gateway:
        """The node's gateway."""
        return context.services.get(cls, lambda: cls(context))

    async def serve(self, caller: str, items: Sequence[Any]) -> list[Any]:
        """Serve requests of one member; one answer each, in order. Completes even if the caller
        disconnects.

        Raises:
            BadInput: ``too_many_requests``.
        """
        if len(items) > MAX_REQUESTS:
            raise BadInput(
                "too_many_requests", f"At most {MAX_REQUESTS} requests go into one exchange."
            )
        return await asyncio.shield(
            asyncio.ensure_future(UsageExchange(self._state, self._digest, caller).run(items))
        )

    async def accept_voucher(self, caller: str, voucher: Voucher, signature: bytes) -> None:
        """Store a buyer's closing voucher of a lane and erase the lane's stored answer.

        Raises:
            Forbidden: ``not_buyer``, ``wrong_signer``; what ``rules.require_voucher`` raises.
        """
        trade = await self.trade(voucher.agreement_id)
        if trade.agreement.buyer != caller:
            raise Forbidden("not_buyer", "The voucher is not from the agreement's buyer.")
        digest = self._digest(voucher.struct_hash())
        if recover(digest, signature) != trade.agreement.buyer_key:
            raise Forbidden(
                "wrong_signer", "The voucher is not signed by the key the agreement pins."
            )
        lane = trade.lane(voucher.lane)
        async with lane.lock:
            rules.require_voucher(trade.agreement, lane.state, voucher)
            signed = ClosingVoucher(voucher, signature)

            def change(session: Session) -> None:
                store_voucher(session, signed)
                erase_answers(session, voucher.agreement_id, voucher.lane)
                append(session, kind="Voucher", digest=digest, at=self.context.now())

            await self.context.database.awrite(change)
            lane.stored_answer = None
        Activity.of(self.context).note([voucher.agreement_id])

    @asynccontextmanager
    async def paused(self, trade: GatewayTrade) -> AsyncIterator[dict[int, LaneState]]:
        """Hold every lane of an agreement until the block ends; gives the states of
        the used ones.
        """
        async with AsyncExitStack() as stack:
            for number in range(trade.agreement.lanes):
                await stack.enter_async_context(trade.lane(number).lock)
            yield {
                number: lane.state for number, lane in sorted(trade.lanes.items()) if lane.state.seq
            }

    async def trade(self, agreement_id: bytes) -> GatewayTrade:
        """An agreement this node provides under; raises what ``GatewayState.trade`` raises."""
        return await self._state.trade(agreement_id)
