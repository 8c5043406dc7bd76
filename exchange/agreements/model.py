"""What the agreement folder speaks of.

An **offer** (挂牌) is a provider's public terms for one asset version. A **proposal** is an agreement its buyer has signed; the provider's node
signs it if it keeps to the offer, and the chain opens it. Money is in fen.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

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
    """How far an agreement has come; ``signed`` by both means that its opening is on its way to the chain."""

    PROPOSED = "proposed"
    SIGNED = "signed"
    OPEN = "open"
    NOTICE = "notice"
    CLOSED = "closed"
    FAILED = "failed"


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
