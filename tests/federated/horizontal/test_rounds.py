"""Secure aggregation over channels: the same sums, members that vanish, members that send nonsense."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from federated.channel import Channel, Field
from federated.errors import PeerFault
from federated.horizontal.rounds import Sum, aggregate, contribute
from federated.horizontal.secagg import Terms
from federated.local import run_local
from federated.session import Session

NAMES = ("a", "b", "c", "d")
TERMS = Terms("job/1", NAMES, 1000, 10**6)
VECTORS = {name: np.random.default_rng(place).integers(-(10**6), 10**6, 1000) for place, name in enumerate(NAMES)}
KINDS = ("secagg/keys", "secagg/shares", "secagg/masked", "secagg/confirm", "secagg/reveal")
SEEDS = {name: bytes([place]) * 32 for place, name in enumerate(("server", *NAMES))}

Alter = Callable[[str, dict[str, Any]], dict[str, Any] | None]


class Vanish(Exception):
    """This member goes, without a word."""


class AlteredChannel(Channel):
    """A channel whose owner changes what it sends; None: it vanishes instead."""

    alter: Alter

    async def send(self, kind: str, **fields: Field) -> None:
        changed = self.alter(kind, dict(fields))
        if changed is None:
            raise Vanish
        await super().send(kind, **changed)


def run(altered: dict[str, Alter], terms: Terms = TERMS) -> Sum:
    """All parties in one process; these ones alter what they send."""

    def member(name: str) -> Callable[[Session], Awaitable[Sum | None]]:
        async def role(session: Session) -> None:
            if name in altered:
                channel = session.channels["server"]
                channel.__class__ = AlteredChannel
                channel.alter = altered[name]  # type: ignore[attr-defined]
            with suppress(Vanish):
                await contribute(session, "server", terms, VECTORS[name])

        return role

    async def server(session: Session) -> Sum | None:
        return await aggregate(session, terms)

    result = run_local({"server": server, **{name: member(name) for name in NAMES}}, seeds=SEEDS)["server"]
    assert result is not None
    return result


def vanish_at(kind: str) -> Alter:
    return lambda sent, fields: None if sent == kind else fields


def test_the_sum_over_channels_is_exact() -> None:
    result = run({})
    assert result.survivors == NAMES
    assert np.array_equal(result.total, sum(VECTORS.values()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_that_vanishes_is_left_out_from_there_on(kind: str) -> None:
    result = run({"b": vanish_at(kind)})
    survivors = NAMES if kind in ("secagg/confirm", "secagg/reveal") else ("a", "c", "d")
    assert result.survivors == survivors
    assert np.array_equal(result.total, sum(VECTORS[name] for name in survivors))


@pytest.mark.parametrize("kind", KINDS)
def test_too_few_members_over_channels_end_the_sum(kind: str) -> None:
    with pytest.raises(PeerFault, check=lambda error: error.code == "too_few_members"):
        run({"b": vanish_at(kind), "c": vanish_at(kind)})


def change(kind: str, **changed: Any) -> Alter:
    return lambda sent, fields: {**fields, **changed} if sent == kind else fields


ROWS = np.zeros((3, 82), np.uint8)


@pytest.mark.parametrize(
    ("alter", "code"),
    [
        (change("secagg/keys", advert=bytes(10)), "message_malformed"),
        (change("secagg/shares", rows=ROWS[:, :80]), "message_malformed"),
        (change("secagg/shares", members=["a", "c"]), "message_malformed"),
        (change("secagg/shares", members="acd"), "message_malformed"),
        (change("secagg/shares", members=["a", "a", "c"]), "message_malformed"),
        (change("secagg/shares", members=["a", "c", "z"]), "members_wrong"),
        (change("secagg/shares", members=["a", "c", "b"]), "members_wrong"),
        (change("secagg/shares", rows=ROWS), "shares_altered"),
        (change("secagg/masked", elements=np.zeros(999, np.uint64)), "message_malformed"),
        (change("secagg/masked", elements=np.zeros(1000, np.float64)), "message_malformed"),
        (change("secagg/masked", elements=np.zeros(1000, np.uint64)), "sum_out_of_range"),
        (change("secagg/confirm", rows=np.zeros((3, 32), np.uint8)), "survivors_differ"),
        (change("secagg/reveal", rows=np.zeros((4, 33), np.uint8)), "share_wrong"),
    ],
)
def test_a_member_that_sends_nonsense_ends_the_sum_with_a_code(alter: Alter, code: str) -> None:
    with pytest.raises(PeerFault, check=lambda error: error.code == code):
        run({"b": alter})


def test_a_long_vector_goes_in_pieces() -> None:
    length = (1 << 22) + 5
    terms = Terms("job/long", NAMES[:3], length, 7, 32)

    def member(place: int) -> Callable[[Session], Awaitable[Sum | None]]:
        async def role(session: Session) -> None:
            await contribute(session, "server", terms, np.full(length, place + 1))

        return role

    async def server(session: Session) -> Sum | None:
        return await aggregate(session, terms)

    result = run_local({"server": server, **{name: member(place) for place, name in enumerate(NAMES[:3])}})["server"]
    assert result is not None
    assert result.total.shape == (length,)
    assert (result.total == 6).all()
