"""A chain view compares this machine's clock with the time of blocks that a real validator makes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from chain.core.errors import Unavailable
from chain.engine.network import Network
from chain.ethereum.deployment import Deployment
from chain.ethereum.finality import KaiaIbft
from chain.ethereum.rpc import Rpc
from chain.ethereum.view import ChainView
from tests.nodes.conftest import eventually

SHIFT = 600.0


@pytest.fixture
def view_with(kcn_network: Network) -> Iterator[Callable[[float], ChainView]]:
    """A view by a clock that is so many seconds ahead; followed until it has compared some blocks."""
    made: list[ChainView] = []

    def make(shift: float) -> ChainView:
        rpc = Rpc(kcn_network.rpc_urls)
        genesis = rpc.call("eth_getBlockByNumber", "0x0", False)
        chain_id = int(rpc.call("eth_chainId"), 16)
        deployment = Deployment(chain_id, bytes.fromhex(genesis["hash"][2:]), {}, 1)
        view = ChainView(
            kcn_network.rpc_urls,
            deployment,
            KaiaIbft(lambda _height: tuple(kcn_network.addresses)),
            clock=lambda: time.time() + shift,
        )
        made.append(view)
        view.start()
        assert eventually(lambda: view.clock_offset is not None)
        return view

    yield make
    for view in made:
        view.stop()


@pytest.mark.parametrize("shift", [SHIFT, -SHIFT])
def test_a_clock_that_is_off_is_told_by_the_time_of_the_blocks(
    view_with: Callable[[float], ChainView], shift: float
) -> None:
    view = view_with(shift)
    assert eventually(lambda: abs((view.clock_offset or 0.0) - shift) < 5)


def test_a_clock_that_is_right_shows_no_offset(view_with: Callable[[float], ChainView]) -> None:
    view = view_with(0.0)
    assert eventually(lambda: abs(view.clock_offset or 0.0) < 5)
    view.require_fresh()


def test_a_view_that_is_stale_for_a_clock_ahead_says_so(
    view_with: Callable[[float], ChainView],
) -> None:
    view = view_with(SHIFT)

    def refused() -> Unavailable | None:
        with pytest.raises(Unavailable) as caught:
            view.require_fresh()
        return caught.value if "clock is 60" in caught.value.sentence else None

    error = eventually(refused)
    assert error.code == "chain_view_stale"
    assert "s ahead of the time of new blocks" in error.sentence
