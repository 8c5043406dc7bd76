"""Cosigns other members' logs concurrently. A member that is unreachable, answers wrongly or shows
a fork is reported; the others are witnessed all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from chain.context import Context
from chain.core.errors import QiaolianError, Unavailable
from registry import fanout
from registry.evidence import witness

log = logging.getLogger("qiaolian.witness")

MAX_NAMED = 5
ROUND_SECONDS = 15.0
"""How long one member's log may take in a round; what was copied of it by then stays."""


class WitnessWorker:
    """A round looks at every member's newest head once."""

    def __init__(self, context: Context, members: Sequence[str]) -> None:
        self._context = context
        self._members = tuple(members)
        self._reported: dict[str, str] = {}

    async def round(self) -> QiaolianError | None:
        """Witness each member; a failure is logged when it is another one than before.
        ``witness_incomplete`` names the members whose logs were not cosigned.
        """
        outcomes = await fanout.for_each(self._members, self._witness, seconds=ROUND_SECONDS)
        for member, outcome in outcomes.items():
            if isinstance(outcome, QiaolianError):
                self._report(member, outcome)
            else:
                self._reported.pop(member, None)
        return _incomplete(
            {
                member: error
                for member, error in outcomes.items()
                if isinstance(error, QiaolianError)
            }
        )

    async def _witness(self, member: str) -> int | None:
        return await witness.witness(self._context, member)

    def _report(self, member: str, error: QiaolianError) -> None:
        if self._reported.get(member) == error.code:
            return
        self._reported[member] = error.code
        fields = {"peer": member, "code": error.code}
        log.warning("a member's log was not cosigned: %s", error.sentence, extra=fields)


def _incomplete(failed: dict[str, QiaolianError]) -> QiaolianError | None:
    if not failed:
        return None
    named = ", ".join(
        f"{member} ({error.code})" for member, error in list(failed.items())[:MAX_NAMED]
    )
    rest = f" and {len(failed) - MAX_NAMED} more" if len(failed) > MAX_NAMED else ""
    first = next(iter(failed.values()))
    sentence = f"The logs of these members were not cosigned: {named}{rest}. {first.sentence}"
    return Unavailable("witness_incomplete", sentence, hint=first.hint)
