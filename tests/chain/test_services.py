"""A node has one object of each type, whichever thread asks first."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from chain.services import Services


class Cache:
    pass


def test_threads_that_ask_at_once_get_the_same_object() -> None:
    services, together = Services(), threading.Barrier(8)

    def ask(_thread: int) -> Cache:
        together.wait()
        return services.get(Cache, Cache)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1


def test_a_factory_may_ask_for_another_service() -> None:
    services = Services()
    found = services.get(list, lambda: [services.get(Cache, Cache)])
    assert found == [services.find(Cache)]


def test_two_nodes_in_one_process_share_nothing() -> None:
    one, other = Services(), Services()
    assert one.get(Cache, Cache) is not other.get(Cache, Cache)


def test_a_dropped_object_is_made_anew() -> None:
    services = Services()
    before = services.get(Cache, Cache)
    services.drop(Cache)
    assert services.find(Cache) is None
    assert services.get(Cache, Cache) is not before
