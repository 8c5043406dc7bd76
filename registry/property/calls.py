"""Calls of PropertyLedger, queued in the outbox under their operation ids."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from chain.context import Context
from chain.outbox import Priority, enqueue

CONTRACT = "PropertyLedger"


def enqueue_call(
    context: Context, session: Session, operation: str, function: str, arguments: list[Any]
) -> None:
    enqueue(
        session,
        sender=context.transaction_address,
        operation_id=operation,
        contract=CONTRACT,
        function=function,
        arguments=arguments,
        priority=Priority.BULK,
    )
