"""The order in which queued calls get their nonces. Pure.

1. Urgent calls go before normal ones, normal ones before bulk; within a class the oldest first.
2. Bulk calls, which strangers can cause in any number, occupy only a part of the calls in flight: a
   call in flight has a fixed nonce, so it delays every later call.
3. Every ``FAIR_SHARE``-th nonce goes to the call that has waited longest, whatever its class, so no
   class starves.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol, TypeVar

FAIR_SHARE = 4
"""One nonce of so many goes to the oldest call of all classes."""


class Priority(IntEnum):
    """How much a call's delay costs. Lower goes first."""

    URGENT = 0
    """Saves money, a right or evidence: claims, notices, revocations, holds, governance, anchors.
    """
    NORMAL = 1
    """What this organisation's own people and systems ask for."""
    BULK = 2
    """What others can cause in number: relayed consents, disputes, steps of deals."""


class WaitingCall(Protocol):
    """A queued call."""

    @property
    def id(self) -> int:
        """Its number; a lower one was queued earlier."""

    @property
    def priority(self) -> int:
        """Its class, a ``Priority``."""


C = TypeVar("C", bound=WaitingCall)


def next_calls(waiting: Sequence[C], *, nonce: int, capacity: int, bulk_capacity: int) -> list[C]:
    """The calls that get the next nonces, in order.

    Args:
        waiting: queued calls; of each class the oldest ``capacity`` are enough.
        nonce: the next nonce, which decides which positions are for the oldest call.
        room: how many more calls may be in flight.
        bulk_capacity: how many more while there is nothing but bulk.
    """
    by_class = sorted(waiting, key=lambda call: (call.priority, call.id), reverse=True)
    by_age = sorted(waiting, key=lambda call: call.id, reverse=True)
    chosen: list[C] = []
    taken: set[int] = set()
    while len(chosen) < capacity:
        _drop(by_class, taken)
        _drop(by_age, taken)
        if not by_class or (by_class[-1].priority == Priority.BULK and bulk_capacity <= 0):
            break
        fair = (nonce + len(chosen)) % FAIR_SHARE == 0
        call = (by_age if fair else by_class).pop()
        bulk_capacity -= call.priority == Priority.BULK
        taken.add(call.id)
        chosen.append(call)
    return chosen


def _drop(calls: list[C], taken: set[int]) -> None:
    """Remove the calls at the list's end that were chosen already."""
    while calls and calls[-1].id in taken:
        calls.pop()
