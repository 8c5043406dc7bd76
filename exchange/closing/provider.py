"""The provider's side of a cooperative closing: compare the buyer's final totals with this node's
receipts, and sign them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.crypto import recover
from chain.core.errors import BadInput, Conflict, Forbidden
from chain.statements.trade import Agreement, FinalSettlement
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide, SignedAgreement
from exchange.closing import totals
from exchange.closing.calls import queue_closing
from exchange.closing.model import FinalState, StoredSettlement
from exchange.closing.rules import closing_records, require_closable, require_final_settlement
from exchange.closing.signing import store_signed, uncancelled
from exchange.metering import service as metering
from exchange.metering.gateway import Gateway
from exchange.metering.model import ClosingVoucher, LaneState
from exchange.metering.rules import require_voucher


async def countersign(
    context: Context,
    caller: str,
    settlement: FinalSettlement,
    signature: bytes,
    vouchers: Sequence[ClosingVoucher],
) -> bytes:
    """This provider's signature of the buyer's final totals if they are those of its receipts; the
    same totals get the same signature.

    Raises:
        Forbidden: ``not_provider``, ``not_buyer``, ``wrong_signer``;
        BadInput: ``wrong_version``, ``vouchers_differ``;
        Conflict: ``final_totals_differ``, ``final_settlement_exists``, ``agreement_not_open``,
            ``agreement_is_closed``, ``key_ended``; Unavailable: ``chain_view_stale``,
            ``pinned_key_not_held``.
    """
    signed = await asyncio.to_thread(agreements.load, context, settlement.agreement_id)
    _require_proposal(context, caller, signed, settlement, signature)
    return await uncancelled(_countersign(context, signed, settlement, signature, vouchers))


def _require_proposal(
    context: Context,
    caller: str,
    signed: SignedAgreement,
    settlement: FinalSettlement,
    signature: bytes,
) -> None:
    agreement = signed.agreement
    if signed.side != AgreementSide.PROVIDER:
        raise Forbidden("not_provider", "This node is not the agreement's provider.")
    if caller != agreement.buyer:
        raise Forbidden("not_buyer", "The final totals are not from the agreement's buyer.")
    if settlement.version != 1:
        raise BadInput(
            "wrong_version", "The final settlement is of a version this node does not know."
        )
    digest = settlement.digest(context.domain(totals.CONTRACT))
    if recover(digest, signature) != agreement.buyer_key:
        raise Forbidden(
            "wrong_signer", "The final totals are not signed by the key the agreement pins."
        )


async def _countersign(
    context: Context,
    signed: SignedAgreement,
    settlement: FinalSettlement,
    signature: bytes,
    vouchers: Sequence[ClosingVoucher],
) -> bytes:
    gateway = Gateway.of(context)
    trade = await gateway.trade(signed.agreement_id)
    async with gateway.paused(trade) as lane_states:
        found = await asyncio.to_thread(totals.view, context, signed.agreement_id)
        if found is None:
            trade.final = True
            try:
                found = await _sign(context, signed, settlement, signature, vouchers, lane_states)
            except BaseException:
                stored = await asyncio.to_thread(totals.view, context, signed.agreement_id)
                trade.final = stored is not None
                raise
            for lane in trade.lanes.values():
                lane.stored_answer = None
        elif found.settlement != settlement:
            raise Conflict(
                "final_settlement_exists",
                "Other final totals of the agreement are signed already.",
                hint="The chain closes the agreement by those.",
            )
    assert found.provider_signature is not None
    return found.provider_signature


async def _sign(
    context: Context,
    signed: SignedAgreement,
    settlement: FinalSettlement,
    signature: bytes,
    vouchers: Sequence[ClosingVoucher],
    lane_states: Mapping[int, LaneState],
) -> StoredSettlement:
    """Check and store everything in one transaction; the lanes are held."""
    agreement = signed.agreement
    signer = context.pinned_signer(agreement.provider_key)
    require_closable(agreement, await context.view.aproved(closing_records(agreement)))
    require_final_settlement(settlement, lane_states)
    _require_vouchers(context, agreement, lane_states, vouchers)
    stored = StoredSettlement(
        settlement=settlement,
        state=FinalState.SIGNED,
        buyer_signature=signature,
        provider_signature=signer.sign(settlement, context.domain(totals.CONTRACT)),
        at=context.now(),
    )

    def change(session: Session) -> None:
        store_signed(context, session, stored, vouchers)
        metering.erase_answers(session, signed.agreement_id)
        queue_closing(context, session, agreement, stored)

    await context.database.awrite(change)
    return stored


def _require_vouchers(
    context: Context,
    agreement: Agreement,
    lane_states: Mapping[int, LaneState],
    vouchers: Sequence[ClosingVoucher],
) -> None:
    """One closing voucher for every used lane: it names the lane's last receipt, which the totals
    do not.
    """
    if sorted(signed.voucher.lane for signed in vouchers) != sorted(lane_states):
        raise BadInput(
            "vouchers_differ",
            "The final totals come without a closing voucher for every used lane.",
        )
    domain = context.domain(totals.CONTRACT)
    for signed in vouchers:
        if signed.voucher.agreement_id != agreement.struct_hash():
            raise BadInput("vouchers_differ", "A closing voucher is of another agreement.")
        if recover(signed.voucher.digest(domain), signed.signature) != agreement.buyer_key:
            raise Forbidden(
                "wrong_signer", "A voucher is not signed by the key the agreement pins."
            )
        require_voucher(agreement, lane_states[signed.voucher.lane], signed.voucher)
