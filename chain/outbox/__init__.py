"""Transactions that are owed to the chain: queued with the domain change that causes them, sent
once, accounted for.

``enqueue`` runs inside the caller's database transaction, so a change and its transaction are both
kept or both lost. One ``OutboxWorker`` a sending key, in a process of its own, does the rest; see
``chain.outbox.worker``.
"""

from chain.outbox.rules import Priority
from chain.outbox.store import (
    Backlog,
    OperationStatus,
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
    wait,
    worker_seen_at,
)
from chain.outbox.worker import OutboxWorker

__all__ = [
    "Backlog",
    "OperationStatus",
    "OutboxWorker",
    "Priority",
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
    "wait",
    "worker_seen_at",
]
