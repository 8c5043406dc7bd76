"""The worker of webhooks, as a node's configuration asks for it."""

from __future__ import annotations

from nodes.assembly import AssembledNode
from nodes.webhooks.delivery import DeliverySettings, Sender
from nodes.webhooks.worker import WebhookWorker
from nodes.workers.changes import DatabaseChanges
from nodes.workers.scheduler import Worker


def webhook_worker(node: AssembledNode) -> Worker:
    """Runs after each change of the database, and when a retry is due."""
    config, context = node.config, node.context
    settings, authorities = config.webhooks, config.webhooks.authorities
    sender = Sender(
        DeliverySettings(
            settings.networks, None if authorities is None else config.path(authorities)
        )
    )
    worker = WebhookWorker(context, sender)
    return Worker(
        "webhooks",
        settings.seconds,
        worker.round,
        version=DatabaseChanges(context.database, context.transaction_address).version,
        has_work=lambda: worker.has_work,
    )
