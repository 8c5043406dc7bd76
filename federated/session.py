"""What a party's role in a protocol is given, and all it may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from federated.channel import Channel
from federated.randomness import Randomness


def _quiet(_stage: str, _done: float) -> None:
    """Nobody watches."""


def _make(_name: str, produce: Callable[[], bytes]) -> bytes:
    """Nobody records."""
    return produce()


def _forget(_name: str, _value: bytes) -> None:
    """Nobody compares."""


@dataclass(frozen=True)
class Session:
    """One party's end of a running job.

    A role function is ``async (session, table, job) -> outcome``. It draws only from ``randomness``, reads no clock and opens no file: the same
    input, seed and received messages give the same sent messages and the same result. Where a library draws randomness of its own:

    - what it makes and is needed later (a secret key) goes through ``keep(name, produce)``: produced in the run, kept in the attempt's private
      state, given back in a replay;
    - what it sends cannot repeat: such messages' kinds begin with ``he/``, a replay does not compare them, and the role calls
      ``note(name, value)`` with the bytes that must repeat instead (decrypted values).
    """

    party: str
    channels: Mapping[str, Channel]
    randomness: Randomness
    progress: Callable[[str, float], None] = _quiet  # (stage, share done from 0 to 1)
    settings: Mapping[str, Any] = field(default_factory=dict)
    keep: Callable[[str, Callable[[], bytes]], bytes] = _make
    note: Callable[[str, bytes], None] = _forget

    def to(self, peer: str) -> Channel:
        """The channel to a peer."""
        return self.channels[peer]
