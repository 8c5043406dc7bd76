"""Agreements that this node buys under, cached in memory.

An agreement is loaded on first use, with the request of each lane that an earlier process left
unanswered. The cache is updated only after commit. Each lane has a lock; whoever changes the lane
holds it.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.database import Change
from chain.core.errors import Conflict, Forbidden
from chain.statements.trade import Agreement, RequestWithdrawal, UsageRequest
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide
from exchange.closing.totals import is_final
from exchange.metering.buyer_store import RequestColumns
from exchange.metering.digests import Digest
from exchange.metering.model import CallResult, CallStatus, LaneState
from exchange.metering.recovery import require_recovered
from exchange.metering.store import BUYER, call_at, lane_state_of, last_calls
from exchange.metering.synchronisation import require_synchronised
from exchange.metering.wire import json_text, request_text


@dataclass
class BuyerLane:
    """One lane in memory."""

    number: int
    state: LaneState = field(default_factory=LaneState)
    outstanding: OutgoingRequest | None = None
    """A stored request without an answer."""
    halted: str = ""
    """The code of the contradiction that halted the lane; empty while it takes calls."""
    waiting: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class BuyerTrade:
    """One agreement in memory."""

    agreement_id: bytes
    agreement: Agreement
    lanes: list[BuyerLane]
    final: bool = False
    """Whether this side signed the final totals: no more requests are sent."""


@dataclass
class OutgoingRequest:
    """One stored (or about to be stored) request."""

    trade: BuyerTrade
    lane: BuyerLane
    request: UsageRequest
    request_hash: bytes
    signature: bytes
    wire: str
    key: str
    row: RequestColumns | None
    """The row to be stored; None once it is durable."""
    opening: str
    """``query``, ``salt`` and ``consent`` as stored JSON."""
    replaces: bool = False
    """Whether the key is taken over from a request that the node withdrew."""
    withdrawal: OutgoingWithdrawal | None = None
    along: Change | None = None
    """A change of the caller's, stored in one transaction with the record that is delivered."""
    done: asyncio.Future[CallResult] | None = None

    def payload(self) -> str:
        """The JSON to send: the request, or its withdrawal once that is signed. A withdrawal is
        sent without the consent, since it authorises nothing.
        """
        if self.withdrawal is None:
            return self.wire
        opening = json_text({**json.loads(self.opening), "consent": None})
        request = request_text(json_text(self.request.to_json()), self.signature, opening)
        signature = f"0x{self.withdrawal.signature.hex()}"
        return (
            f'{request[:-1]},"withdrawal":{self.withdrawal.text},'
            f'"withdrawalSignature":"{signature}"}}'
        )


@dataclass
class OutgoingWithdrawal:
    """A signed withdrawal of a stored request."""

    text: str
    """The statement as JSON."""
    signature: bytes
    digest: bytes
    by: str
    """``BY_CALLER`` or ``BY_NODE``."""
    stored: bool = False


class BuyerState:
    """The cache of a node's agreements as buyer. Belongs to one event loop."""

    def __init__(self, context: Context, digest: Digest) -> None:
        self._context = context
        self._digest = digest
        self._trades: dict[bytes, BuyerTrade] = {}
        self._loading = asyncio.Lock()

    async def trade(self, agreement_id: bytes) -> BuyerTrade:
        """An agreement this node buys under; ``unknown_agreement``, ``not_buyer``,
        ``agreement_not_open``, ``lane_behind_provider``, ``agreement_unrecovered``."""
        trade = self._trades.get(agreement_id)
        if trade is not None:
            return trade
        async with self._loading:
            trade = self._trades.get(agreement_id)
            if trade is None:
                trade = await asyncio.to_thread(self._load, agreement_id)
                await require_synchronised(
                    self._context,
                    agreement_id,
                    trade.agreement,
                    last={lane.number: _last_position(lane) for lane in trade.lanes},
                    digest=self._digest,
                )
                self._trades[agreement_id] = trade
        return trade

    def _load(self, agreement_id: bytes) -> BuyerTrade:
        signed = agreements.load(self._context, agreement_id)
        if signed.side != AgreementSide.BUYER:
            raise Forbidden("not_buyer", "This organisation is not the agreement's buyer.")
        if not agreements.proved_state(self._context, agreement_id).opened_at:
            raise Conflict(
                "agreement_not_open",
                "The agreement is not open on the chain yet.",
                hint="Wait for its opening.",
            )
        trade = BuyerTrade(
            agreement_id,
            signed.agreement,
            [BuyerLane(number) for number in range(signed.agreement.lanes)],
        )
        with self._context.database.read() as session:
            require_recovered(session, agreement_id)
            trade.final = is_final(session, agreement_id)
            for number, row in last_calls(session, BUYER, agreement_id).items():
                self._restore(session, trade, trade.lanes[number], row)
        return trade

    def _restore(self, session: Session, trade: BuyerTrade, lane: BuyerLane, row: Row[Any]) -> None:
        """Set a lane's state from its last row, which may be an unanswered request."""
        if row.status not in (CallStatus.ASKED, CallStatus.CONFLICT):
            lane.state = lane_state_of(row)
            return
        previous = call_at(session, BUYER, trade.agreement_id, lane.number, row.seq - 1)
        lane.state = lane_state_of(previous) if previous is not None else LaneState()
        lane.outstanding = OutgoingRequest(
            trade=trade,
            lane=lane,
            request=UsageRequest.from_json(json.loads(row.request)),
            request_hash=row.request_hash,
            signature=row.request_signature,
            wire=request_text(row.request, row.request_signature, row.query),
            key=row.idempotency_key or "",
            row=None,
            opening=row.query,
            withdrawal=self._stored_withdrawal(row),
        )
        if row.status == CallStatus.CONFLICT:
            lane.halted = row.reason

    def _stored_withdrawal(self, row: Row[Any]) -> OutgoingWithdrawal | None:
        if row.withdrawal is None:
            return None
        digest = self._digest(RequestWithdrawal.from_json(json.loads(row.withdrawal)).struct_hash())
        return OutgoingWithdrawal(
            row.withdrawal, row.withdrawal_signature, digest, row.withdrawn_by, stored=True
        )


def _last_position(lane: BuyerLane) -> int:
    """The last position for which this node signed a request."""
    return lane.outstanding.request.seq if lane.outstanding else lane.state.seq
