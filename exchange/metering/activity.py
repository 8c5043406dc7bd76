"""Which agreements served a call or took a voucher lately, so that the claim worker looks at these
and not at all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from chain.context import Context


class Activity:
    """The agreements that changed since they were last taken. Thread-safe; a hint that a restart
    may lose.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed: set[bytes] = set()

    @classmethod
    def of(cls, context: Context) -> Activity:
        """The node's one."""
        return context.services.get(cls, cls)

    def note(self, agreement_ids: Iterable[bytes]) -> None:
        """Something under these agreements is durable now."""
        with self._lock:
            self._changed.update(agreement_ids)

    def take(self) -> set[bytes]:
        """What changed since the last call."""
        with self._lock:
            changed, self._changed = self._changed, set()
        return changed
