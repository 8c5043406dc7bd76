"""Cosigns other members' logs. A member that cannot be reached, answers nonsense or shows a fork is
reported; the others are witnessed all the same, at the same time.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from chain.context import Context
from chain.errors import QiaolianError
from registry import fanout
from registry.evidence import service

log = logging.getLogger("qiaolian.witness")

ROUND_SECONDS = 15.0
"""How long one member's log may take in a round; what was copied of it by then stays."""


class WitnessWorker:
    """A round looks at every member's newest head once."""

    def __init__(self, context: Context, members: Sequence[str]) -> None:
        self._context = context
        self._members = tuple(members)
        self._reported: dict[str, str] = {}

    async def round(self) -> None:
        """Witness each member; a failure is logged when it is another one than before."""
        outcomes = await fanout.for_each(self._members, self._witness, seconds=ROUND_SECONDS)
        for member, outcome in outcomes.items():
            if isinstance(outcome, QiaolianError):
                self._report(member, outcome)
            else:
                self._reported.pop(member, None)

    async def _witness(self, member: str) -> int | None:
        return await service.witness(self._context, member)

    def _report(self, member: str, error: QiaolianError) -> None:
        if self._reported.get(member) == error.code:
            return
        self._reported[member] = error.code
        fields = {"peer": member, "code": error.code}
        log.warning("a member's log was not cosigned: %s", error.sentence, extra=fields)
