"""Private set intersection: who has which identifier in common with whom, and nothing else.

``INTERSECTION`` is the protocol a job names; ``align`` gives several parties the rows they have in common, for training; ``seat`` and ``take_seats``
give them the beginning of a computation on rows that nobody learns (``docs/protocols/circuit.md``). Identifiers are never compared by a hash of
themselves: there are few enough to try them all (``docs/protocols/intersection.md``).

Rooms within: ``identifiers`` (forms, tags), ``pair`` (terms, greeting), ``meeting`` (one intersection by either method), ``kkrt`` and ``programmed``
(with ``store``) over ``batched``, ``oprf``, ``cuckoo``, ``transpose`` and ``base_ot``; ``ecdh``; ``suites`` with ``groups`` and ``sm2``.
"""

from federated.intersection.alignment import align
from federated.intersection.pair import Terms
from federated.intersection.programmed import Programmed, Seating, seat, take_seats
from federated.intersection.protocol import INTERSECTION

__all__ = ["INTERSECTION", "Programmed", "Seating", "Terms", "align", "seat", "take_seats"]
