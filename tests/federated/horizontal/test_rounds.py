"""Secure aggregation over channels: the same sums, members that vanish, members that send
nonsense.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from federated.channel import Channel, Field
from federated.errors import PeerFault
from federated.horizontal.rounds import SecureSum, aggregate, contribute
from federated.horizontal.secagg import SecureSumTerms
from federated.horizontal.secagg_aggregator import Aggregator
from federated.horizontal.secagg_member import Member
from federated.local import run_local
from federated.session import Session

NAMES = ("a", "b", "c", "d")
TERMS = SecureSumTerms("job/1", NAMES, 1000, 10**6)
VECTORS = {
    name: np.random.default_rng(index).integers(-(10**6), 10**6, 1000)
    for index, name in enumerate(NAMES)
}
KINDS = ("secagg/keys", "secagg/shares", "secagg/masked", "secagg/confirm", "secagg/reveal")
SEEDS = {name: bytes([index]) * 32 for index, name in enumerate(("server", *NAMES))}

Alter = Callable[[str, dict[str, Any]], dict[str, Any] | None]


class Vanish(Exception):
    """This member disappears without a message."""


class AlteredChannel(Channel):
    """A channel whose owner changes what it sends; None: it vanishes instead."""

    alter: Alter

    async def send(self, kind: str, **fields: Field) -> None:
        changed = self.alter(kind, dict(fields))
        if changed is None:
            raise Vanish
        await super().send(kind, **changed)


def run(altered: dict[str, Alter], terms: SecureSumTerms = TERMS) -> SecureSum:
    """All parties in one process; these ones alter what they send."""

    def member(name: str) -> Callable[[Session], Awaitable[SecureSum | None]]:
        async def role(session: Session) -> None:
            if name in altered:
                channel = session.channels["server"]
                channel.__class__ = AlteredChannel
                channel.alter = altered[name]  # type: ignore[attr-defined]
            with suppress(Vanish):
                await contribute(session, "server", terms, VECTORS[name])

        return role

    async def server(session: Session) -> SecureSum | None:
        return await aggregate(session, terms)

    result = run_local({"server": server, **{name: member(name) for name in NAMES}}, seeds=SEEDS)[
        "server"
    ]
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


def collude(
    roster_for: Callable[[str, dict[str, bytes]], dict[str, bytes]],
    bases: dict[str, bytes],
) -> dict[str, Any]:
    """An aggregator that gives each member the keys it likes, and members with these bases: what
    outcome of each, and what the aggregator was sent.
    """

    async def server(session: Session) -> Any:
        adverts = {
            name: (await session.to(name).receive("secagg/keys")).blob("advert", 96)
            for name in NAMES
        }
        honest, sent = Aggregator(TERMS).collect_keys(adverts), []
        for name in NAMES:
            table = roster_for(name, honest)
            rows = np.frombuffer(b"".join(table.values()), np.uint8).reshape(len(table), 96)
            await session.to(name).send("secagg/roster", members=list(table), rows=rows)
        for name in NAMES:
            with suppress(PeerFault):
                sent.append((await session.to(name).receive("secagg/shares")).peer)
        return sent

    def member(name: str) -> Callable[[Session], Awaitable[Any]]:
        async def role(session: Session) -> Any:
            try:
                await contribute(
                    session,
                    "server",
                    TERMS,
                    VECTORS[name],
                    bases.get(name, bytes(32)),
                )
            except PeerFault as fault:
                return fault.code
            return None

        return role

    return run_local({"server": server, **{name: member(name) for name in NAMES}}, seeds=SEEDS)


def test_an_aggregator_that_gives_keys_of_its_own_as_the_peers_is_sent_no_share() -> None:
    made = {
        name: Member(TERMS, name, bytes([9]) * 31 + name.encode()).advertise() for name in NAMES
    }
    ends = collude(lambda name, roster: {**made, "a": roster["a"]} if name == "a" else roster, {})
    assert ends["a"] == "keys_differ"
    assert "a" not in ends["server"]


def test_one_forged_key_given_to_all_is_refused_by_all_others() -> None:
    made = Member(TERMS, "d", bytes([9]) * 32).advertise()
    ends = collude(lambda name, roster: roster if name == "d" else {**roster, "d": made}, {})
    assert [ends[name] for name in "abc"] == ["keys_differ"] * 3


def test_members_that_start_from_different_models_share_nothing() -> None:
    ends = collude(lambda name, roster: roster, {"a": b"x" * 32})
    assert {ends[name] for name in NAMES} == {"models_differ"}
    assert ends["server"] == []


def test_a_long_vector_goes_in_pieces() -> None:
    length = (1 << 22) + 5
    terms = SecureSumTerms("job/long", NAMES[:3], length, 7, 32)

    def member(index: int) -> Callable[[Session], Awaitable[SecureSum | None]]:
        async def role(session: Session) -> None:
            await contribute(session, "server", terms, np.full(length, index + 1))

        return role

    async def server(session: Session) -> SecureSum | None:
        return await aggregate(session, terms)

    result = run_local(
        {"server": server, **{name: member(index) for index, name in enumerate(NAMES[:3])}},
    )["server"]
    assert result is not None
    assert result.total.shape == (length,)
    assert (result.total == 6).all()
