"""Units of the register, deals and their steps: as this node stores them, and as the chain records
them under one proved head. Heights are in blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chain.core import schema
from chain.core.errors import BadInput, Conflict
from chain.ethereum.records import DealRecord, UnitHoldRecord
from chain.statements.members import SubjectKeyCertificate
from chain.statements.property import (
    DealStep,
    DealTerms,
    StepKind,
    TitleStatement,
    UnitHold,
)

NO_DEAL = bytes(32)
"""In place of a deal's id: none."""


@dataclass(frozen=True, slots=True)
class UnitState:
    """A unit's hold, its open deal and the deal that was registered last for it."""

    hold: UnitHoldRecord
    open_deal: bytes
    """32 bytes; ``NO_DEAL`` when the unit is in no deal."""
    last_registration: bytes
    """32 bytes; ``NO_DEAL`` before the first registration."""


@dataclass(frozen=True, slots=True)
class DealState:
    """A deal and its unit."""

    deal: DealRecord
    title_hash: bytes
    """Struct hash of the title statement the deal was opened with; 32 zero bytes before it is open.
    """
    unit: UnitState


@dataclass(frozen=True, slots=True)
class CertifiedKey:
    """A person's one-time key: the registration centre's certificate and its signature."""

    certificate: SubjectKeyCertificate
    signature: bytes

    @classmethod
    def from_json(cls, value: Any) -> CertifiedKey:
        """Read ``{"certificate": …, "signature": 0x…}``; ``certificate_malformed``."""
        try:
            return cls(
                SubjectKeyCertificate.from_json(value["certificate"]),
                schema.signature(value["signature"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput(
                "certificate_malformed", "A certificate lacks a part or has one of the wrong form."
            ) from error

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        return {"certificate": self.certificate.to_json(), "signature": "0x" + self.signature.hex()}


# --- Registration centre --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewUnit:
    """A unit to be entered into the register."""

    number: str
    owner: str
    """Code of the owner's identity."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of the register."""

    unit: bytes
    """The pseudonym: its name on the chain."""
    number: str
    owner: str
    """Code of the owner's identity."""
    registered_at: int = 0
    """Height of the last deal's registration; 0 while the register's first entry is the latest."""
    last_registration: bytes = NO_DEAL
    """The deal that made ``owner`` the owner, as the chain proved it."""


@dataclass(frozen=True, slots=True)
class IssuedTitle:
    """A title statement with the registration centre's signature."""

    statement: TitleStatement
    signature: bytes


@dataclass(frozen=True, slots=True)
class UnitOrder:
    """A hold placed or lifted by this registration centre, with the order it cites."""

    statement: UnitHold
    signature: bytes
    order: Mapping[str, Any]
    salt: bytes
    """Of the commitment to the order."""
    operation: str


@dataclass(frozen=True, slots=True)
class HoldInForce:
    """A unit's hold that the chain is proved to have in force, with the unit's latest order."""

    number: str
    unit: bytes
    order: Mapping[str, Any]
    placed_at: int
    ends_at: int
    """Unix seconds."""


# --- Deals ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewDeal:
    """What the estate agent draws up."""

    title: TitleStatement
    title_signature: bytes
    seller: CertifiedKey
    buyer: CertifiedKey
    bank: str
    tax_authority: str
    notary: str
    content: Mapping[str, Any]
    """What ``rules.require_content`` takes."""
    expires_at: int


@dataclass(frozen=True, slots=True)
class DealDisclosure:
    """What a deal's parties know of it besides the terms."""

    content: Mapping[str, Any]
    salt: bytes
    """Of the terms' commitment to the content."""
    title: TitleStatement
    title_signature: bytes
    seller: CertifiedKey
    buyer: CertifiedKey


@dataclass(frozen=True, slots=True)
class Deal:
    """A deal that this node knows."""

    terms: DealTerms
    disclosed: DealDisclosure | None
    """None at a supervisor's node, and at a party's until the agent has sent it."""
    operation: str = ""
    """The agent's call that opens it."""
    opened_at: int = 0
    registered_at: int = 0
    expired_at: int = 0

    @property
    def deal_id(self) -> bytes:
        """The struct hash of the terms."""
        return self.terms.struct_hash()

    def require_disclosed(self) -> DealDisclosure:
        """What the parties know of the deal; ``content_not_received``."""
        if self.disclosed is None:
            raise Conflict(
                "content_not_received", "The deal's content has not been sent to this node."
            )
        return self.disclosed


@dataclass(frozen=True, slots=True)
class SignedStep:
    """A step's statement with its party's signature, and what the statement commits to."""

    statement: DealStep
    signature: bytes
    record: Mapping[str, Any] | None
    """What ``rules.require_record`` takes; None for a step that agrees to the deal's content."""
    salt: bytes | None


@dataclass(frozen=True, slots=True)
class StoredStep:
    """A step as this node stores it; ``signature``, ``record`` and ``salt`` are None until its
    party has sent them.
    """

    step: StepKind
    statement: DealStep
    signature: bytes | None = None
    record: Mapping[str, Any] | None = None
    salt: bytes | None = None
    operation: str = ""
    """This node's call that sends the step to the chain."""
    height: int = 0
    """0 until the chain has the step."""


@dataclass(frozen=True, slots=True)
class MissingStep:
    """A step that the chain has and whose signature this node lacks."""

    deal_id: bytes
    step: StepKind
    terms: DealTerms


class DealStage(StrEnum):
    """Status of a deal, by the events this node knows and its own calls."""

    DRAFT = "draft"
    OPENING = "opening"
    """The call that opens it is queued."""
    REFUSED = "refused"
    """The chain refused one of this node's calls, and the deal is not open."""
    OPEN = "open"
    REGISTERED = "registered"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class DealSearch:
    """Which deals are asked for; empty fields match everything."""

    text: str = ""
    """Part of a unit's register number, or a whole deal id or unit pseudonym in 0x hexadecimal."""
    stage: DealStage | None = None
    """``DRAFT``, ``OPEN``, ``REGISTERED`` or ``EXPIRED``: what the chain's events distinguish."""


@dataclass(frozen=True, slots=True)
class DealOverview:
    """A deal with its steps in order."""

    deal: Deal
    stage: DealStage
    refusal: str | None
    """Code of the first call of this node's that the chain refused."""
    steps: tuple[StoredStep, ...]


@dataclass(frozen=True, slots=True)
class SignatureTaken:
    """Seller's or buyer's signature, once this node has stored it."""

    deal_id: bytes
    step: StepKind
    operation: str
    """The last call queued for it; empty until the seller has signed."""
