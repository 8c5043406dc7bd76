"""What the parties sign of the settlement contract's statements."""

from __future__ import annotations

from collections.abc import Callable

from chain.context import Context
from chain.ethereum.eip712 import signing_digest

CONTRACT = "TradeSettlement"

Digest = Callable[[bytes], bytes]
"""The digest that is signed for a struct hash."""


def settlement_digest(context: Context) -> Digest:
    """The ``Digest`` of statements under the contract's domain. Request and receipt need each
    struct hash by itself too, so it is computed once and given here.
    """
    domain = context.domain(CONTRACT)
    return lambda struct_hash: signing_digest(domain, struct_hash)
