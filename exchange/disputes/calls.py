"""How disputes queue their calls of TradeDisputes: urgent, since each step has a deadline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from chain.context import Context
from chain.outbox import Priority, enqueue, next_attempt

CONTRACT = "TradeDisputes"


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
        priority=Priority.URGENT,
    )
    return sent
