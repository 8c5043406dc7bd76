"""The metering services other packages use: serving and calling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chain.context import Context
from chain.statements import Voucher
from exchange.metering.buyer import Buyer
from exchange.metering.gateway import Gateway
from exchange.metering.model import CallResult, Query


async def serve(context: Context, caller: str, requests: Sequence[Any]) -> list[Any]:
    """Serve requests of one member's node: an answer each, in order; text answers are final bytes."""
    return await Gateway.of(context).serve(caller, requests)


async def call(context: Context, agreement_id: bytes, query: Query, *, idempotency_key: str | None = None) -> CallResult:
    """Make a metered call under an agreement of this organisation."""
    return await Buyer.of(context).call(agreement_id, query, idempotency_key)


async def take_voucher(context: Context, caller: str, voucher: Voucher, signature: bytes) -> None:
    """Take a buyer's closing voucher."""
    await Gateway.of(context).take_voucher(caller, voucher, signature)


async def close_lanes(context: Context, agreement_id: bytes) -> list[dict[str, Any]]:
    """Sign closing vouchers for every used lane of an agreement this organisation buys under."""
    return await Buyer.of(context).close_lanes(agreement_id)
