"""Models over parties that hold the same columns of different rows: sums nobody can take apart, and training on top of them.

===============  ==================================================================================================
``shamir``       secrets in shares over a prime field
``masks``        agreed keys, sealed shares, masks in a ring of integers
``secagg``       secure aggregation as two state machines without I/O
``rounds``       the same over the channels of a session
``quantise``     real vectors as integers, with a bound on the error
``gaussian``     exact discrete Gaussian noise
``privacy``      clipping, each party's share of the noise, what a release costs
``budget``       the ledger of what has been spent
``signatures``   members' words for their keys, where a server carries them
``files``        files written as a whole, and locks
``models``       logistic regression and a small neural net; local training
``training``     rounds of federated training, however the sums are made
``aggregation``  the protocol that jobs name
``flower_app``   the same training inside Flower; runs in Flower's own environment
``flower_node``  starts a member's node of Flower, for the expected app only
``flower_run``   starts Flower's processes on this machine and waits for them
===============  ==================================================================================================
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
