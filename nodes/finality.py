"""The finality rule of a node's chain, for its API and its outbox."""

from __future__ import annotations

from chain.ethereum.finality import FinalityRule, KaiaIbft, UnsealedForTestsOnly
from nodes.config import UNSEALED_TEST, NodeConfig


def finality_rule(config: NodeConfig) -> FinalityRule:
    """Return the configured finality rule."""
    if config.chain.finality == UNSEALED_TEST:
        return UnsealedForTestsOnly()
    return KaiaIbft(config.chain.validators_at)
