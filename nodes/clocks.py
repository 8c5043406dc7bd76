"""Judges from measured offsets which clock is wrong. Pure: no clock, network or database.

Tokens between nodes are valid for seconds, and a chain view has a stale bound, so a clock that is
off stops a node's work. An offset is a clock minus another's, in seconds: this node's against the
time of the blocks, which the validators set, and against the ``Date`` of peers' answers. Each comes
with the tolerance of its measurement taken off: it is never larger than the difference of the
clocks, and 0 where the measurement allows both clocks to be right.

The time of the blocks decides where it is known: no number of peers can then make this node take
its clock for wrong.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

LIMIT_SECONDS = 5.0
"""A clock that is further off makes tokens fail (``nodes.tokens.SKEW_SECONDS``)."""
_DATE_SECONDS = 2.0
"""A ``Date`` has whole seconds and is made again once a second."""


@dataclass(frozen=True)
class ClockStatus:
    """What the offsets say. Offsets in seconds, positive where a clock is ahead."""

    own: float | None = None
    """This node's clock against the blocks, else against most peers; None where it is unknown.
    """
    peers: Mapping[str, float] = field(default_factory=dict)
    """Clocks of members that are off, by member."""
    undecided: tuple[str, float] | None = None
    """A member whose clock differs from this node's, when nothing shows which of the two is off."""

    @property
    def own_off(self) -> bool:
        """Whether this node's clock is off."""
        return self.own is not None and abs(self.own) > LIMIT_SECONDS


def offset_to_peer(sent_at: float, received_at: float, date: bytes) -> float | None:
    """This node's clock minus the peer's, by one answer; None for a date that cannot be read."""
    try:
        made_at = parsedate_to_datetime(date.decode("ascii")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    lowest, highest = sent_at - made_at - _DATE_SECONDS, received_at - made_at
    return lowest if lowest > 0 else min(highest, 0.0)


def judge(block: float | None, peers: Mapping[str, float]) -> ClockStatus:
    """Whose clock is off.

    Args:
        block: this node's offset to the time of the blocks; None where the chain makes none by
            itself.
        peers: this node's offsets to other members' clocks.
    """
    if block is None and len(peers) < 2:
        apart = [
            (member, offset) for member, offset in peers.items() if abs(offset) > LIMIT_SECONDS
        ]
        return ClockStatus(undecided=apart[0] if apart else None)
    # A chain node that lags behind looks like a clock that is ahead.
    doubtful = block is None or (block > LIMIT_SECONDS and len(peers) > 1)
    own = _majority(list(peers.values())) if block is None or doubtful else block
    off = {
        member: own - offset
        for member, offset in peers.items()
        if abs(own - offset) > LIMIT_SECONDS
    }
    return ClockStatus(own=own, peers=off)


def _majority(offsets: Sequence[float]) -> float:
    """The offset that more than half of the peers show at least; a tie speaks for this node's
    clock.
    """
    return min(statistics.median_low(offsets), statistics.median_high(offsets), key=abs)


def shown(offset: float) -> str:
    """``600 s ahead`` or ``600 s behind``."""
    return f"{abs(offset):.0f} s {'ahead' if offset > 0 else 'behind'}"
