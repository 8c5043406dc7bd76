"""Offers, proposals and agreements.

An **offer** (挂牌) is a provider's public terms for one asset version. A **proposal** is an
agreement its buyer has signed; the provider's node signs it if it keeps to the offer, and the chain
opens it.
Money is in fen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from chain.core.canonical import dumps
from chain.core.errors import BadInput
from chain.statements.grants import GrantTerms
from chain.statements.trade import Agreement, MeteredUnit, Share

MAX_FEN = 2**63 - 1
"""Amounts a node accepts; far above any trade, and what every database's integers hold."""


class AgreementSide(StrEnum):
    """Which side of an agreement this node is on."""

    PROVIDER = "provider"
    BUYER = "buyer"
    OBSERVER = "observer"


class AgreementStage(StrEnum):
    """State of an agreement. ``stages.NEXT`` lists the allowed transitions.

    A proposal (``proposed``, ``signed``) becomes ``open`` or ends as ``failed``, ``expired`` or
    ``withdrawn``.
    """

    PROPOSED = "proposed"
    """Signed by the buyer, whose node stores it; the provider has not signed."""
    SIGNED = "signed"
    """Signed by both; its opening is queued."""
    OPEN = "open"
    NOTICE = "notice"
    CLOSED = "closed"
    FAILED = "failed"
    """The provider refused to sign, or the chain refused the opening."""
    EXPIRED = "expired"
    """The chain's time passed ``openBefore`` and the agreement was not open."""
    WITHDRAWN = "withdrawn"
    """The buyer withdrew the proposal and does not send the opening. If both signed, anyone can
    still open the agreement until ``openBefore``.
    """


PENDING = (AgreementStage.PROPOSED, AgreementStage.SIGNED)
ENDED = (AgreementStage.FAILED, AgreementStage.EXPIRED, AgreementStage.WITHDRAWN)


@dataclass(frozen=True, slots=True)
class ProposalRefusal:
    """Why a provider does not sign a proposal; final for that proposal."""

    code: str
    sentence: str


@dataclass(frozen=True)
class ProposalEnd:
    """Outcome of a proposal without an agreement."""

    state: AgreementStage
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
    unit: MeteredUnit
    price: int
    """Fen a unit; 0 offers free sharing under a count cap."""
    max_cap: int
    """Largest money cap taken, in fen."""
    max_units: int
    """Largest count cap taken; 0 means no limit."""
    max_per_call: int
    """Largest cost of one call, in fen."""
    max_lanes: int
    max_seconds: int
    """Longest term."""
    close_window_blocks: int
    close_window_seconds: int
    """Shortest closing windows taken."""
    shares: tuple[Share, ...]
    """The revenue split an agreement must state."""
    buyers: tuple[str, ...] = ()
    """Members it is offered to; empty means every grantee."""
    bond: int = 0
    """The provider's security under an agreement, in fen."""
    bond_from_earnings: bool = False
    """Whether the bond is withheld from the first earnings and not bonded at opening."""
    stake: int = 0
    """What a contested call costs whoever loses the dispute, in fen."""

    def to_json(self) -> dict[str, Any]:
        """The offer as other members read it."""
        return {
            "assetId": "0x" + self.asset_id.hex(),
            "assetVersion": self.asset_version,
            "unit": self.unit.name.lower(),
            "price": self.price,
            "maxCap": self.max_cap,
            "maxUnits": self.max_units,
            "maxPerCall": self.max_per_call,
            "maxLanes": self.max_lanes,
            "maxSeconds": self.max_seconds,
            "closeWindowBlocks": self.close_window_blocks,
            "closeWindowSeconds": self.close_window_seconds,
            "shares": [share.to_json() for share in self.shares],
            "buyers": list(self.buyers),
            "bond": self.bond,
            "bondFromEarnings": self.bond_from_earnings,
            "stake": self.stake,
        }

    def terms_hash(self) -> bytes:
        """SHA-256 of the canonical terms: what an order names. Whom the offer is made to is no term
        of it.
        """
        terms = {
            name: _as_text(value) for name, value in self.to_json().items() if name != "buyers"
        }
        return hashlib.sha256(b"qiaolian.offer.v1\0" + dumps(terms)).digest()

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read the JSON form; ``offer_malformed``."""
        try:
            return cls(
                asset_id=bytes.fromhex(value["assetId"].removeprefix("0x")),
                asset_version=int(value["assetVersion"]),
                unit=MeteredUnit[value["unit"].upper()],
                price=int(value["price"]),
                max_cap=int(value["maxCap"]),
                max_units=int(value["maxUnits"]),
                max_per_call=int(value["maxPerCall"]),
                max_lanes=int(value["maxLanes"]),
                max_seconds=int(value["maxSeconds"]),
                close_window_blocks=int(value["closeWindowBlocks"]),
                close_window_seconds=int(value["closeWindowSeconds"]),
                shares=tuple(Share.from_json(share) for share in value["shares"]),
                buyers=tuple(str(buyer) for buyer in value["buyers"]),
                bond=int(value["bond"]),
                bond_from_earnings=bool(value["bondFromEarnings"]),
                stake=int(value["stake"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput(
                "offer_malformed", "An offer does not have the fields it must have."
            ) from error


def _as_text(value: Any) -> Any:
    """Integers as text: amounts exceed what canonical JSON holds."""
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    if isinstance(value, dict):
        return {name: _as_text(item) for name, item in value.items()}
    return str(value)


@dataclass(frozen=True, slots=True)
class CurrentOffer:
    """A provider's offer as its node makes it now."""

    offer: Offer
    provider_key: str
    """Address of the key that will sign an agreement on it."""


