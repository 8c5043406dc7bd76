"""What both sides do when they sign final totals: run to the end, and store them with their
vouchers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from chain.context import Context
from exchange.closing import totals
from exchange.closing.model import StoredSettlement
from exchange.metering import service as metering
from exchange.metering.model import ClosingVoucher

T = TypeVar("T")


def store_signed(
    context: Context,
    session: Session,
    signed: StoredSettlement,
    vouchers: Sequence[ClosingVoucher],
) -> None:
    """Store final totals and vouchers, and record all of them in this node's log."""
    totals.record(context, session, signed)
    for voucher in vouchers:
        metering.record_voucher(context, session, voucher, at=signed.at)


async def uncancelled(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end even if the caller goes away: memory and database must agree on whether lanes
    are closed.
    """
    return await asyncio.shield(asyncio.ensure_future(work))
