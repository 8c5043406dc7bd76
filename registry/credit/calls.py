"""Calls of CreditLedger, queued in the outbox under their operation ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from chain.context import Context
from chain.outbox import Priority, enqueue, next_attempt


def send_call(
    context: Context,
    operation: str,
    function: str,
    arguments: Sequence[Any],
    priority: Priority = Priority.NORMAL,
) -> str:
    return context.database.write(
        lambda session: enqueue_call(context, session, operation, function, arguments, priority)
    )


def enqueue_call(
    context: Context,
    session: Session,
    operation: str,
    function: str,
    arguments: Sequence[Any],
    priority: Priority = Priority.NORMAL,
    follows: str | None = None,
) -> str:
    """Queue a call and return its operation id: the next of its series after a refusal."""
    sent = next_attempt(session, operation)
    enqueue(
        session,
        sender=context.transaction_address,
        operation_id=sent,
        contract="CreditLedger",
        function=function,
        arguments=list(arguments),
        priority=priority,
        follows=follows,
    )
    return sent
