"""Base oblivious transfers of random seeds (Chou, Orlandi, LATINCRYPT 2015), semi-honest.

In each transfer the sender gets two seeds and the receiver the one that its choice bit selects;
neither learns anything else. The sender publishes A = a·G. For the bit c the receiver answers
B = b·G + c·A. The seeds are hashes of a·B and a·(B - A); the receiver can compute b·A, which is one
of the two. Each hash also takes in the session value, the transfer's number, A and B.
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


class OtSender:
    """The sender of a batch of transfers.

    ``start`` and ``finish`` are separate so that other work runs until the receiver answers.
    """

    def __init__(
        self,
        channel: Channel,
        suite: Suite,
        value: bytes,
        randomness: Randomness,
    ) -> None:
        self._channel, self._suite, self._value = channel, suite, value
        self._secret = suite.group.scalar(randomness)
        self._public = suite.group.base_times([self._secret])[0]

    async def start(self) -> None:
        """Send A."""
        await self._channel.send("ot/offer", point=self._public)

    async def finish(self, count: int) -> tuple[Seeds, Seeds]:
        """Return the seeds for the choices 0 and 1, both (count, 16).

        Raises:
            PeerFault: ``point_invalid``, ``message_malformed``.
        """
        points = _points(await self._channel.receive("ot/choice"), count, self._suite)
        return await checked(self._channel.peer, lambda: self._seeds(points))

    def _seeds(self, points: list[bytes]) -> tuple[Seeds, Seeds]:
        group = self._suite.group
        multiples = group.times(self._secret, points)
        own = group.times(self._secret, [self._public])[0]
        differences = group.subtract(own, multiples)
        return (
            _hashed(self._suite, self._value, self._public, points, multiples),
            _hashed(self._suite, self._value, self._public, points, differences),
        )


async def receive_seeds(
    channel: Channel,
    suite: Suite,
    value: bytes,
    choices: NDArray[np.uint8],
    randomness: Randomness,
) -> Seeds:
    """Return the receiver's seeds, (count, 16), for its choice bits, (count,).

    Raises:
        PeerFault: ``point_invalid``, ``message_malformed``.
    """
    public = (await channel.receive("ot/offer")).blob("point", suite.group.width)

    def answer() -> tuple[list[bytes], Seeds]:
        group = suite.group
        secrets = [group.scalar(randomness) for _ in choices]
        plain = group.base_times(secrets)
        shifted = group.add(plain, [public] * len(plain))
        pairs = zip(plain, shifted, choices.tolist(), strict=True)
        points = [second if bit else first for first, second, bit in pairs]
        return points, _hashed(suite, value, public, points, group.times_each(secrets, public))

    points, seeds = await checked(channel.peer, answer)
    await channel.send(
        "ot/choice",
        points=np.frombuffer(b"".join(points), np.uint8).reshape(len(points), -1),
    )
    return seeds


def _points(message: Message, count: int, suite: Suite) -> list[bytes]:
    return [
        point.tobytes() for point in message.array("points", "uint8", [count, suite.group.width])
    ]


def _hashed(
    suite: Suite,
    value: bytes,
    public: bytes,
    points: list[bytes],
    shared: list[bytes],
) -> Seeds:
    digests = [
        suite.digest(
            b"qiaolian.psi.v1/ot",
            value,
            number.to_bytes(4, "big"),
            public,
            point,
            secret,
        )[:SEED]
        for number, (point, secret) in enumerate(zip(points, shared, strict=True))
    ]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), SEED)


async def checked(peer: str, work: Callable[[], T]) -> T:
    """Run group operations on a peer's elements in a thread.

    Raises:
        PeerFault: ``point_invalid`` if an element is not in the group, or is the identity.
    """
    try:
        return await asyncio.to_thread(work)
    except ValueError as error:
        raise PeerFault(
            "point_invalid",
            f"{peer} sent an invalid group element: {error}.",
            peer=peer,
        ) from error
