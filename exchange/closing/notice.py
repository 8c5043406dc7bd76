"""Closing by one side: acknowledge everything, give notice, close after the window."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from chain.context import Context
from chain.core.errors import Forbidden
from chain.ethereum.proved_records import agreement_records
from chain.statements.trade import Agreement
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide
from exchange.agreements.rules import require_running
from exchange.closing import peers
from exchange.closing.rules import require_window_over
from exchange.metering import service as metering
from exchange.metering.model import ClosingVoucher
from exchange.settlement.calls import last_sent, send


@dataclass(frozen=True, slots=True)
class PartyCall:
    """A contract call that either party may send."""

    operation: str | None
    """This node's own call; None if another party sent it."""
    done_at: int | None = None
    """The height at which the chain had it before; then nothing was sent now."""


async def acknowledge_all(context: Context, agreement_id: bytes) -> Sequence[ClosingVoucher]:
    """Send the provider a closing voucher for every used lane; ``not_buyer``."""
    signed = await asyncio.to_thread(agreements.load, context, agreement_id)
    if signed.side != AgreementSide.BUYER:
        raise Forbidden("not_buyer", "Only the buyer sends closing vouchers.")
    vouchers = await metering.close_lanes(context, agreement_id)
    if vouchers:
        await peers.send_vouchers(context, signed.agreement.provider, vouchers)
    return vouchers


def give_notice(context: Context, agreement_id: bytes) -> PartyCall:
    """Give notice: gateways stop once it is on the chain, and the closing window begins. If notice
    was given before, nothing is sent.

    Raises:
        Forbidden: ``not_party``; Conflict: ``agreement_not_open``, ``agreement_is_closed``;
            Unavailable: ``chain_view_stale``.
    """
    agreement = _of_party(context, agreement_id)
    state = agreements.proved_state(context, agreement_id)
    require_running(state)
    if state.notice_at:
        return _sent_before(context, "notice", agreement_id, done_at=state.notice_at)
    return _queue(context, agreement, "notice", "giveNotice")


def close(context: Context, agreement_id: bytes) -> PartyCall:
    """Close and refund the rest once the window has passed in the node's view. If the agreement is
    closed, nothing is sent.

    Raises:
        Forbidden: ``not_party``; Conflict: ``agreement_not_open``, ``no_notice``, ``window_open``;
            Unavailable: ``chain_view_stale``.
    """
    agreement = _of_party(context, agreement_id)
    records = context.view.proved(agreement_records(agreement_id))
    closed_at = records.agreement(agreement_id).closed_at
    if closed_at:
        return _sent_before(context, "close", agreement_id, done_at=closed_at)
    require_window_over(agreement, records)
    return _queue(context, agreement, "close", "close")


def _of_party(context: Context, agreement_id: bytes) -> Agreement:
    signed = agreements.load(context, agreement_id)
    if signed.side == AgreementSide.OBSERVER:
        raise Forbidden("not_party", "This organisation is no party of the agreement.")
    return signed.agreement


def _queue(context: Context, agreement: Agreement, name: str, function: str) -> PartyCall:
    operation = f"{name}/{agreement.struct_hash().hex()}"
    return PartyCall(
        context.database.write(
            lambda session: send(context, session, operation, function, [agreement])
        )
    )


def _sent_before(context: Context, name: str, agreement_id: bytes, *, done_at: int) -> PartyCall:
    with context.database.read() as session:
        return PartyCall(last_sent(session, f"{name}/{agreement_id.hex()}"), done_at)
