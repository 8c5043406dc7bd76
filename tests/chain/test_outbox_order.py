"""The order of queued calls: what saves money or a right passes what strangers cause in number, and
nothing waits forever.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from chain.outbox.rules import FAIR_SHARE, Priority, next_calls


@dataclass(frozen=True)
class Call:
    id: int
    priority: Priority


def calls(*priorities: Priority) -> list[Call]:
    return [Call(number, priority) for number, priority in enumerate(priorities, 1)]


def ids(chosen: list[Call]) -> list[int]:
    return [call.id for call in chosen]


URGENT, NORMAL, BULK = Priority
ANY = st.lists(st.sampled_from(Priority), max_size=60).map(lambda found: calls(*found))


def test_urgent_calls_pass_normal_ones_and_these_pass_bulk() -> None:
    waiting = calls(BULK, BULK, NORMAL, URGENT, NORMAL, URGENT)
    assert ids(next_calls(waiting, nonce=1, capacity=3, bulk_capacity=9)) == [4, 6, 3]


def test_calls_of_one_class_keep_their_order() -> None:
    assert ids(next_calls(calls(*[BULK] * 9), nonce=0, capacity=9, bulk_capacity=9)) == list(
        range(1, 10)
    )


def test_a_flood_of_a_thousand_delays_a_claim_by_one_place_at_most() -> None:
    waiting = [*calls(*[BULK] * 1_000), Call(1_001, URGENT)]
    for nonce in range(FAIR_SHARE):
        assert 1_001 in ids(next_calls(waiting, nonce=nonce, capacity=2, bulk_capacity=300))


def test_bulk_alone_fills_only_its_part_of_the_calls_in_flight() -> None:
    waiting = calls(*[BULK] * 50)
    assert len(next_calls(waiting, nonce=1, capacity=200, bulk_capacity=7)) == 7
    assert next_calls(waiting, nonce=0, capacity=200, bulk_capacity=0) == []


def test_behind_a_flood_of_urgent_calls_the_oldest_call_gets_every_fourth_place() -> None:
    waiting = [*calls(BULK, BULK, NORMAL), *(Call(number, URGENT) for number in range(4, 100))]
    chosen = ids(next_calls(waiting, nonce=0, capacity=12, bulk_capacity=0))
    assert [chosen[0], chosen[FAIR_SHARE], chosen[2 * FAIR_SHARE]] == [1, 2, 3]


@given(ANY, st.integers(0, 10), st.integers(0, 80), st.integers(-5, 80))
def test_no_call_is_chosen_twice_and_room_is_kept(
    waiting: list[Call], nonce: int, capacity: int, bulk_capacity: int
) -> None:
    chosen = next_calls(waiting, nonce=nonce, capacity=capacity, bulk_capacity=bulk_capacity)
    assert len({call.id for call in chosen}) == len(chosen) <= capacity
    assert set(chosen) <= set(waiting)


@given(ANY, st.integers(0, 10))
def test_with_room_for_all_every_call_is_chosen(waiting: list[Call], nonce: int) -> None:
    assert set(
        next_calls(waiting, nonce=nonce, capacity=len(waiting), bulk_capacity=len(waiting))
    ) == set(waiting)