@dataclass(frozen=True, slots=True)
class StatedTerms:
    """The terms an order can state in place of naming an offer; None for what it leaves out."""

    unit: MeteredUnit | None
    price: int | None
    shares: Sequence[Share] | None
    max_per_call: int | None
    close_window_blocks: int | None
    close_window_seconds: int | None

    def to_json(self) -> dict[str, Any]:
        """The terms by their names in an offer, with its JSON values."""
        return {
            "unit": None if self.unit is None else self.unit.name.lower(),
            "price": self.price,
            "shares": None if self.shares is None else [part.to_json() for part in self.shares],
            "maxPerCall": self.max_per_call,
            "closeWindowBlocks": self.close_window_blocks,
            "closeWindowSeconds": self.close_window_seconds,
        }


@dataclass(frozen=True)
class ProposalRequest:
    """A buyer's order.

    It names the offer it was made on (``offer_hash``) or states every term of ``StatedTerms``; what
    else is left out is taken from the offer.
    """

    grant_id: bytes
    cap: int
    max_units: int = 0
    lanes: int = 1
    max_per_call: int | None = None
    seconds: int | None = None
    """Term; by default 30 days or what the offer allows, if that is less."""
    starts_at: int | None = None
    ends_at: int | None = None
    close_window_blocks: int | None = None
    close_window_seconds: int | None = None
    arbiter: str = ""
    unit: MeteredUnit | None = None
    price: int | None = None
    shares: Sequence[Share] | None = None
    offer_hash: bytes | None = None

    def stated(self) -> StatedTerms:
        """The terms that the order states itself."""
        return StatedTerms(
            unit=self.unit,
            price=self.price,
            shares=self.shares,
            max_per_call=self.max_per_call,
            close_window_blocks=self.close_window_blocks,
            close_window_seconds=self.close_window_seconds,
        )


@dataclass(frozen=True, slots=True)
class OpeningStatus:
    """Status of the contract call that opens an agreement."""

    state: str
    """As in ``chain.outbox.OperationStatus``."""
    code: str | None
    """The code of the chain's refusal."""
    height: int | None


@dataclass(frozen=True, slots=True)
class AgreementView:
    """An agreement as this node shows it; money in fen, ``…_at`` are heights."""

    agreement_id: bytes
    agreement: Agreement
    side: AgreementSide
    state: AgreementStage
    reason: str | None
    """Code of how a proposal ended, and a sentence; None for every other state."""
    reason_text: str | None
    state_since: int | None
    """Unix seconds of the last change of a proposal's state."""
    opened_at: int | None
    notice_at: int | None
    closed_at: int | None
    paid: int
    refunded: int
    open_operation: str
    """The outbox operation that opens it."""
    newer_version: int | None
    """The asset's newest version, if the agreement is of an older one."""
    hint: str
    """What to do about a newer version; empty where there is none."""
    opening: OpeningStatus | None = None
    """None in lists, and until the opening is queued."""


@dataclass(frozen=True, slots=True)
class AgreementParties:
    """Who gives what to whom under an agreement."""

    provider: str
    buyer: str
    asset_id: bytes
    grant_id: bytes
    stake: int
    """Fen that a contest costs whoever loses it."""


@dataclass(frozen=True, slots=True)
class SignedTerms:
    """What both parties signed, with the terms of the grant it rests on."""

    agreement: Agreement
    terms: GrantTerms
    provider_signature: bytes
    buyer_signature: bytes


@dataclass(frozen=True)
class SignedAgreement:
    """An agreement with its grant's terms and both signatures."""

    agreement_id: bytes
    agreement: Agreement
    terms: GrantTerms | None
    """None at a node that is no party."""
    provider_signature: bytes
    buyer_signature: bytes
    side: AgreementSide
    state: AgreementStage
