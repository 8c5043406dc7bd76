"""A typed client of a Qiaolian node.

An *operation* describes one request and the type of its answer; a *plan* describes several that
follow from one another. Both are values without I/O. ``Client`` and ``AsyncClient`` carry them out.
"""

from qiaolian_client import calls, catalogue, credit, trade, webhooks
from qiaolian_client.asynchronous import AsyncClient
from qiaolian_client.errors import NodeRefused, NodeUnreachable, QiaolianClientError
from qiaolian_client.operation import Operation, Plan
from qiaolian_client.retry import RetryPolicy
from qiaolian_client.synchronous import Client

__all__ = [
    "AsyncClient",
    "Client",
    "NodeRefused",
    "NodeUnreachable",
    "Operation",
    "Plan",
    "QiaolianClientError",
    "RetryPolicy",
    "calls",
    "catalogue",
    "credit",
    "trade",
    "webhooks",
]
