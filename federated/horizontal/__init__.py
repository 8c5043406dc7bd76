"""Horizontal federated learning: models over parties that hold the same columns of different rows.

Training runs over secure sums, which show no party's own part.

===============  =================================================================================
``shamir``       secret sharing over a prime field
``masks``        key agreement, sealed shares, and masks in a ring of integers
``secagg``       secure aggregation as two state machines without I/O
``rounds``       secure aggregation over the channels of a session
``quantise``     real vectors as integers, with a bound on the error
``gaussian``     exact discrete Gaussian noise
``privacy``      clipping, each party's share of the noise, the cost of a release
``budget``       the ledger of spent privacy budget
``signatures``   members' signatures over their keys, where a server carries all messages
``files``        atomic file writes, and locks
``models``       logistic regression and a small neural network; local training
``training``     rounds of federated training, independent of how sums are made
``aggregation``  the protocol that jobs name
``flower_app``   the same training inside Flower; runs in Flower's own environment
``flower_node``  starts a member's Flower node, for the expected app only
``flower_run``   starts Flower's processes on this machine and waits for them
===============  =================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from federated.horizontal.aggregation import AGGREGATION

__all__ = ["AGGREGATION"]


def __getattr__(name: str) -> Any:
    # Flower's own environment imports this package without what jobs need.
    if name == "AGGREGATION":
        from federated.horizontal.aggregation import AGGREGATION

        return AGGREGATION
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
