"""Chains that the whole run shares: real validators for the session, a throw-away chain for each module."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest

from chain.anvil import anvil as throw_away_chain
from chain.engine.build import build
from chain.engine.network import Network

# A slow machine fails no test.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

ORGANISATIONS = ["operator", "supervisor", "bank", "department"]


def _network(directory: pytest.TempPathFactory, organisations: list[str]) -> Iterator[Network]:
    build()
    network = Network.create(directory.mktemp("kcn") / "network", organisations)
    try:
        network.start()
        yield network
    finally:
        network.destroy()


@pytest.fixture(scope="session")
def kcn_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A real network of one validator. Tests may stop and kill it, and leave it running."""
    yield from _network(tmp_path_factory, ORGANISATIONS[:1])


@pytest.fixture(scope="session")
def kcn_network4(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A real network of four validators. Tests may stop and kill them, and leave them running."""
    yield from _network(tmp_path_factory, ORGANISATIONS)


@pytest.fixture(scope="module")
def anvil() -> Iterator[str]:
    """The RPC address of a fresh throw-away chain."""
    with throw_away_chain() as url:
        yield url
