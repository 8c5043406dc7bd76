"""SecureBoost: gradient-boosted trees over columns of several parties, grown on encrypted
gradients.

``BOOSTING`` is the protocol that a job names (Cheng and others, *SecureBoost: A Lossless Federated
Learning Framework*, IEEE Intelligent Systems 2021). ``trees`` and ``split_candidates`` are
arithmetic without I/O; ``he`` is homomorphic encryption; ``packing``, ``terms`` and ``messages``
support ``active`` and ``passive``, the two sides. ``docs/protocols/boosting.md`` lists what each
party learns.
"""

from federated.boosting.protocol import BOOSTING

__all__ = ["BOOSTING"]
