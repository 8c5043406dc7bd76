"""Words programmed for identifiers: who gets them, what noise looks like, what the wire shows, and peers that lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.errors import BadInput, QiaolianError
from federated.intersection import Programmed, Seating, Terms, seat, take_seats
from federated.intersection.suites import SUITES
from federated.local import run_local
from federated.session import Session

SMALL = Terms(reveal="nobody", pad_to=8)
NAMES = ("tax", "water", "customs")


def code(number: int) -> bytes:
    return b"91310115%010d" % number


def ids_of(numbers: Any) -> Any:
    return np.array([code(each) for each in numbers])


def refused(name: str, kind: type[QiaolianError] = BadInput) -> Any:
    return pytest.raises(kind, check=lambda error: error.code == name)


class Run:
    """One seating in this process: the bank leads, each follower programs words drawn at random for every entry."""

    def __init__(
        self, leader: Any, *sets: Any, words: Sequence[int] = (3,), terms: Terms = SMALL, seed: bytes = b"1", wrap: Any = None, label: str = "seats"
    ) -> None:
        self.leader, self.sets = leader, dict(zip(NAMES, sets, strict=False))
        self.programmed: dict[str, Programmed] = {}
        self.sent: dict[str, list[Any]] = {name: [] for name in self.sets}
        self.got: dict[str, list[Any]] = {name: [] for name in self.sets}
        self.seating: Any = None

        async def lead(session: Session) -> None:
            self.seating = await seat(session, leader, list(self.sets), terms, label)
            for size in words:
                for name in self.sets:
                    self.got[name].append(await self.seating.receive(name, size))

        async def follow(session: Session) -> None:
            programmed = await take_seats(session, self.sets[session.party], "bank", terms, label)
            self.programmed[session.party] = programmed
            for number, size in enumerate(words):
                values = np.random.default_rng(number).integers(0, 2**64, (len(programmed.row), size), np.uint64)
                self.sent[session.party].append(values)
                await programmed.send(values)

        roles = {"bank": lead} | dict.fromkeys(self.sets, follow)
        names = {name: wrap.get(name, lambda session: session) if wrap else (lambda session: session) for name in roles}
        run_local(
            {name: (lambda session, name=name: roles[name](names[name](session))) for name in roles},
            seeds={n: (seed + n.encode()) * 8 for n in roles},
        )

    @property
    def holder(self) -> Any:
        """The leader's row in each bin."""
        seating: Seating = self.seating
        return seating.holder

    def meant(self, name: str, number: int = 0) -> dict[int, bytes]:
        """What the follower has programmed, by bin, for the identifier that the leader holds there: a plain dictionary's answer."""
        mine, entries = self.sets[name].tolist(), self.programmed[name]
        plain = {
            (int(each), mine[row]): self.sent[name][number][entry].tobytes()
            for entry, (each, row) in enumerate(zip(entries.bin, entries.row, strict=True))
        }
        asked = {place: self.leader.tolist()[row] for place, row in enumerate(self.holder.tolist()) if row >= 0}
        return {place: plain[place, identifier] for place, identifier in asked.items() if (place, identifier) in plain}

    def decoded(self, name: str, number: int = 0) -> dict[int, bytes]:
        """What the leader has, by bin."""
        return {place: words.tobytes() for place, words in enumerate(self.got[name][number])}


@settings(deadline=None, max_examples=15)
@given(st.lists(st.lists(st.integers(0, 60), unique=True, max_size=40), min_size=2, max_size=4), st.integers(1, 13))
def test_the_leader_gets_what_a_dictionary_would_give(lists: list[list[int]], words: int) -> None:
    run = Run(*(ids_of([99, *each]) for each in lists), words=[words, 2])
    assert sorted(run.holder[run.holder >= 0].tolist()) == list(range(len(lists[0]) + 1))
    for name, others in zip(NAMES, lists[1:], strict=False):
        for number in range(2):
            meant, decoded = run.meant(name, number), run.decoded(name, number)
            assert len(meant) == len({99, *lists[0]} & {99, *others})
            assert {place: decoded[place] for place in meant} == meant
            sent = {words.tobytes() for words in run.sent[name][number]}
            assert not any(decoded[place] in sent for place in decoded if place not in meant)


@pytest.mark.parametrize("suite", SUITES)
def test_by_either_suite(suite: str) -> None:
    run = Run(ids_of(range(40)), ids_of(range(30, 90)), terms=Terms(suite=suite, reveal="nobody", pad_to=8))
    meant, decoded = run.meant("tax"), run.decoded("tax")
    assert len(meant) == 10
    assert {place: decoded[place] for place in meant} == meant
