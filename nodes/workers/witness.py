"""Cosigns other members' logs. A member that cannot be reached or shows a fork is reported; the others are witnessed
all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from chain.context import Context
from chain.errors import QiaolianError
from registry.evidence import service

log = logging.getLogger("qiaolian.witness")


class WitnessWorker:
    """A round looks at every member's newest head once."""

    def __init__(self, context: Context, members: Sequence[str]) -> None:
        self._context = context
        self._members = tuple(members)
        self._told: dict[str, str] = {}

    async def round(self) -> None:
        """Witness each member; a failure is logged when it is another one than before."""
        for member in self._members:
            try:
                await service.witness(self._context, member)
                self._told.pop(member, None)
            except QiaolianError as error:
                if self._told.get(member) != error.code:
                    self._told[member] = error.code
                    fields = {"peer": member, "code": error.code}
                    log.warning("a member's log was not cosigned: %s", error.sentence, extra=fields)
