"""What the agreement folder speaks of.

An **offer** (挂牌) is a provider's public terms for one asset version. A **proposal** is an agreement its buyer has signed; the provider's node
signs it if it keeps to the offer, and the chain opens it. Money is in fen.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from chain.canonical import dumps
from chain.errors import BadInput
from chain.statements import Agreement, GrantTerms, Share, Unit

MOST_FEN = 2**63 - 1
"""Amounts a node accepts; far above any trade, and what every database's integers hold."""


class Side(StrEnum):
    """Which side of an agreement this node is on."""

    PROVIDER = "provider"
    BUYER = "buyer"
    OBSERVER = "observer"


class State(StrEnum):
    """How far an agreement has come. ``rules.NEXT`` lists which state may follow which.

    A proposal (``proposed``, ``signed``) becomes ``open`` or ends as ``failed``, ``expired`` or ``withdrawn``.
    """

    PROPOSED = "proposed"
    """Signed by the buyer, whose node stores it; the provider has not signed."""
    SIGNED = "signed"
    """Signed by both; its opening is on its way to the chain."""
    OPEN = "open"
    NOTICE = "notice"
    CLOSED = "closed"
    FAILED = "failed"
    """The provider refused to sign, or the chain refused the opening."""
    EXPIRED = "expired"
    """The chain's time passed ``openBefore`` and the agreement was not open."""
    WITHDRAWN = "withdrawn"
    """The buyer took the proposal back. Its node does not send the opening; what both signed can still be opened by anyone in time."""


PENDING = (State.PROPOSED, State.SIGNED)
ENDED = (State.FAILED, State.EXPIRED, State.WITHDRAWN)


@dataclass(frozen=True)
class End:
    """How a proposal ended without an agreement."""

    state: State
    reason: str
    """A stable code, such as ``offer_not_met``, ``not_enough_free`` or ``not_opened_in_time``."""
    sentence: str


@dataclass(frozen=True)
class TermChange:
    """A term of an offer that is not what the order named."""

    term: str
    named: Any
    """None where this node does not know the offer that was named."""
    offered: Any

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        return {"term": self.term, "named": self.named, "offered": self.offered}


@dataclass(frozen=True)
class Offer:
    """A provider's terms for one asset version."""

    asset_id: bytes
    asset_version: int
    unit: Unit
    price: int
    """Fen a unit; 0 offers free sharing under a count cap."""
    most_cap: int
    """Largest money cap taken, in fen."""
    most_units: int
    """Largest count cap taken; 0 means no limit."""
    most_per_call: int
    """Largest cost of one call, in fen."""
    most_lanes: int
    most_seconds: int
    """Longest term."""
    close_window_blocks: int
    close_window_seconds: int
    """Shortest closing windows taken."""
    shares: tuple[Share, ...]
    """The revenue split an agreement must state."""
    buyers: tuple[str, ...] = ()
    """Members it is offered to; empty means every grantee."""

    def to_json(self) -> dict[str, Any]:
        """The offer as other members read it."""
        return {
            "assetId": "0x" + self.asset_id.hex(),
            "assetVersion": self.asset_version,
            "unit": self.unit.name.lower(),
            "price": self.price,
            "mostCap": self.most_cap,
            "mostUnits": self.most_units,
            "mostPerCall": self.most_per_call,
            "mostLanes": self.most_lanes,
            "mostSeconds": self.most_seconds,
            "closeWindowBlocks": self.close_window_blocks,
            "closeWindowSeconds": self.close_window_seconds,
            "shares": [each.to_json() for each in self.shares],
            "buyers": list(self.buyers),
        }

    def terms_hash(self) -> bytes:
        """SHA-256 of the canonical terms: what an order names. Whom the offer is made to is no term of it."""
        terms = {name: _as_text(value) for name, value in self.to_json().items() if name != "buyers"}
        return hashlib.sha256(b"qiaolian.offer.v1\0" + dumps(terms)).digest()

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read the JSON form; ``offer_malformed``."""
        try:
            return cls(
                asset_id=bytes.fromhex(value["assetId"].removeprefix("0x")),
                asset_version=int(value["assetVersion"]),
                unit=Unit[value["unit"].upper()],
                price=int(value["price"]),
                most_cap=int(value["mostCap"]),
                most_units=int(value["mostUnits"]),
                most_per_call=int(value["mostPerCall"]),
                most_lanes=int(value["mostLanes"]),
                most_seconds=int(value["mostSeconds"]),
                close_window_blocks=int(value["closeWindowBlocks"]),
                close_window_seconds=int(value["closeWindowSeconds"]),
                shares=tuple(Share.from_json(each) for each in value["shares"]),
                buyers=tuple(str(each) for each in value["buyers"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput("offer_malformed", "An offer does not have the fields it must have.") from error


def _as_text(value: Any) -> Any:
    """Integers as text: amounts exceed what canonical JSON holds."""
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    if isinstance(value, dict):
        return {name: _as_text(item) for name, item in value.items()}
    return str(value)


@dataclass(frozen=True)
class Signed:
    """An agreement with its grant's terms and both signatures."""

    agreement_id: bytes
    agreement: Agreement
    terms: GrantTerms | None
    """None at a node that is no party."""
    provider_signature: bytes
    buyer_signature: bytes
    side: Side
    state: State
