"""Requests about final totals to the other party's node, and how its answers are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chain.context import Context
from chain.core import schema
from chain.core.errors import BadInput, NotFound
from chain.statements.trade import FinalSettlement
from exchange.closing.model import FinalState, StoredSettlement
from exchange.metering.model import ClosingVoucher


async def request_closing(context: Context, buyer: str, agreement_id: bytes) -> None:
    """Ask the buyer's node to begin the closing."""
    await context.peers.post(buyer, f"/v1/peer/agreements/0x{agreement_id.hex()}/closing", {})


async def send_vouchers(
    context: Context, provider: str, vouchers: Sequence[ClosingVoucher]
) -> None:
    """Send the provider closing vouchers; raises what it refuses with."""
    body = {"vouchers": [voucher.to_json() for voucher in vouchers]}
    await context.peers.post(provider, "/v1/peer/vouchers", body)


async def countersignature(
    context: Context,
    provider: str,
    stored: StoredSettlement,
    vouchers: Sequence[ClosingVoucher],
) -> bytes:
    """The provider's signature of the buyer's final totals; ``field_malformed``, and what the
    provider refuses with.
    """
    body = {
        "settlement": stored.settlement.to_json(),
        "signature": "0x" + stored.buyer_signature.hex(),
        "vouchers": [voucher.to_json() for voucher in vouchers],
    }
    path = f"/v1/peer/agreements/0x{stored.agreement_id.hex()}/final-settlement"
    answer = await context.peers.post(provider, path, body)
    try:
        return schema.signature(answer.get("signature") if isinstance(answer, dict) else None)
    except ValueError as error:
        raise BadInput(
            "field_malformed", "The provider's signature is not 0x hexadecimal of 65 bytes."
        ) from error


async def final_totals(
    context: Context, member: str, agreement_id: bytes
) -> StoredSettlement | None:
    """The final totals that both sides signed, as the other one shows them; None where there are
    none. Nothing of them is checked here; ``history_malformed``.
    """
    path = f"/v1/peer/agreements/0x{agreement_id.hex()}/final-settlement"
    try:
        answer = await context.peers.get(member, path)
    except NotFound:
        return None
    if not isinstance(answer, dict):
        raise _malformed()
    if answer.get("providerSignature") is None:
        return None
    return StoredSettlement(
        settlement=FinalSettlement.from_json(answer.get("settlement")),
        state=FinalState.SIGNED,
        buyer_signature=_signature(answer.get("buyerSignature")),
        provider_signature=_signature(answer.get("providerSignature")),
        at=context.now(),
    )


def _signature(value: Any) -> bytes:
    try:
        return schema.signature(value)
    except ValueError as error:
        raise _malformed() from error


def _malformed() -> BadInput:
    return BadInput("history_malformed", "What the other side shows of a lane cannot be read.")
