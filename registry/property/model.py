"""What the chain records of a unit and of a deal, as read under one proved head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chain.core import schema
from chain.core.errors import BadInput
from chain.ethereum.records import DealRecord, UnitHoldRecord
from chain.statements.members import SubjectKeyCertificate
from chain.statements.property import TitleStatement

NO_DEAL = bytes(32)
"""In place of a deal's id: none."""


@dataclass(frozen=True)
class UnitState:
    """A unit's hold, its open deal and the deal that was registered last for it."""

    hold: UnitHoldRecord
    open_deal: bytes
    """32 bytes; ``NO_DEAL`` when the unit is in no deal."""
    last_registration: bytes
    """32 bytes; ``NO_DEAL`` before the first registration."""


@dataclass(frozen=True)
class DealState:
    """A deal and its unit."""

    deal: DealRecord
    title_hash: bytes
    """Struct hash of the title statement the deal was opened with; 32 zero bytes before it is open.
    """
    unit: UnitState


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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
    expires_at: int
