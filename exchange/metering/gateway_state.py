"""Agreements that this node provides under, cached in memory.

An agreement is loaded on first use: lane states, totals, grant quota, the asset's source and
masking. The cache is updated only after commit. Each lane has a lock; whoever changes the lane
holds it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Forbidden
from chain.keys.files import Secp256k1Signer
from chain.statements.trade import Agreement
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide
from exchange.closing.totals import is_final
from exchange.metering.authorisation import Rights
from exchange.metering.gateway_rules import UnknownSubjects
from exchange.metering.gateway_store import counted_uses, stored_answer
from exchange.metering.model import (
    AgreementTotals,
    GatewayLimits,
    GrantQuota,
    LaneState,
)
from exchange.metering.recovery import require_recovered
from exchange.metering.store import (
    GATEWAY,
    call_at,
    lane_state_of,
    last_calls,
    unknown_subject_times,
)
from registry.assets import serving
from registry.grants import service as grants


def gateway_limits(context: Context) -> GatewayLimits:
    """The node's configured limits, or the defaults."""
    return context.services.get(GatewayLimits, GatewayLimits)


@dataclass
class GatewayLane:
    """One lane in memory."""

    state: LaneState = field(default_factory=LaneState)
    previous_state: LaneState = field(default_factory=LaneState)
    """The state before the last position, restored when that is voided."""
    stored_answer: str | None = None
    """The last answer, byte for byte; None once it is acknowledged by a closing voucher."""
    status: str = ""
    """``CallStatus`` of the last position."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class GatewayTrade:
    """One agreement in memory, with all that serving it needs."""

    agreement_id: bytes
    agreement: Agreement
    signer: Secp256k1Signer
    """The provider's key that the agreement pins."""
    rights: Rights
    served: serving.ServedVersion
    totals: AgreementTotals
    quota: GrantQuota
    """The grant's, shared by all its agreements."""
    unknown: UnknownSubjects
    """The grant's, shared by all its agreements."""
    lanes: dict[int, GatewayLane]
    final: bool = False
    """Whether both sides signed the final totals: no more calls are served."""

    def lane(self, number: int) -> GatewayLane:
        """The lane of that number; a new one if it was never used."""
        lane = self.lanes.get(number)
        if lane is None:
            lane = self.lanes[number] = GatewayLane()
        return lane


class GatewayState:
    """The cache of a node's agreements as provider. Belongs to one event loop."""

    def __init__(self, context: Context) -> None:
        self.limits = gateway_limits(context)
        self.context = context
        self._trades: dict[bytes, GatewayTrade] = {}
        self._quotas: dict[bytes, GrantQuota] = {}
        """By grant."""
        self._unknown: dict[bytes, UnknownSubjects] = {}
        """By grant."""
        self._loading = asyncio.Lock()

    async def trade(self, agreement_id: bytes) -> GatewayTrade:
        """An agreement this node provides under; ``unknown_agreement``, ``not_provider``,
        ``agreement_unrecovered``, ``pinned_key_not_held``."""
        trade = self._trades.get(agreement_id)
        if trade is not None:
            return trade
        async with self._loading:
            trade = self._trades.get(agreement_id)
            if trade is None:
                trade = await asyncio.to_thread(self._load, agreement_id)
                self._trades[agreement_id] = trade
        return trade

    def _load(self, agreement_id: bytes) -> GatewayTrade:
        signed = agreements.load(self.context, agreement_id)
        if signed.side != AgreementSide.PROVIDER or signed.terms is None:
            raise Forbidden("not_provider", "This node is not the agreement's provider.")
        agreement = signed.agreement
        with self.context.database.read() as session:
            require_recovered(session, agreement_id)
            final = is_final(session, agreement_id)
            lanes = {
                number: _load_lane(session, row)
                for number, row in last_calls(session, GATEWAY, agreement_id).items()
            }
            quota = self._quota(session, agreement.grant_id)
            unknown = self._unknown_subjects(session, agreement.grant_id)
        totals = AgreementTotals(
            units=sum(lane.state.units for lane in lanes.values()),
            amount=sum(lane.state.amount for lane in lanes.values()),
        )
        served = serving.served_version(self.context, agreement.asset_id, agreement.asset_version)
        columns = grants.load(self.context, agreement.grant_id).columns
        rights = Rights(
            agreement_id, agreement, signed.terms, columns, served.masking, served.purposes
        )
        return GatewayTrade(
            agreement_id=agreement_id,
            agreement=agreement,
            signer=self.context.pinned_signer(agreement.provider_key),
            rights=rights,
            served=served,
            totals=totals,
            quota=quota,
            unknown=unknown,
            lanes=lanes,
            final=final,
        )

    def _quota(self, session: Session, grant_id: bytes) -> GrantQuota:
        """A grant's uses, counted from the receipts on first use."""
        return self._quotas.setdefault(grant_id, GrantQuota(counted_uses(session, grant_id)))

    def _unknown_subjects(self, session: Session, grant_id: bytes) -> UnknownSubjects:
        """A grant's refusals of unknown subjects, loaded from the receipts on first use so that
        they survive a restart.
        """
        unknown = self._unknown.get(grant_id)
        if unknown is None:
            since = self.context.now() - self.limits.unknown_seconds
            times = unknown_subject_times(
                session, grant_id, since=since, limit=self.limits.unknown_subjects
            )
            unknown = UnknownSubjects.of(self.limits, times)
            unknown = self._unknown.setdefault(grant_id, unknown)
        return unknown


def _load_lane(session: Session, row: Row[Any]) -> GatewayLane:
    """A lane from its last row."""
    previous = call_at(session, GATEWAY, row.agreement_id, row.lane, row.seq - 1)
    return GatewayLane(
        state=lane_state_of(row),
        previous_state=lane_state_of(previous) if previous is not None else LaneState(),
        stored_answer=stored_answer(session, row.agreement_id, row.lane, row.seq),
        status=row.status,
    )
