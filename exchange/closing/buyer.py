"""The buyer's side of a cooperative closing: sign the final totals, and have the provider sign."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.crypto import recover
from chain.core.errors import BadInput, Conflict, Forbidden, NotFound, QiaolianError
from chain.statements.trade import Agreement
from exchange.agreements import service as agreements
from exchange.agreements.model import SignedAgreement
from exchange.closing import peers, totals
from exchange.closing.calls import queue_closing
from exchange.closing.model import FinalState, StoredSettlement
from exchange.closing.rules import closing_records, final_settlement, require_closable
from exchange.closing.signing import store_signed
from exchange.metering.buyer import Buyer
from exchange.metering.buyer_rules import closing_voucher
from exchange.metering.buyer_state import BuyerTrade
from exchange.metering.model import ClosingVoucher, LaneState

_REFUSALS = (BadInput, Conflict, Forbidden, NotFound)
"""Errors by which the provider's node refuses to sign; after any other its answer is unknown."""


async def sign_with_provider(context: Context, signed: SignedAgreement) -> None:
    """Sign the final totals, unless they are signed already, and have the provider sign them."""
    async with _closing(context, signed.agreement_id):
        found = await asyncio.to_thread(totals.view, context, signed.agreement_id)
        if found is None or found.state == FinalState.REFUSED:
            found = await _propose(context, signed)
        if found.provider_signature is None:
            await _ask(context, signed, found)


async def ask_again(context: Context, agreement_id: bytes) -> None:
    """Send stored totals to the provider again, unless they were answered meanwhile."""
    signed = await asyncio.to_thread(agreements.load, context, agreement_id)
    async with _closing(context, agreement_id):
        found = await asyncio.to_thread(totals.view, context, agreement_id)
        if found is not None and found.state == FinalState.PROPOSED:
            await _ask(context, signed, found)


@dataclass(frozen=True)
class ClosingLocks:
    """One lock for each agreement that closes."""

    by_agreement: dict[bytes, asyncio.Lock] = field(default_factory=dict)


def _closing(context: Context, agreement_id: bytes) -> asyncio.Lock:
    """One request at a time: a late refusal of earlier totals must not reopen lanes whose later
    totals were signed.
    """
    locks = context.services.get(ClosingLocks, ClosingLocks)
    return locks.by_agreement.setdefault(agreement_id, asyncio.Lock())


async def _propose(context: Context, signed: SignedAgreement) -> StoredSettlement:
    """Close the lanes, and store the signed totals with a closing voucher for each lane."""
    agreement_id, agreement = signed.agreement_id, signed.agreement
    signer = context.pinned_signer(agreement.buyer_key)
    require_closable(agreement, await context.view.aproved(closing_records(agreement)))
    async with Buyer.of(context).idle_lanes(agreement_id) as trade:
        if any(lane.halted for lane in trade.lanes):
            raise Conflict(
                "lane_halted",
                "The provider's answers contradict this node's records in a lane; "
                "its total is not agreed.",
                hint="Give notice, and ask the arbiter or the supervisor.",
            )
        lane_states = _lane_states(trade)
        settlement = final_settlement(agreement_id, lane_states)
        vouchers = _vouchers(context, agreement, lane_states)
        proposed = StoredSettlement(
            settlement=settlement,
            state=FinalState.PROPOSED,
            buyer_signature=signer.sign(settlement, context.domain(totals.CONTRACT)),
            provider_signature=None,
            at=context.now(),
        )
        await context.database.awrite(
            lambda session: store_signed(context, session, proposed, vouchers)
        )
        trade.final = True
    return proposed


def _lane_states(trade: BuyerTrade) -> dict[int, LaneState]:
    return {lane.number: lane.state for lane in trade.lanes if lane.state.seq}


def _vouchers(
    context: Context, agreement: Agreement, lane_states: Mapping[int, LaneState]
) -> list[ClosingVoucher]:
    signer, domain = context.pinned_signer(agreement.buyer_key), context.domain(totals.CONTRACT)
    vouchers = [
        closing_voucher(agreement.struct_hash(), number, state)
        for number, state in sorted(lane_states.items())
    ]
    return [ClosingVoucher(voucher, signer.sign(voucher, domain)) for voucher in vouchers]


async def _ask(context: Context, signed: SignedAgreement, proposed: StoredSettlement) -> None:
    """Send the stored totals to the provider and store its signature, or its refusal."""
    agreement = signed.agreement
    trade = await Buyer.of(context).trade(signed.agreement_id)
    vouchers = _vouchers(context, agreement, _lane_states(trade))
    try:
        signature = await peers.countersignature(context, agreement.provider, proposed, vouchers)
    except _REFUSALS as error:
        await _refused(context, signed.agreement_id, trade, error)
        raise
    digest = proposed.settlement.digest(context.domain(totals.CONTRACT))
    if recover(digest, signature) != agreement.provider_key:
        raise Conflict(
            "answer_wrong_signer", "The final totals are not signed by the key the agreement pins."
        )

    def change(session: Session) -> None:
        stored = totals.change(
            session, signed.agreement_id, lambda found: _with_signature(found, signature)
        )
        queue_closing(context, session, agreement, stored)

    await context.database.awrite(change)


def _with_signature(found: StoredSettlement, signature: bytes) -> StoredSettlement:
    state = FinalState.SIGNED if found.state == FinalState.PROPOSED else found.state
    return replace(found, provider_signature=signature, state=state)


async def _refused(
    context: Context, agreement_id: bytes, trade: BuyerTrade, error: QiaolianError
) -> None:
    """The provider did not sign: the lanes take calls again."""

    def refuse(found: StoredSettlement) -> StoredSettlement:
        if found.state != FinalState.PROPOSED:
            return found
        return replace(found, state=FinalState.REFUSED, reason=error.code)

    await context.database.awrite(lambda session: totals.change(session, agreement_id, refuse))
    trade.final = False
