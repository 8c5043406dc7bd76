"""Transactions to send to the chain, stored with the domain change that causes them.

``enqueue`` runs inside the caller's database transaction, so a change and its transaction are both
stored or both rolled back. One ``OutboxWorker`` for each sending key, in its own process, signs and
sends them; see ``chain.outbox.worker``.
"""

from chain.outbox.rules import Priority
from chain.outbox.store import (
    Backlog,
    OperationStatus,
    arguments_of,
    backlog,
    cancel,
    enqueue,
    is_known,
    last_refusal,
    next_attempt,
    outcome,
    owed,
    queued,
    refused,
    unfinished,
    unfinished_mark,
    wait,
    worker_seen_at,
)
from chain.outbox.worker import OutboxWorker

__all__ = [
    "Backlog",
    "OperationStatus",
    "OutboxWorker",
    "Priority",
    "arguments_of",
    "backlog",
    "cancel",
    "enqueue",
    "is_known",
    "last_refusal",
    "next_attempt",
    "outcome",
    "owed",
    "queued",
    "refused",
    "unfinished",
    "unfinished_mark",
    "wait",
    "worker_seen_at",
]
