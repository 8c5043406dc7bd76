"""SecureBoost: trees over columns of several parties, grown on encrypted gradients.

``BOOSTING`` is the protocol a job names. Rooms within: ``trees`` and ``cuts`` (arithmetic without I/O), ``he`` (encryption), ``packing``, ``terms``,
``messages``; ``active`` and ``passive`` are the two sides. What each learns: ``docs/protocols/boosting.md``.
"""

from federated.boosting.protocol import BOOSTING

__all__ = ["BOOSTING"]
