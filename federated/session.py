"""The session: what a party's role function receives, and all it may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from federated.channel import Channel
from federated.randomness import Randomness


def _quiet(_stage: str, _done: float) -> None:
    """Discard progress."""


def _produce(_name: str, produce: Callable[[], bytes]) -> bytes:
    """Produce a value without storing it."""
    return produce()


def _ignore(_name: str, _value: bytes) -> None:
    """Discard a record."""


@dataclass(frozen=True)
class Session:
    """One party's end of a running job.

    A role function is ``async (session, table, job) -> result``. It draws only from ``randomness``,
    reads no clock and opens no file: the same input, seed and received messages give the same sent
    messages and the same result. Where a library draws its own randomness:

    - a value that is needed later (a secret key) goes through ``persist(name, produce)``: produced
      in
      the run, stored in the attempt's private state, and loaded in a replay;
    - sent messages cannot repeat: their kinds begin with ``he/``, a replay does not compare them,
      and
      the role calls ``record(name, value)`` with bytes that must repeat instead (decrypted values).
    """

    party: str
    channels: Mapping[str, Channel]
    randomness: Randomness
    progress: Callable[[str, float], None] = _quiet  # (stage, share done from 0 to 1)
    settings: Mapping[str, Any] = field(default_factory=dict)
    persist: Callable[[str, Callable[[], bytes]], bytes] = _produce
    record: Callable[[str, bytes], None] = _ignore

    def to(self, peer: str) -> Channel:
        """Return the channel to a peer."""
        return self.channels[peer]
