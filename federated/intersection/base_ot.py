"""Base oblivious transfers of random seeds (Chou, Orlandi, LATINCRYPT 2015), for semi-honest parties.

The giver gets two seeds a transfer, the chooser the one of his choice bit; neither learns anything else. The giver shows A = a·G; for bit c the
chooser answers B = b·G + c·A; the seeds are hashes of a·B and a·(B - A), of which the chooser knows b·A. Each hash takes in the run's session
value, the transfer's number, A and B.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from federated.channel import Channel, Message
from federated.errors import PeerFault
from federated.intersection.suites import Suite
from federated.randomness import Randomness

SEED = 16  # bytes

Seeds = NDArray[np.uint8]
T = TypeVar("T")


class Giver:
    """The side with both seeds. ``start`` and ``finish`` are apart so that other work can go on while the chooser answers."""

    def __init__(self, channel: Channel, suite: Suite, value: bytes, randomness: Randomness) -> None:
        self._channel, self._suite, self._value = channel, suite, value
        self._secret = suite.group.scalar(randomness)
        self._shown = suite.group.base_times([self._secret])[0]

    async def start(self) -> None:
        """Show A."""
        await self._channel.send("ot/offer", point=self._shown)

    async def finish(self, count: int) -> tuple[Seeds, Seeds]:
        """The seeds for choices 0 and 1, each (count, 16); ``point_invalid``."""
        points = _points(await self._channel.receive("ot/choice"), count, self._suite)
        return await checked(self._channel.peer, lambda: self._seeds(points))

    def _seeds(self, points: list[bytes]) -> tuple[Seeds, Seeds]:
        group = self._suite.group
        multiples = group.times(self._secret, points)
        own = group.times(self._secret, [self._shown])[0]
        differences = group.subtract(own, multiples)
        return (
            _hashed(self._suite, self._value, self._shown, points, multiples),
            _hashed(self._suite, self._value, self._shown, points, differences),
        )


async def choose(channel: Channel, suite: Suite, value: bytes, choices: NDArray[np.uint8], randomness: Randomness) -> Seeds:
    """The chooser's side: for choice bits (count), the seeds (count, 16); ``point_invalid``."""
    shown = (await channel.receive("ot/offer")).blob("point", suite.group.width)

    def answer() -> tuple[list[bytes], Seeds]:
        group = suite.group
        secrets = [group.scalar(randomness) for _ in choices]
        plain = group.base_times(secrets)
        shifted = group.add(plain, [shown] * len(plain))
        points = [second if bit else first for first, second, bit in zip(plain, shifted, choices.tolist(), strict=True)]
        return points, _hashed(suite, value, shown, points, group.times_each(secrets, shown))

    points, seeds = await checked(channel.peer, answer)
    await channel.send("ot/choice", points=np.frombuffer(b"".join(points), np.uint8).reshape(len(points), -1))
    return seeds


def _points(message: Message, count: int, suite: Suite) -> list[bytes]:
    return [point.tobytes() for point in message.array("points", "uint8", [count, suite.group.width])]


def _hashed(suite: Suite, value: bytes, shown: bytes, points: list[bytes], shared: list[bytes]) -> Seeds:
    digests = [
        suite.digest(b"qiaolian.psi.v1/ot", value, number.to_bytes(4, "big"), shown, point, secret)[:SEED]
        for number, (point, secret) in enumerate(zip(points, shared, strict=True))
    ]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), SEED)


async def checked(peer: str, work: Callable[[], T]) -> T:
    """Group operations on a peer's elements, in a thread; ``point_invalid`` if one of them is none."""
    try:
        return await asyncio.to_thread(work)
    except ValueError as error:
        raise PeerFault("point_invalid", f"{peer} sent an element that is none: {error}.", peer=peer) from error
