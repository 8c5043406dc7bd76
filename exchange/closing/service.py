"""Ending an agreement from either side: cooperatively, or by notice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Conflict, Forbidden, QiaolianError
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide, SignedAgreement
from exchange.closing import peers, totals
from exchange.closing.buyer import sign_with_provider
from exchange.closing.calls import queue_closing, require_not_refused
from exchange.closing.model import ClosingOutcome, ClosingWay, CooperativeClosing
from exchange.closing.notice import acknowledge_all, give_notice
from exchange.closing.signing import uncancelled
from exchange.metering.model import ClosingVoucher


async def end(
    context: Context, agreement_id: bytes, *, cooperative: bool = True, notice: bool = True
) -> ClosingOutcome:
    """End an agreement: cooperatively if the other side agrees, else by notice.

    Args:
        cooperative: whether to try the cooperative way.
        notice: whether to give notice where it is not tried or fails; without it, its failure is
            raised.

    Raises:
        NotFound: ``unknown_agreement``; Forbidden: ``not_party``; Conflict: ``agreement_not_open``;
            what ``close_cooperatively`` raises, unless notice is given instead.
    """
    signed = await asyncio.to_thread(agreements.load, context, agreement_id)
    if signed.side == AgreementSide.OBSERVER:
        raise Forbidden("not_party", "This organisation is no party of the agreement.")
    state = await asyncio.to_thread(agreements.proved_state, context, agreement_id)
    if not state.opened_at:
        raise Conflict("agreement_not_open", "The agreement is not open on the chain.")
    if state.closed_at:
        found = await asyncio.to_thread(totals.view, context, agreement_id)
        return ClosingOutcome(ClosingWay.CLOSED, closed_at=state.closed_at, totals=found)
    refusal: QiaolianError | None = None
    if cooperative:
        try:
            closing = await close_cooperatively(context, signed)
            return ClosingOutcome(
                ClosingWay.COOPERATIVE, operation=closing.operation, totals=closing.totals
            )
        except QiaolianError as error:
            if not notice:
                raise
            refusal = error
    return await _end_alone(context, signed, refusal, notice=notice)


async def _end_alone(
    context: Context, signed: SignedAgreement, refusal: QiaolianError | None, *, notice: bool
) -> ClosingOutcome:
    """Acknowledge everything, as the buyer, and give notice if requested; notice does not wait for
    the provider to take the vouchers.
    """
    vouchers: Sequence[ClosingVoucher] | None = None
    vouchers_refusal: QiaolianError | None = None
    if signed.side == AgreementSide.BUYER:
        try:
            vouchers = await acknowledge_all(context, signed.agreement_id)
        except QiaolianError as error:
            if not notice:
                raise
            vouchers, vouchers_refusal = [], error
    if not notice:
        return ClosingOutcome(ClosingWay.VOUCHERS, refusal=refusal, vouchers=vouchers)
    given = await asyncio.to_thread(give_notice, context, signed.agreement_id)
    return ClosingOutcome(
        ClosingWay.NOTICE,
        operation=given.operation,
        notice_at=given.done_at,
        refusal=refusal,
        vouchers=vouchers,
        vouchers_refusal=vouchers_refusal,
    )


async def close_cooperatively(context: Context, signed: SignedAgreement) -> CooperativeClosing:
    """Sign the final totals with the other side, and queue the closing.

    Raises:
        Conflict: ``final_totals_differ``, ``lane_halted``, ``key_ended``,
            ``closing_not_begun``, ``cooperative_close_refused``; Unavailable: when the other side
            cannot be asked.
    """
    agreement_id, agreement = signed.agreement_id, signed.agreement
    if signed.side == AgreementSide.BUYER:
        await uncancelled(sign_with_provider(context, signed))
    elif (await asyncio.to_thread(totals.view, context, agreement_id)) is None:
        await peers.request_closing(context, agreement.buyer, agreement_id)
    found = await asyncio.to_thread(totals.view, context, agreement_id)
    if found is None or found.provider_signature is None:
        raise Conflict("closing_not_begun", "The other side's node did not send its final totals.")
    final = found

    def change(session: Session) -> str:
        require_not_refused(session, final)
        return queue_closing(context, session, agreement, final)

    operation = await context.database.awrite(change)
    now = await asyncio.to_thread(totals.view, context, agreement_id)
    return CooperativeClosing(operation, final if now is None else now)


async def requested(context: Context, caller: str, agreement_id: bytes) -> CooperativeClosing:
    """Begin the closing at the provider's request, at no cost; ``not_provider``."""
    signed = await asyncio.to_thread(agreements.load, context, agreement_id)
    if signed.side != AgreementSide.BUYER or caller != signed.agreement.provider:
        raise Forbidden("not_provider", "Only the agreement's provider asks its buyer to close.")
    return await close_cooperatively(context, signed)
