"""Private set intersection (PSI): which identifiers two or more parties have in common.

``INTERSECTION`` is the protocol that jobs name. ``align`` gives several parties the rows they have
in common, for training. ``lead_opprf`` and ``follow_opprf`` start a computation on common rows that
no party learns (circuit PSI, ``docs/protocols/circuit.md``). Identifiers are never compared by a
plain hash: there are so few of them that all can be tried (``docs/protocols/intersection.md``).

===============  =================================================================================
``identifiers``  formats of identifiers, and the tags that represent them within one run
``suites``       ciphers, hashes and groups (``groups``: ristretto255; ``sm2``)
``handshake``    terms of an intersection, and what two parties agree on first: a ``PsiSession``
``psi``          one intersection between two parties, by either method
``kkrt``         the method for large sets, over ``batch_oprf``
``ecdh``         the method for small sets
``alignment``    one order of rows at a leader and several followers
``batch_oprf``   the oblivious PRF of KKRT16 over ``cuckoo`` bins (``oprf``, ``transpose``)
``base_ot``      base oblivious transfers
``opprf``        the oblivious programmable PRF, over ``batch_oprf`` and ``okvs``
``okvs``         the oblivious key-value store
``protocol``     the protocol that jobs name
===============  =================================================================================
"""

from federated.intersection.alignment import AlignedRows, align
from federated.intersection.handshake import PsiTerms
from federated.intersection.opprf import OpprfReceiver, OpprfSender, follow_opprf, lead_opprf
from federated.intersection.protocol import INTERSECTION

__all__ = [
    "INTERSECTION",
    "AlignedRows",
    "OpprfReceiver",
    "OpprfSender",
    "PsiTerms",
    "align",
    "follow_opprf",
    "lead_opprf",
]
