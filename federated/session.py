"""What a party's role in a protocol is given, and all it may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from federated.channel import Channel
from federated.randomness import Randomness


def _quiet(_stage: str, _done: float) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class Session:
    """One party's end of a running job.

    A role function is ``async (session, input, parameters) -> result``. It draws only from ``randomness``, reads no clock and opens no file:
    the same input, seed and received messages give the same sent messages and the same result.
    """

    party: str
    channels: Mapping[str, Channel]
    randomness: Randomness
    progress: Callable[[str, float], None] = _quiet  # (stage, share done from 0 to 1)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to(self, peer: str) -> Channel:
        """The channel to a peer."""
        return self.channels[peer]
