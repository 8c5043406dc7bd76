"""How the exchange queues its calls of TradeSettlement: each under an operation id that makes it
idempotent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from chain.context import Context
from chain.outbox import Priority, enqueue, is_known, next_attempt

CONTRACT = "TradeSettlement"
_URGENT = ("claimRequests", "claimVouchers", "giveNotice", "closeCooperatively")
"""Their delay costs money: a window runs out, or does not begin."""


def send(
    context: Context, session: Session, operation: str, function: str, arguments: Sequence[Any]
) -> str:
    """Queue a call under its operation id, or under the next of its series if the chain refused it
    before; returns the id.
    """
    sent = next_attempt(session, operation)
    enqueue(
        session,
        sender=context.transaction_address,
        operation_id=sent,
        contract=CONTRACT,
        function=function,
        arguments=arguments,
        priority=Priority.URGENT if function in _URGENT else Priority.NORMAL,
    )
    return sent


def last_sent(session: Session, operation: str) -> str | None:
    """The last call of an operation's series; None if this node has sent none."""
    sent = next_attempt(session, operation)
    return sent if is_known(session, sent) else None
